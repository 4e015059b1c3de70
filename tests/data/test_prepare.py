"""Laws of reduced decoding: it shows what the whole picture shows, to a third of a step, and in the same place."""

import io
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from acceptance import STORED, oriented, picture, save
from residua.data.batches import in_order
from residua.data.cache import opened
from residua.data.dataset import ArrayImages, FileImages, Split
from residua.data.decode import decode, reduced
from residua.data.prepare import SHORT, Preparation
from residua.data.view import FITS, STATISTICS, View, measure, resized

IMAGENET = STATISTICS["imagenet"]
VIEW = View(side_px=112, fit="crop", resize_px=128, mode="RGB", mean=IMAGENET.mean, std=IMAGENET.std)
#: (width, height): sides that no scale divides, that some do, that all do; upright and wide; strips.
SIZES = [(1301, 952), (777, 1031), (1030, 779), (1024, 800), (2057, 1033), (1161, 2583), (3001, 521)]


@lru_cache
def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A photo: scikit-learn's of a Chinese temple, which has edges at every scale."""
    from sklearn.datasets import load_sample_image

    return (
        Image.fromarray(load_sample_image("china.jpg")).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    )


def jpeg(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90, **options)
    return out.getvalue()


def steps(a: Tensor, b: Tensor) -> tuple[float, int]:
    """The mean and the largest difference in grey levels."""
    assert a.shape == b.shape
    apart = (a.int() - b.int()).abs()
    return apart.float().mean().item(), int(apart.max())


# -- the scale ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("least", [1, 100, 128, 260, 400, 10_000])
def test_the_scale_is_the_smallest_that_leaves_enough(size: tuple[int, int], least: int) -> None:
    pixels, (height, width) = reduced(jpeg(photo(*size)), "RGB", least)
    scale = round(size[0] / width)
    assert scale in (1, 2, 4, 8)
    assert (height, width) == (size[1] / scale, size[0] / scale)
    assert pixels.shape == (3, -(-size[1] // scale), -(-size[0] // scale))
    assert min(height, width) >= min(least, *size)
    assert scale == 8 or min(height, width) / 2 < least


@pytest.mark.parametrize("size", SIZES[:2])
def test_without_a_scale_it_is_decoding(size: tuple[int, int]) -> None:
    data = jpeg(photo(*size))
    for least in (None, 10_000):
        pixels, found = reduced(data, "RGB", least)
        assert torch.equal(pixels, decode(data))
        assert found == (size[1], size[0])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_what_is_no_jpeg_keeps_its_pixels(kind: str) -> None:
    out = io.BytesIO()
    photo(777, 1031).save(out, kind)
    pixels, size = reduced(out.getvalue(), "RGB", 10)
    assert size == (1031, 777)
    assert torch.equal(pixels, decode(out.getvalue()))


def test_an_opened_picture_keeps_its_pixels() -> None:
    with Image.open(io.BytesIO(jpeg(photo(777, 1031)))) as image:
        assert torch.equal(reduced(image, "RGB", 10).pixels, decode(image))
        assert image.size == (777, 1031)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("wanted", ["RGB", "L"])
def test_every_kind_of_jpeg_can_be_reduced(mode: str, wanted: str) -> None:
    data = jpeg(photo(1301, 952, mode))
    view = VIEW if wanted == "RGB" else replace(VIEW, mode="L", mean=(0.5,), std=(0.2,))
    mean, _ = steps(view.picture(*reduced(data, wanted, view.least_px)), view.picture(decode(data, wanted)))
    assert mean < 0.5


# -- what it shows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_is_torchvisions_on_the_whole_picture_within_a_step(size: tuple[int, int], interpolation: str) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

    data = jpeg(photo(*size))
    reference = Compose([Resize(128, InterpolationMode(interpolation)), CenterCrop(112), PILToTensor()])
    view = replace(VIEW, interpolation=interpolation)
    with Image.open(io.BytesIO(data)) as image:
        mean, most = steps(view.picture(*reduced(data, "RGB", view.least_px)), reference(image))
    assert mean < 0.8
    assert most < 16


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", SIZES)
def test_every_fit_shows_what_it_shows_of_the_whole_picture(fit: str, size: tuple[int, int]) -> None:
    view, data = replace(VIEW, fit=fit), jpeg(photo(*size))
    mean, most = steps(view.picture(*reduced(data, "RGB", view.least_px)), view.picture(decode(data)))
    assert mean < 0.8
    assert most < 16


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("size", [(1301, 953), (1304, 953), (1304, 952)])
def test_turned_pictures_are_shown_upright_and_in_place(orientation: int, size: tuple[int, int]) -> None:
    stored = STORED[orientation](np.asarray(photo(*size)))
    data = jpeg(Image.fromarray(np.ascontiguousarray(stored)), exif=oriented(orientation))
    for fit in FITS:
        view = replace(VIEW, fit=fit)
        mean, most = steps(view.picture(*reduced(data, "RGB", view.least_px)), view.picture(decode(data)))
        assert mean < 0.6
        assert most < 16


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_scaling_a_part_of_the_last_pixels_is_pillows_resize_with_a_box(interpolation: str) -> None:
    image = np.asarray(photo(651, 477))
    view = replace(VIEW, interpolation=interpolation)
    for height, width in ((476.5, 650.5), (477, 650.25), (476.125, 651)):
        ours = resized(view, torch.from_numpy(image.copy()).permute(2, 0, 1), [128], (height, width))
        sides = int(128 * width / height), 128
        how = Image.Resampling[interpolation.upper()]
        theirs = np.asarray(Image.fromarray(image).resize(sides, how, (0, 0, width, height)))
        mean, most = steps(ours, torch.from_numpy(theirs.copy()).permute(2, 0, 1))
        assert (mean < 0.02, most <= 1) == (True, True)


def test_measured_colours_are_those_of_the_whole_pictures(tmp_path: Path) -> None:
    paths = []
    for i, size in enumerate(SIZES[:4]):
        paths.append(str(tmp_path / f"{i}.jpg"))
        Path(paths[-1]).write_bytes(jpeg(photo(*size)))
    whole = [decode(path) for path in paths]
    expected = [measure(ArrayImages(image[None]), 1) for image in whole]
    mean, std = measure(FileImages(tuple(paths)), 10)
    assert mean == pytest.approx(np.mean([m for m, _ in expected], axis=0), abs=1 / 255)
    assert std == pytest.approx(np.mean([s for _, s in expected], axis=0), abs=4 / 255)


# -- preparation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_crops_begin_with_the_whole_picture_at_one_and_a_half_times_the_side(size: tuple[int, int]) -> None:
    short = round(SHORT * VIEW.side_px)
    data = jpeg(photo(*size))
    ready = Preparation(VIEW, short)(data, "RGB")
    assert min(ready.shape[1:]) == short
    mean, _ = steps(ready, resized(VIEW, decode(data), [short]))
    assert mean < 2


def test_small_pictures_are_not_enlarged_for_crops(tmp_path: Path) -> None:
    save(tmp_path / "x.png", picture(30, 41))
    assert torch.equal(Preparation(VIEW, 168)(str(tmp_path / "x.png"), "RGB"), decode(tmp_path / "x.png"))


@pytest.mark.parametrize("short", [None, 100])
def test_what_is_kept_comes_back(short: int | None) -> None:
    preparation = Preparation(VIEW, short)
    ready = preparation(jpeg(photo(777, 1031)), "RGB")
    kept = preparation.stored(ready)
    assert kept.flags.c_contiguous
    assert torch.equal(preparation.restored(kept), ready)


# -- one tensor everywhere ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", FITS)
def test_a_large_jpeg_is_one_tensor_in_evaluation_with_and_without_a_cache_and_in_predict(
    fit: str, tmp_path: Path
) -> None:
    from residua.engine import decide
    from residua.nn.modelfile import Header
    from residua.nn.zoo import build, find
    from residua.predict.inputs import Item
    from residua.predict.model import Model

    view = replace(VIEW, fit=fit)
    for i, size in enumerate(SIZES):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(photo(*size)))
    paths = tuple(str(tmp_path / f"{i}.jpg") for i in range(len(SIZES)))
    split = Split(FileImages(paths), np.zeros(len(SIZES), np.int64), paths)
    cache = opened(2**30, str(tmp_path / "cache"))
    shown = [
        torch.cat([b.images for b in in_order(split, view, 3, n, c)]) for n, c in ((0, None), (2, cache), (0, cache))
    ]
    assert all(torch.equal(shown[0], other) for other in shown[1:])

    row = replace(find("cifar_resnet20:1-1-1"), classes=2)
    header = Header(row=row, classes=("a", "b"), view=view.to_json())
    engine = decide(side_px=112, in_memory=False, device="cpu", precision="fp32", threads=1, workers=0)
    model = Model(build(row), header, view, engine)
    for path, tensor in zip(paths, shown[0], strict=True):
        for source in (path, Path(path).read_bytes()):
            seen = model._read(Item(path, source))
            assert isinstance(seen, tuple)
            assert torch.equal(seen[0], tensor)
