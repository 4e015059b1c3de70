import os
import pickle
import struct
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from acceptance import STORED, Acceptance, oriented, picture, png, save
from residua.data.decode import FORMATS, MAX_BYTES, MAX_PIXELS, BadPicture, Header, contents, decode, inspect
from residua.data.scan import look_at_all
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


def spider(image: Image.Image) -> bytes:
    """To memory: saving to a file, Pillow takes its extension for this kind's from then on."""
    out = BytesIO()
    image.convert("F").save(out, "SPIDER")
    return out.getvalue()


OTHER_KINDS = {
    "eps": lambda image, path: image.save(path, "EPS"),
    "icns": lambda image, path: image.resize((16, 16)).save(path, "ICNS"),
    "ico": lambda image, path: image.save(path, "ICO"),
    "pcx": lambda image, path: image.save(path, "PCX"),
    "sgi": lambda image, path: image.save(path, "SGI"),
    "tga": lambda image, path: image.save(path, "TGA"),
    "pdf": lambda image, path: image.save(path, "PDF"),
    "dds": lambda image, path: image.save(path, "DDS"),
    "spider": lambda image, path: path.write_bytes(spider(image)),
    "xbm": lambda image, path: image.convert("1").save(path, "XBM"),
    "fits": lambda image, path: path.write_bytes(b"SIMPLE  =                    T".ljust(80) * 36),
    "hdf5": lambda image, path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64)),
    "psd": lambda image, path: path.write_bytes(
        b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\7\0\0\0\5\0\x08\0\3" + bytes(999)
    ),
    "wmf": lambda image, path: path.write_bytes(b"\xd7\xcd\xc6\x9a\0\0" + bytes(99)),
    "fli": lambda image, path: path.write_bytes(bytes(4) + b"\x11\xaf" + bytes(200)),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_are_not_opened_whatever_they_are_called(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would try more than thirty readers, of which some start other programs or read fragments."""
    OTHER_KINDS[kind](Image.fromarray(picture(5, 7)), tmp_path / "x.jpg")
    monkeypatch.setattr("subprocess.Popen", lambda *a, **k: pytest.fail("a program was started"))
    with pytest.raises(DataError, match="not an image, or of a kind that is not read"):
        decode(tmp_path / "x.jpg")
    assert isinstance(inspect([str(tmp_path / "x.jpg")])[0], BadPicture)
    assert 0 in look_at_all([str(tmp_path / "x.jpg")], 0, 1).reasons


def test_no_reader_but_those_of_the_list_sees_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where a file is looked at again, for its facts."""
    save(tmp_path / "x.png", picture())
    asked: list[object] = []
    whole = Image.open

    def opened(*words: object, **options: object) -> object:
        asked.append(options.get("formats"))
        return whole(*words, **options)

    monkeypatch.setattr(Image, "open", opened)
    assert not look_at_all([str(tmp_path / "x.png")], 0, 1).reasons
    assert len(asked) == 2 and all(formats == FORMATS for formats in asked)


def chunked(*chunks: tuple[bytes, bytes]) -> bytes:
    """A sound small PNG with more chunks behind its header."""
    out = BytesIO()
    Image.fromarray(picture()).save(out, "png")
    parts = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return out.getvalue()[:33] + parts + out.getvalue()[33:]


@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"words\0\0" + zlib.compress(bytes(10**8))),
        (b"iTXt", b"words\0\1\0\0\0" + zlib.compress(bytes(10**8))),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(10**8))),
    ],
    ids=lambda chunk: chunk[0].decode(),
)
def test_a_bomb_beside_the_pixels_takes_no_memory(chunk: tuple[bytes, bytes]) -> None:
    tracemalloc.start()
    try:
        with suppress(BadPicture):
            decode(chunked(chunk))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "BMP", "JPEG2000", "PPM"])
def test_a_small_file_of_huge_sides_is_refused_before_its_pixels_are_made(kind: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(HUGE[kind])
    with pytest.raises(DataError, match=r"pixels \(a decompression bomb\?\)|damaged|truncated|not an image"):
        decode(tmp_path / "x")


def ppm(side: int) -> bytes:
    return b"P6 %d %d 255\n" % (side, side) + bytes(64)


HUGE = {
    "GIF": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0;",
    "TIFF": struct.pack("<2sHIH", b"II", 42, 8, 3)
    + struct.pack("<HHIIHHIIHHII", 256, 4, 1, 60_000, 257, 4, 1, 60_000, 258, 3, 1, 8)
    + bytes(99),
    "WEBP": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0\xff\x3f\0" + bytes(32),
    "BMP": b"BM" + struct.pack("<IIIIiiHHIIIIII", 200, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(99),
    "JPEG2000": b"\xff\x4f\xff\x51"
    + struct.pack(">HHIIIIIIIIH", 41, 0, *[60_000] * 2, 0, 0, *[60_000] * 2, 0, 0, 1)
    + b"\7\1\1",
    "PPM": ppm(60_000),
}  # fmt: skip


def test_a_jpeg_of_endless_passes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass is two hundred bytes and goes over all pixels: a file of a megabyte takes minutes."""
    out = BytesIO()
    Image.new("L", (3000, 3000), 7).save(out, "jpeg", progressive=True)
    whole = out.getvalue()
    one = whole[whole.rindex(b"\xff\xda") : -2]
    monkeypatch.setattr("residua.data.decode.MAX_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(BadPicture, match=r"not read within 0\.5 seconds"):
        decode(whole[:-2] + one * 100_000 + b"\xff\xd9")
    assert time.monotonic() - began < 30


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "x.tif", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    for read in (decode, contents):
        with pytest.raises(BadPicture, match=r"1,074,790,401 bytes, more than 1,074,790,400"):
            read(str(tmp_path / "x.tif"))


def test_a_large_picture_in_strips_is_the_picture_in_one_piece(
    acceptance: Acceptance, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(acceptance.good)
    whole = [decode(acceptance.root / name, mode) for name in names for mode in ("RGB", "L")]
    monkeypatch.setattr("residua.data.decode.STRIP", 50)
    strips = [decode(acceptance.root / name, mode) for name in names for mode in ("RGB", "L")]
    assert all(map(torch.equal, whole, strips))
