import os
import pickle
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from acceptance import STORED, Acceptance, oriented, picture, png
from residua.data.decode import MAX_PIXELS, BadPicture, Header, decode, inspect
from residua.errors import DataError


def upright(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def far(a: Tensor, b: Tensor) -> float:
    """The mean difference in grey levels; infinite where the shapes differ."""
    return (a.int() - b.int()).abs().float().mean().item() if a.shape == b.shape else float("inf")


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_every_orientation_becomes_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    pixels = picture(30, 40)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels)))
    lossless = {"jpeg": {"quality": 98, "subsampling": 0}, "webp": {"lossless": True}}
    stored.save(tmp_path / "x", kind, exif=oriented(orientation), **lossless.get(kind, {}))
    assert far(decode(tmp_path / "x"), upright(pixels)) < (2 if kind == "jpeg" else 0.01)


def test_a_path_its_bytes_and_the_opened_image_decode_to_the_same_picture(acceptance: Acceptance) -> None:
    for name in sorted(acceptance.good):
        path = acceptance.root / name
        with Image.open(path) as image:
            same = (decode(str(path)), decode(path), decode(path.read_bytes()), decode(image))
            assert image.getexif() or image.format != "JPEG" or "turned" not in name
        assert all(torch.equal(same[0], other) for other in same[1:])
        assert same[0].dtype == torch.uint8
        assert same[0].permute(1, 2, 0).is_contiguous()
        assert len(same[0]) == 3


def test_every_good_file_has_both_modes(acceptance: Acceptance) -> None:
    for name in sorted(acceptance.good):
        colour, grey = decode(acceptance.root / name), decode(acceptance.root / name, "L")
        assert (len(colour), len(grey)) == (3, 1)
        assert colour.shape[1:] == grey.shape[1:]


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("CMYK", (7, 5), (0, 255, 255, 0)), (255, 0, 0)),
        (Image.new("RGBA", (7, 5), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (7, 5), (255, 0, 0, 51)), (255, 204, 204)),
        (Image.new("LA", (7, 5), (0, 51)), (204, 204, 204)),
        (Image.new("L", (7, 5), 17), (17, 17, 17)),
        (Image.new("1", (7, 5), 1), (255, 255, 255)),
        (Image.new("I;16", (7, 5), 65535), (255, 255, 255)),
        (Image.new("I;16", (7, 5), 257 * 40), (40, 40, 40)),
        (Image.new("I;16", (7, 5), 255), (1, 1, 1)),
    ],
)
def test_every_mode_becomes_rgb_over_white(tmp_path: Path, image: Image.Image, colour: tuple[int, ...]) -> None:
    image.save(tmp_path / "x.tiff")
    assert decode(tmp_path / "x.tiff")[:, 2, 3].tolist() == list(colour)
    assert decode(tmp_path / "x.tiff").shape == (3, 5, 7)


def test_16_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(wide).save(tmp_path / "x.png")
    expected = torch.from_numpy(np.rint(wide / 257).astype(np.uint8))
    assert torch.equal(decode(tmp_path / "x.png", "L")[0], expected)


def test_a_palette_with_transparency_lies_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (7, 5), 1)
    image.putpalette([10, 20, 30, 0, 0, 255])
    image.save(tmp_path / "one.png", transparency=1)
    image.save(tmp_path / "bytes.png", transparency=bytes([255, 51]))
    image.save(tmp_path / "none.png")
    assert decode(tmp_path / "one.png")[:, 0, 0].tolist() == [255, 255, 255]
    assert decode(tmp_path / "bytes.png")[:, 0, 0].tolist() == [204, 204, 255]
    assert decode(tmp_path / "none.png")[:, 0, 0].tolist() == [0, 0, 255]


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (7, 5), c) for c in ("red", "blue")]
    for kind in ("gif", "webp", "png", "tiff"):
        frames[0].save(tmp_path / f"x.{kind}", save_all=True, append_images=frames[1:])
        red, green, blue = decode(tmp_path / f"x.{kind}")[:, 2, 3].tolist()
        assert red > 250
        assert green < 5
        assert blue < 5


def test_the_grey_of_a_colour_picture_is_pillows(tmp_path: Path) -> None:
    image = Image.fromarray(picture())
    image.save(tmp_path / "x.png")
    assert np.array_equal(decode(tmp_path / "x.png", "L")[0].numpy(), np.asarray(image.convert("L")))


def test_damaged_exif_does_not_lose_the_picture(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")
    assert decode(tmp_path / "x.jpg").shape == (3, 30, 40)


@pytest.mark.parametrize("kind", ["F", "I"])
def test_pixels_without_an_agreed_range_are_refused(tmp_path: Path, kind: str) -> None:
    Image.fromarray(np.full((5, 7), 70_000, np.float32 if kind == "F" else np.int32)).save(tmp_path / "x.tiff")
    with pytest.raises(DataError, match="convert it to 8 or 16 bits"):
        decode(tmp_path / "x.tiff")


def test_bad_files_are_refused_with_the_reason(acceptance: Acceptance) -> None:
    pictures = {n: r for n, r in acceptance.bad.items() if n.endswith((".jpg", ".png"))}
    assert len(pictures) >= 6
    for name, reason in pictures.items():
        with pytest.raises(DataError, match=reason) as e:
            decode(acceptance.root / name)
        assert name in str(e.value)
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "tiff", "bmp", "ppm"])
@pytest.mark.parametrize("keep", [0.3, 0.95])
def test_a_file_cut_anywhere_is_found_by_the_scan(tmp_path: Path, kind: str, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)
    whole, cut = tmp_path / f"whole.{kind}", tmp_path / f"cut.{kind}"
    Image.fromarray(noise).save(whole)
    cut.write_bytes(whole.read_bytes()[: int(keep * whole.stat().st_size)])
    good, bad = inspect([str(whole), str(cut)])
    assert isinstance(good, Header)
    assert (good.width, good.height, good.grey, good.bytes) == (48, 64, False, whole.stat().st_size)
    assert isinstance(bad, BadPicture)
    with pytest.raises(BadPicture):
        decode(cut)


def test_bytes_behind_the_end_do_no_harm(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.fromarray(picture()).save(buffer, "jpeg")
    for i, tail in enumerate((b"\0" * 100, b"motion photo" * 1000)):
        (tmp_path / f"{i}.jpg").write_bytes(buffer.getvalue() + tail)
        assert isinstance(inspect([str(tmp_path / f"{i}.jpg")])[0], Header)


def test_pillows_warnings_do_not_leak(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png(10_000, 10_000))  # Pillow warns of a bomb from 89 million pixels
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = inspect([str(tmp_path / "large.png")])
        with pytest.raises(BadPicture):
            decode(b"\x89PNG\r\n\x1a\n")
    assert isinstance(found[0], Header)
    assert not caught


def test_the_limit_of_pixels_is_pillows_limit_for_errors_and_ours_even_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 * Image.MAX_IMAGE_PIXELS <= MAX_PIXELS <= 2 * Image.MAX_IMAGE_PIXELS + 2
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DataError, match="178,956,970 pixels"):
        decode(png(40_000, 40_000))


def test_programs_and_documents_are_not_images(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 7 5\nshowpage\n")
    with pytest.raises(DataError, match="not an image"):
        decode(tmp_path / "x.jpg")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "is a directory"),
        (lambda p: os.mkfifo(p), "not a regular file"),
        (lambda p: p.symlink_to(p), "symbolic link"),
    ],
)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    make(tmp_path / "x.jpg")
    with pytest.raises(DataError, match=reason):
        decode(tmp_path / "x.jpg")
    assert isinstance(inspect([str(tmp_path / "x.jpg")])[0], BadPicture)


def test_an_error_names_its_file_in_one_line_and_travels_between_processes(tmp_path: Path) -> None:
    with pytest.raises(BadPicture) as e:
        decode(tmp_path / "new\nline.jpg")
    again = pickle.loads(pickle.dumps(e.value))
    assert str(again) == str(e.value)
    assert r"new\nline.jpg" in str(again)
    assert again.reason == "no such file (or a link to nothing)"
