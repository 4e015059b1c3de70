"""Bytes to an upright picture, by one policy; and a cheap look at many files before any of them is used.

The policy: EXIF orientation is applied; transparency is laid over white; 16 bits are scaled to 8; CMYK and palettes
become RGB; of an animation the first frame is taken; colour profiles are ignored. A file that is cut off, is no
picture or is too large is refused with the reason. No file is ever written. A JPEG much larger than what is needed of
it can be `reduced`: decoded at a half, a quarter or an eighth of its size, which its cosines give for less than all.
"""

import io
import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from residua.data.names import shown
from residua.errors import DataError
from residua.files import opened

#: Larger pictures are refused: Pillow's own limit for errors (twice its MAX_IMAGE_PIXELS), half a gigabyte as RGB.
MAX_PIXELS = 178_956_970

#: Larger files are refused: six bytes for each of these pixels, as 16 bits of three colours take, and what is beside.
MAX_BYTES = 2**30 + 2**20

#: So many pixels are converted at a time.
STRIP = 2**24

#: Reading one file ends after so many seconds: small ones (a JPEG of ten thousand passes) can keep a decoder for hours.
#: It is looked at when the decoder asks for more bytes: what one such piece keeps it busy with comes on top.
MAX_SECONDS = 60.0

#: Of a JPEG in passes, the decoder gets so many bytes at a time: a pass over a large picture takes two hundred.
PASSES_BYTES = 2**12

#: What is opened at all. Pillow would also start other programs for some formats (EPS) or read none but fragments.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000")

#: Endings of file names that are looked at, in any case.
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".avif", ".tif", ".tiff"),
    *(".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2"),
)

#: The EXIF tag that says how a picture is turned.
ORIENTATION = 0x0112

#: How a complete file of a format ends; a file that does not is decoded to find out.
ENDINGS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")


class BadPicture(DataError):
    """A file that cannot be used, as ``BadPicture(where, reason)``."""

    @property
    def reason(self) -> str:
        """Why, in a few words."""
        return str(self.args[1])

    def __str__(self) -> str:
        """One line: where and why."""
        return f"{shown(str(self.args[0]))}: {self.reason}"


class Stored(ABC):
    """The bytes of a picture that are no file of their own: those of a member of an archive, say.

    As text it says where they are.
    """

    @abstractmethod
    def read(self) -> bytes:
        """The bytes. Raises DataError."""

    @abstractmethod
    def identity(self) -> tuple[bytes, bool]:
        """What tells these bytes from any others, without reading them, and whether it can be relied on."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself: stored size in pixels, whether it is grey, its length in bytes."""

    width: int
    height: int
    grey: bool
    bytes: int


Place = str | Stored  # where the bytes of a picture are
Source = str | Path | Stored | bytes | Image.Image
Size = tuple[float, float]  # height, width


class Reduced(NamedTuple):
    """uint8 (C, H, W), and the height and width of the whole picture in these pixels.

    `size` is (H, W), or up to a pixel less: at half the scale a picture 1301 pixels wide fills 650.5 of its 651.
    """

    pixels: Tensor
    size: Size


def decode(source: Source, mode: str = "RGB") -> Tensor:
    """The picture of a file, its bytes or a PIL image (left as it is), upright: uint8 (3, H, W), or (1, H, W) for "L".

    The numbers of a pixel lie side by side in memory: scaling is fastest in that order. Raises BadPicture, a DataError.
    """
    return reduced(source, mode, None).pixels


def reduced(source: Source, mode: str, least_px: int | None) -> Reduced:
    """As `decode`; a JPEG at the smallest scale (1, 1/2, 1/4, 1/8) that leaves its short side `least_px` at least.

    What is no JPEG, and a PIL image, which has its pixels already, keep all of them, as everything does with None.
    """
    with warnings.catch_warnings(action="ignore"):
        try:
            if isinstance(source, Image.Image):
                return _planes(_upright(source.copy(), mode))
            with _source(source) as file:
                image = _open(file)
                size = None if least_px is None else _reduce(image, least_px)
                return _planes(_upright(image, mode), size)
        except Exception as e:  # a damaged file may raise anything at all, from IndexError to zlib.error
            raise _bad(source, e) from e


def as_image(pixels: Tensor) -> Image.Image:
    """uint8 (1 or 3, H, W) as a picture for people: the way back from `decode`."""
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def contents(place: Place) -> bytes:
    """The bytes of a picture. Raises BadPicture."""
    try:
        with _file(place) as file:
            return file.read()
    except Exception as e:
        raise _bad(place, e) from e


def inspect(paths: Sequence[Place]) -> list[Header | BadPicture]:
    """What each file says of itself, or why it cannot be used; pixels are decoded only where the file looks cut off."""
    found: list[Header | BadPicture] = []
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(8) as pool:
        try:
            for i in range(0, len(paths), 4096):  # a million pending files would fill the memory
                some = paths[i : i + 4096]
                each = max(1, min(64, len(some) // 32))  # handing over a single file takes as long as opening it
                for part in pool.map(_inspect_all, [some[j : j + each] for j in range(0, len(some), each)]):
                    found += part
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


def orientation(path: str) -> int:
    """How a file's picture is turned (EXIF): 1 is upright, as it is where it cannot tell; from 5 on on its side."""
    with suppress(Exception), _file(path) as file, warnings.catch_warnings(action="ignore"):
        return _orientation(_open(file))
    return 1


def size_of(source: Source) -> tuple[int, int]:
    """Height and width of the upright picture of a file, its bytes or a PIL image. Raises BadPicture."""
    with warnings.catch_warnings(action="ignore"):
        try:
            if isinstance(source, Image.Image):
                return _sides(source)
            with _source(source) as file:
                return _sides(_open(file))
        except Exception as e:
            raise _bad(source, e) from e


def _sides(image: Image.Image) -> tuple[int, int]:
    return image.size if _orientation(image) >= 5 else image.size[::-1]


def _inspect_all(paths: Sequence[Place]) -> list[Header | BadPicture]:
    return [_inspect(path) for path in paths]


def _inspect(path: Place) -> Header | BadPicture:
    try:
        with _file(path) as file:
            image = _open(file)
            length = file.seek(0, os.SEEK_END)
            header = Header(*image.size, grey=image.mode in GREY_MODES, bytes=length)
            if not _ends_well(file, image.format or "", length):
                _upright(_open(file), "RGB")
    except Exception as e:
        return _bad(path, e)
    return header


def _planes(array: npt.NDArray[np.uint8], size: Size | None = None) -> Reduced:
    """uint8 (H, W, C) as (C, H, W), nothing copied, with its own size unless another is given."""
    return Reduced(torch.from_numpy(array).permute(2, 0, 1), size or array.shape[:2])


def _reduce(image: Image.Image, least_px: int) -> Size | None:
    """Have a JPEG decoded at a reduced scale; the size of the picture, where that is less than the pixels it will get.

    Rows and columns then end with pixels that lie partly outside. Were such a picture turned, they would begin with
    them, which scaling has no notion of: that picture is decoded as a whole.
    """
    width, height = image.size
    scale = next(s for s in (8, 4, 2, 1) if s == 1 or min(width, height) // s >= least_px)
    whole = width % scale == height % scale == 0
    if not whole and _orientation(image) != 1:
        return None
    image.draft(None, (least_px, least_px))  # does nothing for what is no JPEG
    return None if whole or image.size == (width, height) else (height / scale, width / scale)


def _orientation(image: Image.Image) -> int:
    """How a picture is turned: 1 is upright, from 5 on its sides change places."""
    with suppress(Exception):  # damaged EXIF: the picture itself may be sound
        return int(image.getexif().get(ORIENTATION, 1))
    return 1


class _Timed:
    """A file that gives nothing more after MAX_SECONDS; in everything else the file itself."""

    def __init__(self, file: IO[bytes]) -> None:
        """Begin to count."""
        self.file, self.ends = file, time.monotonic() + MAX_SECONDS

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises TimeoutError."""
        if time.monotonic() > self.ends:
            raise TimeoutError(f"not read within {MAX_SECONDS:g} seconds")
        return self.file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> "_Timed":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


def _source(source: str | Path | Stored | bytes) -> IO[bytes]:
    """A file or the bytes of one, for a limited time."""
    return cast(IO[bytes], _Timed(io.BytesIO(source))) if isinstance(source, bytes) else _file(source)


def _file(path: str | Path | Stored) -> IO[bytes]:
    """The file, open for a limited time. Raises OSError, also for a pipe or device, and ValueError for a large file."""
    if isinstance(path, Stored):
        return cast(IO[bytes], _Timed(io.BytesIO(path.read())))
    file = opened(path)
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        file.close()
        raise ValueError(f"{size:,} bytes, more than {MAX_BYTES:,}")
    return cast(IO[bytes], _Timed(file))


def _open(file: IO[bytes]) -> Image.Image:
    """The picture with its header read."""
    file.seek(0)
    if not file.read(1):
        raise ValueError("an empty file (0 bytes)")
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    if image.info.get("progressive"):
        image.decodermaxblock = PASSES_BYTES
    return image


def _ends_well(file: IO[bytes], kind: str, length: int) -> bool:
    """Whether the file ends as its format demands; trailing padding is common and harmless."""
    if kind == "WEBP":
        file.seek(4)
        return int.from_bytes(file.read(4), "little") + 8 <= length
    file.seek(max(0, length - 4096))
    return kind in ENDINGS and file.read().rstrip(b"\0\r\n ").endswith(ENDINGS[kind])


def _upright(image: Image.Image, mode: str) -> npt.NDArray[np.uint8]:
    """The pixels as uint8 (H, W, C), writable.

    They are converted in strips: of a picture at the limit, a copy in each mode on the way would take gigabytes.
    """
    image.load()
    with suppress(Exception):  # damaged EXIF: the picture itself may be sound
        ImageOps.exif_transpose(image, in_place=True)
    if image.width * image.height <= STRIP:
        return _converted(image, mode)
    pixels = np.empty((image.height, image.width, 1 if mode == "L" else 3), np.uint8)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = _converted(image.crop((0, top, image.width, bottom)), mode)
    return pixels


def _converted(image: Image.Image, mode: str) -> npt.NDArray[np.uint8]:
    """The pixels in a mode, over white, as uint8 (H, W, C), writable."""
    if image.mode in GREY_MODES and image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.mode == "F":
        raise ValueError("pixels are 32-bit fractions, which have no agreed range: convert it to 8 or 16 bits")
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    pixels = np.array(image if image.mode == mode else image.convert(mode))
    return pixels.reshape(image.height, image.width, -1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey picture with 65,535 scaled to 255; Pillow's own conversion would clip or saturate."""
    wide = np.asarray(image).astype(np.int64)
    if wide.min() < 0 or wide.max() > 0xFFFF:
        raise ValueError("pixels are 32-bit numbers, which have no agreed range: convert it to 8 or 16 bits")
    return Image.fromarray(((wide * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8))


def _bad(source: Source, error: Exception) -> BadPicture:
    """The error that names a picture and why it cannot be used; one that comes from further down has said it.

    Raises DataError where it is not the picture's fault: a shard that cannot be read is none of its pictures'.
    """
    if isinstance(error, DataError):
        if not isinstance(error, BadPicture):
            raise error
        return error
    return BadPicture(str(source) if isinstance(source, str | Path | Stored) else "image", _reason(error))


def _reason(error: Exception) -> str:
    """Why a file is refused, in a few words on one line."""
    first = (str(error).splitlines() or [""])[0]
    match error:
        case UnidentifiedImageError():
            return "not an image, or of a kind that is not read"
        case Image.DecompressionBombError():
            return f"more than {MAX_PIXELS:,} pixels (a decompression bomb?)"
        case FileNotFoundError():
            return "no such file (or a link to nothing)"
        case PermissionError():
            return "no permission to read it"
        case OSError() if error.strerror:
            return error.strerror.lower()
        case OSError() | ValueError() if first:
            return first
        case _:
            return f"damaged: {type(error).__name__} {first}".rstrip()
