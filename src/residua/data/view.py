"""The view: how a picture becomes a tensor, the same in training's evaluation, in `eval` and in `predict`."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from residua.data.dataset import ArrayImages, Dataset, FileImages, Images
from residua.data.decode import BadPicture, Size, reduced
from residua.data.names import KNOWN
from residua.errors import DataError, UsageError
from residua.words import unknown

FITS = ("crop", "pad", "squash")
MODES = {"L": 1, "RGB": 3}
INTERPOLATIONS = ("bilinear", "bicubic")

#: Short side before a 224-pixel crop: what ImageNet nets are evaluated at (He 2015 and torchvision).
RESIZE_FOR_224 = 256

#: A JPEG is decoded with at least so many times the pixels a side that the view needs of it: what it shows then differs
#: by 0.3 of 255 steps on average from what it shows of the whole (0.7 with just the pixels it needs; docs/log.md).
ROOM = 2

#: So many numbers are normalised at a time: they stay in the processor's cache between the operations.
CACHED = 2**17

#: The colours of photos are measured at this short side at least.
MEASURED_PX = 256

#: Sets of pictures this small keep their own side, and are kept in memory.
SMALL_SIDE_PX = 96


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, of pixels in [0, 1], and where they are from."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str


STATISTICS: dict[str, Statistics] = {
    "digits": Statistics((0.30547027,), (0.37589902,), "the 1,437 pictures that are not the test, as 8 bits"),
    "cifar10": Statistics(
        (0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784), "its 50,000 training pictures"
    ),
    "cifar100": Statistics(
        (0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047), "its 50,000 training pictures"
    ),
    "mnist": Statistics((0.13066048,), (0.30810781,), "its 60,000 training pictures"),
    "fashion_mnist": Statistics((0.28604060,), (0.35302424,), "its 60,000 training pictures"),
    "svhn": Statistics(
        (0.4376821, 0.4437697, 0.47280442), (0.19803012, 0.20101562, 0.19703614), "its 73,257 training pictures"
    ),
    "stl10": Statistics(
        (0.44671062, 0.43980984, 0.40664645),
        (0.26034098, 0.25657727, 0.27126738),
        "its 5,000 labelled training pictures",
    ),
    "imagenet": Statistics(
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "what torchvision's and timm's weights were trained with"
    ),
}


@dataclass(frozen=True)
class View:
    """How a picture becomes a tensor: fitted into a square of `side_px`, then normalised.

    `fit`: "crop" scales the short side to `resize_px` and takes the middle; "pad" scales the long side to `side_px` and
    fills up with the mean colour; "squash" gives up the aspect. `mode`: "RGB" or "L" (grey).
    Raises UsageError for numbers that make no view.
    """

    side_px: int
    fit: str
    resize_px: int
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        """Check words and numbers: a view may come from a file."""
        for field, known in (("fit", FITS), ("mode", MODES), ("interpolation", INTERPOLATIONS)):
            if getattr(self, field) not in known:
                raise unknown(f"{field} of a view", str(getattr(self, field)), known)
        sides = (self.side_px, self.resize_px)
        if not all(type(n) is int for n in sides) or not 1 <= self.side_px <= self.resize_px <= 16384:
            raise UsageError(f"a view needs whole numbers 1 <= side_px <= resize_px, got {sides[0]} and {sides[1]}")
        if not len(self.mean) == len(self.std) == self.channels:
            raise UsageError(f"a view of mode {self.mode} needs {self.channels} means and deviations")
        if not all(isfinite(v) for v in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise UsageError(f"a view needs finite means and positive deviations, got {self.mean} and {self.std}")

    @property
    def channels(self) -> int:
        """1 or 3."""
        return MODES[self.mode]

    @property
    def least_px(self) -> int:
        """The short side that a picture is decoded with at least: ``tensor(*reduced(file, mode, view.least_px))``.

        Whoever shows a file to a net does it so; then its tensor is the same bit for bit everywhere.
        """
        return ROOM * (self.resize_px if self.fit == "crop" else self.side_px)

    @property
    def mean_colour(self) -> tuple[int, ...]:
        """The mean as pixel values 0 to 255."""
        return tuple(round(255 * min(max(m, 0), 1)) for m in self.mean)

    def fits(self, images: Tensor) -> bool:
        """Whether pictures (..., C, H, W) are already as `picture` would make them."""
        return images.shape[-3:] == (self.channels, self.side_px, self.side_px) and (
            self.fit != "crop" or self.resize_px == self.side_px
        )

    def picture(self, image: Tensor, size: Size | None = None) -> Tensor:
        """uint8 (C, H, W) of any size and 1 or 3 channels -> uint8 (channels, side_px, side_px).

        `size` is the picture's height and width where they are not H and W: see `decode.Reduced`.
        """
        image = self.coloured(image)
        return image if self.fits(image) else FIT[self.fit](self, image, size or whole(image))

    def tensor(self, image: Tensor, size: Size | None = None) -> Tensor:
        """uint8 (C, H, W) of any size -> float32 (channels, side_px, side_px), normalised."""
        return self.normalise(self.picture(image, size))

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (..., C, H, W) -> float32: (x / 255 - mean) / std, bit-equal however many pictures there are.

        In numpy, which stays on the calling thread: batches are made beside training, whose threads are all busy, and
        a second team of OpenMP's threads would slow theirs down (docs/log.md).
        """
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        pixels = images.numpy()
        out = np.empty(pixels.shape, np.float32)
        whole, parts = out.reshape(-1, *pixels.shape[-3:]), pixels.reshape(-1, *pixels.shape[-3:])
        some = max(1, CACHED // max(1, whole[:1].size))
        for i in range(0, len(whole), some):
            x = whole[i : i + some]
            np.divide(parts[i : i + some], np.float32(255), out=x, dtype=np.float32)
            x -= mean
            x /= std
        return torch.from_numpy(out)

    def restore(self, images: Tensor) -> Tensor:
        """The inverse of `normalise`, rounded: float32 (..., C, H, W) -> uint8."""
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.mean, self.std))
        return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def coloured(self, image: Tensor) -> Tensor:
        """The picture with the channels of the mode, by Pillow's own weights."""
        have = len(image)
        if have == self.channels:
            return image
        if have == 1:
            return image.expand(3, -1, -1)
        if have != 3:
            raise DataError(f"a picture has 1 or 3 channels, got {have}")
        weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32)[:, None, None]
        grey = ((image * weights).sum(0, keepdim=True) + 0x8000) >> 16
        return grey.to(torch.uint8)

    def to_json(self) -> dict[str, Any]:
        """The view as plain words, numbers and lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "View":
        """The view that `to_json` wrote. Raises UsageError for anything else."""
        known = [f.name for f in fields(View)]
        if extra := sorted(data.keys() - set(known)):
            raise unknown("field of a view", extra[0], known)
        try:
            values: dict[str, Any] = {k: tuple(map(float, v)) if k in ("mean", "std") else v for k, v in data.items()}
            return View(**values)
        except (TypeError, ValueError) as e:
            raise UsageError(f"not a view: {e}") from e


def whole(image: Tensor) -> Size:
    """The size of a picture that fills its pixels."""
    return image.shape[-2], image.shape[-1]


def cropped(view: View, image: Tensor, size: Size) -> Tensor:
    """The short side scaled to `resize_px`, the middle taken: torchvision's Resize and CenterCrop."""
    from torchvision.transforms.v2 import functional as tv

    short, long = sorted(image.shape[1:])
    if long > 4 * short < 4 * view.resize_px:  # scaled up as a whole, a strip of 8000 x 20 would fill the memory
        image = tv.center_crop(image, [min(n, 4 * short) for n in image.shape[1:]])
        size = whole(image)
    out: Tensor = tv.center_crop(resized(view, image, [view.resize_px], size), [view.side_px])
    return out


def padded(view: View, image: Tensor, size: Size) -> Tensor:
    """The long side scaled to `side_px`, the rest filled with the mean colour; in numpy, as `normalise`."""
    scale = view.side_px / max(size)
    small = resized(view, image, [max(1, round(n * scale)) for n in size], size)
    out = np.empty((view.channels, view.side_px, view.side_px), np.uint8)
    out[:] = np.array(view.mean_colour, np.uint8)[:, None, None]
    top, left = ((view.side_px - n) // 2 for n in small.shape[1:])
    out[:, top : top + small.shape[1], left : left + small.shape[2]] = small.numpy()
    return torch.from_numpy(out)


def squashed(view: View, image: Tensor, size: Size) -> Tensor:
    """Both sides scaled to `side_px`."""
    return resized(view, image, [view.side_px, view.side_px], size)


def resized(view: View, image: Tensor, sides: list[int], size: Size | None = None) -> Tensor:
    """uint8 (C, H, W) scaled, antialiased, as Pillow does it: to (h, w), or to a short side.

    Of a picture whose `size` is less than its pixels, that part is scaled: Pillow's resize with a box.
    """
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    if size is None or size == whole(image):
        out: Tensor = tv.resize(image, sides, InterpolationMode(view.interpolation), antialias=True)
        return out
    if len(sides) == 1:  # the long side as torchvision rounds it
        sides = [sides[0] if n == min(size) else int(sides[0] * n / min(size)) for n in size]
    scales = [side / n * (1 + 1e-9) for side, n in zip(sides, size, strict=True)]  # so that no side is rounded down
    return functional.interpolate(
        image[None], scale_factor=scales, mode=view.interpolation, antialias=True, recompute_scale_factor=False
    )[0]


FIT = {"crop": cropped, "pad": padded, "squash": squashed}


def measure(images: Images, limit: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, pixels in [0, 1], over up to `limit` pictures spread evenly.

    Each picture counts the same, whatever its size; large JPEGs are decoded at a reduced scale. A channel that never
    varies gets the deviation 1. Files that cannot be decoded are left out. Raises DataError if that leaves none.
    """
    shares = []  # of the 256 values, (C, 256) a picture
    for i in np.unique(np.linspace(0, len(images) - 1, min(limit, len(images)), dtype=np.int64)):
        with suppress(BadPicture):
            if isinstance(images, FileImages):
                image = reduced(images.paths[int(i)], images.mode, MEASURED_PX).pixels
            else:
                image = images[int(i)]
            planes = image.flatten(1).numpy()
            shares.append([np.bincount(plane, minlength=256) / plane.size for plane in planes])
    if not shares:
        raise DataError("none of the pictures to measure can be decoded")
    share = np.mean(shares, axis=0)
    values = np.arange(256) / 255
    mean = share @ values
    std = np.sqrt(np.maximum(share @ values**2 - mean**2, 0))
    std[std < 1e-4] = 1
    return tuple(map(float, mean)), tuple(map(float, std))


def view_for(dataset: Dataset, *, image_size: int | None = None, fit: str = "crop") -> View:
    """The view that suits a data set.

    Small pictures keep their side (mixed ones: their median short side) and all their pixels; photos become 224 pixels
    after a short side of 256, other sizes in proportion. Mean and deviation are the known set's or measured on train.
    """
    small = dataset.side_px <= SMALL_SIDE_PX
    side = image_size if image_size is not None else dataset.side_px if small else 224
    if dataset.name in KNOWN:
        mean, std = STATISTICS[dataset.name].mean, STATISTICS[dataset.name].std
    else:
        images = dataset.splits["train"].images
        mean, std = measure(images, 5000 if isinstance(images, ArrayImages) else 256)
    return View(
        side_px=side,
        fit=fit,
        resize_px=side if small or fit != "crop" else round(side * RESIZE_FOR_224 / 224),
        mode="L" if dataset.channels == 1 else "RGB",
        mean=mean,
        std=std,
    )
