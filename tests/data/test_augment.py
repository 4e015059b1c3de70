import math

import numpy as np
import pytest
import torch
from torch import Tensor

from residua import seeds
from residua.data.augment import Augment, Draw, mixing, parse, random_box, resized_crop_box, short_side_box
from residua.data.dataset import ArrayImages
from residua.data.names import AUGMENTATIONS
from residua.data.view import View
from residua.errors import UsageError

N = 40
VIEW = View(side_px=9, fit="crop", resize_px=9, mode="RGB", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
GREY = View(side_px=9, fit="crop", resize_px=9, mode="L", mean=(0.5,), std=(0.2,))
PIXELS = torch.randint(0, 256, (N, 3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = ArrayImages(PIXELS)
MEAN = torch.tensor([128, 102, 76], dtype=torch.uint8)[:, None, None]  # 255 * mean, rounded

#: Words that work on each sample, at strengths that change most pictures.
WORDS = ("pad-crop:2", "random-resized-crop:0.1", "short-side:9:20", "flip", "color:0.5", "erase:0.9")
SLOW = ("rand-augment:2:9", "trivial-augment")


def draw(samples: list[int], epoch: int = 0, seed: int = 0) -> Draw:
    return Draw(seed, epoch, np.array(samples, dtype=np.int64))


def augmented(words: tuple[str, ...], samples: list[int], view: View = VIEW, epoch: int = 0, seed: int = 0) -> Tensor:
    return parse(words, view).batch(IMAGES, draw(samples, epoch, seed))


@pytest.mark.parametrize("word", [*WORDS, *SLOW])
def test_a_sample_does_not_depend_on_its_neighbours(word: str) -> None:
    together = augmented((word,), list(range(8)))
    assert together.shape == (8, 3, 9, 9)
    assert torch.equal(augmented((word,), [5, 2]), together[[5, 2]])
    assert torch.equal(augmented((word,), [7]), together[[7]])


@pytest.mark.parametrize("word", [*WORDS, *SLOW])
def test_epochs_and_seeds_differ_and_repeat(word: str) -> None:
    first = augmented((word,), list(range(8)))
    assert torch.equal(augmented((word,), list(range(8))), first)
    assert not torch.equal(augmented((word,), list(range(8)), epoch=1), first)
    assert not torch.equal(augmented((word,), list(range(8)), seed=1), first)


@pytest.mark.parametrize("word", [*WORDS, *SLOW])
def test_grey_pictures_can_be_augmented(word: str) -> None:
    out = augmented((word,), [0, 1, 2], GREY)
    assert out.shape == (3, 1, 9, 9)
    assert out.isfinite().all()


@pytest.mark.parametrize("word", [*WORDS, *SLOW, "mixup", "cutmix"])
def test_neither_the_pictures_nor_the_global_generators_change(word: str) -> None:
    before, torch_state, numpy_state = PIXELS.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()
    augmented((word,), list(range(N)))
    assert torch.equal(PIXELS, before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_no_words_are_the_view() -> None:
    assert torch.equal(Augment(VIEW, {}).batch(IMAGES, draw([3, 1])), VIEW.normalise(PIXELS[[3, 1]]))


def test_the_order_of_the_words_does_not_matter() -> None:
    words = ("pad-crop:2", "flip", "color:0.5", "erase:0.9")
    assert torch.equal(augmented(words, [1, 2, 3]), augmented(words[::-1], [1, 2, 3]))


def test_a_padded_crop_is_the_picture_moved_over_the_mean() -> None:
    out = VIEW.restore(augmented(("pad-crop:2",), list(range(N))))
    seen = set()
    for i in range(N):
        padded = MEAN.expand(3, 13, 13).clone()
        padded[:, 2:11, 2:11] = PIXELS[i]
        places = [(y, x) for y in range(5) for x in range(5) if torch.equal(padded[:, y : y + 9, x : x + 9], out[i])]
        assert len(places) == 1
        seen.add(places[0])
    assert {y for y, _ in seen} == {x for _, x in seen} == set(range(5))


def test_a_flip_mirrors_every_other_picture() -> None:
    out = VIEW.restore(augmented(("flip",), list(range(N))))
    mirrored = [torch.equal(out[i], PIXELS[i].flip(-1)) for i in range(N)]
    same = [torch.equal(out[i], PIXELS[i]) for i in range(N)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 10 <= sum(mirrored) <= 30


def test_two_epochs_of_alternate_flips_show_both_sides_of_every_picture() -> None:
    first, second, third = (VIEW.restore(augmented(("alternate-flip",), list(range(N)), epoch=e)) for e in range(3))
    assert torch.equal(second, first.flip(-1)) and torch.equal(third, first)
    mirrored = [torch.equal(first[i], PIXELS[i].flip(-1)) for i in range(N)]
    assert 10 <= sum(mirrored) <= 30


def test_erasing_sets_one_box_to_the_mean() -> None:
    plain, out = VIEW.normalise(PIXELS), augmented(("erase:0.5",), list(range(N)))
    changed = (plain != out).any(1)
    assert 10 <= changed.any((1, 2)).sum() <= 30
    for i in torch.where(changed.any((1, 2)))[0]:
        rows, columns = torch.where(changed[i])
        box = out[i, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (box == 0).all()
        assert 0 < box[0].numel() <= 0.45 * 81  # a third of the area, its sides rounded


@pytest.mark.parametrize("size", [(30, 40), (300, 20), (9, 9)])
def test_random_boxes_lie_inside_and_keep_to_area_and_ratio(size: tuple[int, int]) -> None:
    shares = []
    for sample in range(200):
        box = random_box(seeds.generator(0, sample), size, (0.2, 1.0), (3 / 4, 4 / 3))
        if box is None:
            continue
        top, left, height, width = box
        assert 0 <= top <= top + height <= size[0]
        assert 0 <= left <= left + width <= size[1]
        assert abs(math.log(width / height)) < math.log(4 / 3) + 2 / min(height, width)
        shares.append(height * width / (size[0] * size[1]))
    if size == (30, 40):
        assert min(shares) == pytest.approx(0.2, abs=0.05)
        assert max(shares) > 0.9


def test_random_boxes_are_spread_as_torchvisions() -> None:
    from torchvision.transforms import RandomResizedCrop

    image = torch.empty(3, 60, 80)
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(1500)])
    ours = np.array([resized_crop_box(seeds.generator(1, s), (60, 80), 9, 0.08) for s in range(1500)])
    assert np.allclose(ours.mean(0), theirs.mean(0), rtol=0.08)
    assert np.allclose(ours.std(0), theirs.std(0), rtol=0.08)


def test_a_strip_gives_its_middle() -> None:
    assert resized_crop_box(seeds.generator(0), (20, 8000), 9, 0.08) == (0, 3986, 20, 27)


def test_the_short_sides_crop_is_what_resizing_first_would_show() -> None:
    sides = set()
    for sample in range(100):
        top, left, height, width = short_side_box(seeds.generator(0, sample), (90, 120), 9, 10, 18)
        assert height == width
        assert 0 <= top <= 90 - height
        assert 0 <= left <= 120 - width
        sides.add(height)
    assert sides == {round(90 * 9 / s) for s in range(10, 19)}


def test_colour_is_torchvisions_color_jitter_up_to_its_numbers() -> None:
    out = VIEW.restore(augmented(("color:0.4",), list(range(N)))).double()
    ratio = out.mean((1, 2, 3)) / PIXELS.double().mean((1, 2, 3))
    assert 0.5 < ratio.min() < 0.8
    assert 1.2 < ratio.max() < 1.5
    assert torch.equal(augmented(("color:0",), [0, 1]), VIEW.normalise(PIXELS[[0, 1]]))


def test_words_must_suit_the_view() -> None:
    with pytest.raises(UsageError, match="the pictures have 9 pixels only"):
        parse(("pad-crop:10",), VIEW)
    with pytest.raises(UsageError, match="crop of 9 pixels does not fit"):
        parse(("short-side:8:20",), VIEW)


def test_quick_is_what_needs_no_work_on_each_picture() -> None:
    quick = {name for name in AUGMENTATIONS if parse((f"{name}",), VIEW).is_quick(IMAGES)}
    assert quick == {"pad-crop", "flip", "alternate-flip", "erase", "mixup", "cutmix"}
    assert not parse((), View(side_px=8, fit="crop", resize_px=8, mode="RGB", mean=(0,) * 3, std=(1,) * 3)).is_quick(
        IMAGES
    )


# -- pairs ----------------------------------------------------------------------------------------------------------


def mixed(words: dict[str, tuple[float, ...]], n: int) -> tuple[np.ndarray, np.ndarray]:
    """n pictures that are 0, 1, 2, ... everywhere, of as many classes, and their targets after mixing."""
    x = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None, None], (n, 3, 9, 9)).copy()
    return x, mixing(words, n // 2, 0, 7)(x, np.arange(n), n)


def test_mixup_mixes_neighbours_and_their_targets_alike() -> None:
    x, targets = mixed({"mixup": (1.0,)}, 20)
    assert targets.dtype == np.float32
    assert np.allclose(targets.sum(1), 1)
    for i in range(20):
        assert set(np.flatnonzero(targets[i])) <= {i, i ^ 1}
        assert np.allclose(x[i], targets[i] @ np.arange(20), atol=1e-5)
    assert np.allclose(targets[0::2].sum(0) + targets[1::2].sum(0), 1)


def test_cutmix_cuts_a_box_and_targets_count_its_pixels() -> None:
    x, targets = mixed({"cutmix": (1.0,)}, 20)
    for i in range(20):
        own, other = x[i, 0] == i, x[i, 0] == i ^ 1
        assert (own | other).all()
        assert targets[i, i] == pytest.approx(own.mean(), abs=1e-6)
        assert targets[i, i ^ 1] == pytest.approx(other.mean(), abs=1e-6)
        rows, columns = np.where(other)
        assert rows.size == 0 or rows.size == np.ptp(rows) * np.ptp(columns) + np.ptp(rows) + np.ptp(columns) + 1


def test_both_words_give_each_pair_either() -> None:
    x, _ = mixed({"mixup": (1.0,), "cutmix": (1.0,)}, 200)
    whole = [np.isin(x[i], (i, i ^ 1)).all() for i in range(0, 200, 2)]
    assert 30 <= sum(whole) <= 70


def test_an_odd_last_sample_stays_as_it_is() -> None:
    x, targets = mixed({"mixup": (1.0,)}, 7)
    assert (x[6] == 6).all()
    assert targets[6].tolist() == [0] * 6 + [1]


def test_mixing_shares_follow_their_beta_distribution() -> None:
    share = mixing({"mixup": (0.2,)}, 4000, 0, 0).share
    assert share.mean() == pytest.approx(0.5, abs=0.02)
    assert share.var() == pytest.approx(0.25 / 1.4, abs=0.01)  # 1 / (4 (2 a + 1))
