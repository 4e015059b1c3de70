"""Laws of views, augmentations and batches that keep boxes."""

import numpy as np
import pytest
import torch

from boxes.conftest import photo, voc, xml
from residua.boxes.augment import BoxAugment, Geometry
from residua.boxes.batches import BoxBatches, Pictures, each_once, opened
from residua.boxes.dataset import Target, dataset_of
from residua.boxes.sources import listed, open_boxes
from residua.boxes.view import BoxView, canvas, laid, scales, view_for
from residua.boxes.words import check_words
from residua.data.cache import Decoding
from residua.errors import UsageError

VIEW = BoxView(32, 64, "RGB", (0.5,) * 3, (0.25,) * 3)


def target(*boxes) -> Target:
    n = len(boxes)
    return Target(np.array(boxes, np.float32).reshape(n, 4), np.arange(n), np.zeros(n, np.bool_), np.zeros(n, np.bool_))


@pytest.mark.parametrize(
    ("size", "seen"), [((48, 64), (32, 42)), ((64, 48), (42, 32)), ((20, 200), (6, 64)), ((16, 16), (32, 32))]
)
def test_pictures_are_scaled_to_the_short_side_or_the_long_one(size, seen):
    assert VIEW.scaled(*size) == seen
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    assert tuple(VIEW.fitted(image, size).shape[1:]) == seen


def test_a_view_comes_back_from_its_words_and_refuses_others():
    assert BoxView.from_json(VIEW.to_json()) == VIEW
    for change in ({"short_px": 8}, {"long_px": 16}, {"mean": [0.5]}, {"side_px": 3}):
        with pytest.raises(UsageError):
            BoxView.from_json(VIEW.to_json() | change)


def test_boxes_go_to_the_view_and_back(tmp_path):
    size = (48, 64)
    there = BoxAugment(VIEW).target(target((4, 6, 30, 40)), size, 0, 0, 0).boxes
    assert np.allclose(there / scales(size, VIEW.scaled(*size)), [[4, 6, 30, 40]], atol=1e-5)


@pytest.mark.parametrize(
    "words", [("flip",), ("vertical-flip",), ("scale:0.5:2",), ("scale:0.6:1.8", "flip", "vertical-flip")]
)
@pytest.mark.parametrize("seed", range(4))
def test_a_box_moves_with_what_it_holds(words, seed):
    """A bright rectangle in a dark picture is where its box says after any augmentation."""
    size = (64, 64)
    view = BoxView(64, 64, "RGB", (0.0,) * 3, (1.0,) * 3)
    image = torch.zeros(3, *size, dtype=torch.uint8)
    image[:, 20:44, 12:40] = 255
    augment = BoxAugment(view, check_words(words))
    for epoch in range(6):
        seen = augment.picture(image, seed, epoch, 5)[0].numpy() > 128
        moved = augment.target(target((12, 20, 40, 44)), size, seed, epoch, 5)
        if not len(moved.boxes):
            continue
        ys, xs = np.nonzero(seen)
        assert np.abs(moved.boxes[0] - [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).max() <= 1.5


def test_a_box_of_which_little_is_left_is_dropped():
    geometry = Geometry((64, 64), (128, 128), 0, -60, False, False)

    class Still(BoxAugment):
        def geometry(self, *words):
            return geometry

    view = BoxView(64, 64, "RGB", (0.0,) * 3, (1.0,) * 3)
    kept = Still(view).target(target((0, 0, 20, 20), (40, 0, 60, 20), (28, 0, 40, 20)), (64, 64), 0, 0, 0)
    assert kept.labels.tolist() == [1, 2] and kept.boxes.tolist() == [[20, 0, 60, 40], [0, 0, 20, 40]]


def test_unknown_augmentations_name_the_nearest():
    with pytest.raises(UsageError, match="did you mean flip"):
        check_words(["flop"])
    with pytest.raises(UsageError, match="smallest scale"):
        check_words(["scale:3"])


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    root = tmp_path_factory.mktemp("many") / "data"
    (root / "Annotations").mkdir(parents=True)
    for i in range(12):
        size = ((64, 48), (48, 64))[i % 2]
        photo(root / "JPEGImages" / f"{i:02}.png", size, i)
        (root / "Annotations" / f"{i:02}.xml").write_text(xml(size, [("ab"[i % 3 > 0], 4, 4, 30, 30)] * (i > 0)))
    return dataset_of(listed(str(root)))


def batches(data, words=("scale:0.8:1.25", "flip"), quick=False, **options):
    split = data.splits["train"]
    pictures = Pictures(split, VIEW, Decoding())
    augment = BoxAugment(VIEW, check_words(words))
    return BoxBatches(pictures, batch_size=4, seed=0, augment=augment, quick=quick, **options)


def same(a, b):
    return torch.equal(a.images, b.images) and a.sides == b.sides and all(
        np.array_equal(x.boxes, y.boxes) for x, y in zip(a.targets, b.targets, strict=True)
    )  # fmt: skip


def test_a_batch_depends_on_seed_and_step_alone(many):
    alone = [batches(many).at(i) for i in range(5)]
    for workers in (0, 2):
        assert all(map(same, batches(many).stream(0, 5, workers), alone))
    assert same(next(batches(many).stream(3, 5)), alone[3])
    assert not same(alone[0], batches(many).at(3))


def test_pictures_in_memory_are_the_same_as_in_files(many):
    kept, pictures = opened(many, VIEW)
    assert len(pictures["train"].kept) == 12 and kept.splits["train"].names == many.splits["train"].names
    held = BoxBatches(pictures["train"], batch_size=4, seed=0, augment=BoxAugment(VIEW), quick=True)
    loose = BoxBatches(
        Pictures(many.splits["train"], VIEW, Decoding()), batch_size=4, seed=0, augment=BoxAugment(VIEW), quick=False
    )
    assert all(map(same, held.stream(0, 3), loose.stream(0, 3)))


def test_every_picture_is_shown_once_with_others_of_its_canvas(many):
    _, pictures = opened(many, VIEW)
    seen = []
    for batch in each_once(pictures["train"], 4):
        assert {canvas([s]) for s in batch.sides} == {tuple(batch.images.shape[2:])}
        seen += batch.index.tolist()
    assert sorted(seen) == list(range(12))


def test_the_rest_of_a_canvas_is_the_mean():
    made = laid(
        [torch.full((3, 20, 40), 9, dtype=torch.uint8), torch.full((3, 32, 10), 8, dtype=torch.uint8)], (1, 2, 3)
    )
    assert made.shape == (2, 3, 32, 64) and made[0, :, 25, 0].tolist() == [1, 2, 3] == made[1, :, 0, 30].tolist()
    assert (made[0, :, :20, :40] == 9).all() and (made[1, :, :32, :10] == 8).all()


def test_the_view_that_suits_keeps_the_pictures_own_side(tmp_path):
    data = open_boxes(str(voc(tmp_path / "data")))
    assert (view_for(data).short_px, view_for(data).long_px) == (48, 80)
    assert view_for(data, short_px=32).short_px == 32


@pytest.mark.parametrize("size", [(481, 641), (333, 1001), (1301, 977), (200, 4001)])
def test_a_picture_in_a_file_has_the_sides_that_its_boxes_reckon_with(tmp_path, size):
    photo(tmp_path / "x.jpg", size[::-1])
    for view in (VIEW, BoxView(240, 400, "RGB", (0.5,) * 3, (0.25,) * 3)):
        assert tuple(view.file(str(tmp_path / "x.jpg"), size, Decoding()).shape[1:]) == view.scaled(*size)
