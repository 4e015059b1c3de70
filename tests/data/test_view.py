import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from acceptance import picture
from residua.data.dataset import ArrayImages, FileImages
from residua.data.known import open_known
from residua.data.names import KNOWN
from residua.data.sources import open_data
from residua.data.view import FITS, STATISTICS, View, measure, view_for
from residua.errors import DataError, UsageError

IMAGENET = STATISTICS["imagenet"]
PHOTO = View(side_px=56, fit="crop", resize_px=64, mode="RGB", mean=IMAGENET.mean, std=IMAGENET.std)
SMALL = View(side_px=8, fit="crop", resize_px=8, mode="L", mean=(0.3,), std=(0.4,))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def smooth(height: int, width: int) -> Tensor:
    """A picture with structure at every scale, as photos have."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8))
    return torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.BICUBIC))).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(75, 100), (333, 500), (500, 333), (64, 64), (40, 50), (57, 220)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_is_torchvisions_resize_and_center_crop_on_pil(size: tuple[int, int], interpolation: str) -> None:
    from torchvision.transforms import CenterCrop, InterpolationMode, PILToTensor, Resize

    image = smooth(*size)
    resized = Resize(64, InterpolationMode(interpolation))(Image.fromarray(image.permute(1, 2, 0).numpy()))
    reference = PILToTensor()(CenterCrop(56)(resized))
    ours = replace(PHOTO, interpolation=interpolation).picture(image)
    assert (ours.int() - reference.int()).abs().float().mean() < 1
    assert (ours.int() - reference.int()).abs().max() <= 3


def test_normalisation_is_torchvisions_to_the_bit() -> None:
    from torchvision.transforms import Compose, Normalize, ToTensor

    image = noise(3, 56, 56)
    reference = Compose([ToTensor(), Normalize(PHOTO.mean, PHOTO.std)])(image.permute(1, 2, 0).numpy())
    assert torch.equal(PHOTO.normalise(image), reference)


@pytest.mark.parametrize("n", [1, 2, 7, 33])
def test_a_picture_alone_and_in_a_batch_are_the_same_bits(n: int) -> None:
    images = noise(n, 3, 56, 56)
    batch = PHOTO.normalise(images)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()
    whole_view = replace(PHOTO, resize_px=56)
    for i in range(n):
        assert torch.equal(whole_view.tensor(images[i]), batch[i])


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (56, 56), (64, 64), (20, 8000), (8000, 20), (1, 3000), (100, 30)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_becomes_the_views_square(fit: str, size: tuple[int, int], channels: int) -> None:
    for view in (replace(PHOTO, fit=fit), replace(SMALL, fit=fit)):
        out = view.picture(noise(channels, *size))
        assert out.shape == (view.channels, view.side_px, view.side_px)
        assert out.dtype == torch.uint8


def test_a_picture_that_fits_is_left_alone() -> None:
    image = noise(3, 56, 56)
    for fit in FITS:
        assert torch.equal(replace(PHOTO, resize_px=56, fit=fit).picture(image), image)
    assert not torch.equal(PHOTO.picture(image), image)


def test_padding_keeps_the_whole_picture_and_fills_with_the_mean() -> None:
    view = replace(PHOTO, fit="pad")
    out = view.picture(torch.full((3, 40, 80), 7, dtype=torch.uint8))
    assert (out[:, 14:42] == 7).all()
    mean = torch.tensor([124, 116, 104], dtype=torch.uint8)[:, None, None]
    assert (out[:, :14] == mean).all()
    assert (out[:, 42:] == mean).all()
    assert view.normalise(out)[:, 0].abs().max() < 0.01


def test_squashing_shows_every_corner() -> None:
    image = torch.zeros(3, 40, 80, dtype=torch.uint8)
    image[:, :20, :40] = 255
    out = replace(PHOTO, fit="squash").picture(image)
    assert (out[:, :26, :26] > 250).all()
    assert (out[:, 30:] < 5).all()


def test_grey_and_colour_change_as_pillow_changes_them() -> None:
    rgb = picture(8, 8)
    grey = SMALL.picture(torch.from_numpy(rgb).permute(2, 0, 1))
    assert np.array_equal(grey[0].numpy(), np.asarray(Image.fromarray(rgb).convert("L")))
    assert torch.equal(replace(PHOTO, side_px=8, resize_px=8).picture(grey), grey.expand(3, 8, 8))
    with pytest.raises(DataError, match="1 or 3 channels, got 4"):
        PHOTO.picture(noise(4, 8, 8))


def test_restoring_undoes_normalising() -> None:
    image = noise(3, 56, 56)
    assert torch.equal(PHOTO.restore(PHOTO.normalise(image)), image)


def test_a_view_goes_through_json_and_back() -> None:
    for view in (PHOTO, SMALL, replace(PHOTO, fit="pad", interpolation="bicubic")):
        assert View.from_json(json.loads(json.dumps(view.to_json()))) == view


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fit": "cropp"}, "unknown fit of a view 'cropp': did you mean crop"),
        ({"mode": "BGR"}, "unknown mode of a view"),
        ({"interpolation": "nearest"}, "unknown interpolation"),
        ({"side_px": 0}, "whole numbers 1 <= side_px"),
        ({"side_px": 56.5}, "whole numbers 1 <= side_px"),
        ({"side_px": "56"}, "whole numbers 1 <= side_px"),
        ({"resize_px": 55}, "got 56 and 55"),
        ({"resize_px": 10**9}, "side_px <= resize_px"),
        ({"mean": [0.5]}, "needs 3 means"),
        ({"mean": ["a", "b", "c"]}, "not a view"),
        ({"mean": 0.5}, "not a view"),
        ({"std": [0.5, 0.0, 0.5]}, "positive deviations"),
        ({"std": [0.5, float("nan"), 0.5]}, "finite"),
        ({"size": 56}, "unknown field of a view 'size': did you mean"),
    ],
)
def test_a_wrong_view_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        View.from_json(PHOTO.to_json() | change)


def test_a_view_with_a_part_missing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"not a view: .*'side_px'"):
        View.from_json({k: v for k, v in PHOTO.to_json().items() if k != "side_px"})


# -- statistics -----------------------------------------------------------------------------------------------------


def test_every_known_set_has_statistics_of_its_channels() -> None:
    assert STATISTICS.keys() == {*KNOWN, "imagenet"}
    for known in STATISTICS.values():
        assert len(known.mean) == len(known.std) in (1, 3)
        assert known.origin


def test_the_statistics_of_digits_are_those_of_all_that_is_not_the_test() -> None:
    images = open_known("digits").splits["train"].images
    assert len(images) == 1437
    mean, std = measure(images, 1437)
    assert mean == pytest.approx(STATISTICS["digits"].mean, abs=1e-7)
    assert std == pytest.approx(STATISTICS["digits"].std, abs=1e-7)


@pytest.mark.data
def test_the_statistics_of_cifar10_are_those_of_its_training_pictures(real_data: str) -> None:
    images = open_known("cifar10", root=real_data, download=False).splits["train"].images
    assert isinstance(images, ArrayImages)
    x = images.array.double() / 255
    assert x.mean((0, 2, 3)).tolist() == pytest.approx(STATISTICS["cifar10"].mean, abs=1e-7)
    assert x.std((0, 2, 3), correction=0).tolist() == pytest.approx(STATISTICS["cifar10"].std, abs=1e-7)


def test_measuring_is_mean_and_deviation_of_the_pixels() -> None:
    images = noise(9, 3, 5, 7)
    mean, std = measure(ArrayImages(images), 9)
    x = images.double() / 255
    assert mean == pytest.approx(x.mean((0, 2, 3)).tolist())
    assert std == pytest.approx(x.std((0, 2, 3), correction=0).tolist())


def test_measuring_a_part_spreads_it_evenly() -> None:
    images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1)
    assert measure(ArrayImages(images), 2)[0] == pytest.approx((4.5 / 255,))
    assert measure(ArrayImages(images), 100)[0] == pytest.approx((4.5 / 255,))


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    assert measure(ArrayImages(torch.full((3, 1, 5, 7), 9, dtype=torch.uint8)), 3)[1] == (1.0,)


def test_measuring_passes_over_what_cannot_be_decoded(photos: Callable[..., Path]) -> None:
    root = photos("a.png", "b.png")
    good = FileImages((str(root / "a.png"),))
    both = FileImages((str(root / "a.png"), str(root / "gone.png")))
    assert measure(both, 2) == measure(good, 1)
    with pytest.raises(DataError, match="none of the pictures"):
        measure(FileImages((str(root / "gone.png"),)), 1)


# -- the view of a set ----------------------------------------------------------------------------------------------


def test_digits_keep_their_side_and_constants() -> None:
    known = STATISTICS["digits"]
    view = view_for(open_data("digits"))
    assert view == View(side_px=8, fit="crop", resize_px=8, mode="L", mean=known.mean, std=known.std)
    assert view_for(open_data("digits"), image_size=32).resize_px == 32


def test_photos_become_224_pixels_and_their_statistics_are_measured_on_train(photos: Callable[..., Path]) -> None:
    root = photos(*(f"{c}/{i}.png" for c in ("ants", "bees") for i in range(4)), side=120)
    dataset = open_data(str(root))
    view = view_for(dataset)
    assert (view.side_px, view.resize_px, view.mode, view.fit) == (224, 256, "RGB", "crop")
    assert (view.mean, view.std) == measure(dataset.splits["train"].images, 256)
    assert view_for(dataset, image_size=112).resize_px == 128
    assert view_for(dataset, fit="squash").resize_px == 224
    with pytest.raises(UsageError, match="whole numbers 1 <= side_px"):
        view_for(dataset, image_size=0)
    with pytest.raises(UsageError, match="unknown fit"):
        view_for(dataset, fit="stretch")


def test_small_pictures_of_mixed_sizes_keep_their_median_side(photos: Callable[..., Path]) -> None:
    root = photos(*(f"{c}/{i}.png" for c in ("ants", "bees") for i in range(3)))
    view = view_for(open_data(str(root)))
    assert (view.side_px, view.resize_px) == (21, 21)


#: Reads pictures in a thread that has computed nothing before, and says how many more threads there are then.
READ = """
import os, torch
from concurrent.futures import ThreadPoolExecutor
from residua.boxes.view import laid
from residua.data.view import STATISTICS, View
def threads():
    return len(os.listdir("/proc/self/task"))
torch.set_num_threads(2)
image = torch.randint(0, 256, (300, 400, 3), dtype=torch.uint8).permute(2, 0, 1)
colours = STATISTICS["imagenet"]
views = [View(side_px=224, fit=fit, resize_px=256 if fit == "crop" else 224, mode="RGB", mean=colours.mean,
              std=colours.std) for fit in ("crop", "pad", "squash")]
works = [*(lambda v=v: v.tensor(image) for v in views), lambda: laid([image, image], (1, 2, 3)),
         lambda: torch.stack([image.float()] * 2)]
with ThreadPoolExecutor(1) as pool:
    pool.submit(int).result()
    before = threads()
    for work in works:
        pool.submit(work).result()
        print(threads() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's /proc")
def test_whoever_reads_pictures_wakes_no_threads_of_torchs_own() -> None:
    """A team of OpenMP's beside that of a training or an answer would slow both down; the last line shows one."""
    ran = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0", "0", "0", "0", "1"]
