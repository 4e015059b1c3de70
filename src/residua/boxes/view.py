"""How a picture with boxes becomes a tensor: scaled as a whole, normalised; boxes go along, and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from residua.boxes.dataset import BoxDataset
from residua.data.cache import Decoding
from residua.data.decode import Source
from residua.data.prepare import Preparation
from residua.data.view import SMALL_SIDE_PX, View, measure, resized
from residua.errors import UsageError
from residua.words import unknown

#: Sides of what a net sees are whole numbers of this many pixels: every map of a pyramid of 32 then fits the next.
WHOLE = 32
#: Short and long side of large pictures (torchvision, after Lin et al. 2017).
LARGE = (800, 1333)
#: The side of a photo as a square.
PHOTO_PX = 224
#: How a picture is scaled: as a whole, or to a square, its ratio given up.
FITS = ("scale", "squash")
#: No side of a view is larger.
MOST_PX = 16384


@dataclass(frozen=True)
class BoxView:
    """A picture is scaled, up or down, so that its short side has `short_px`, or less where its long side would have
    more than `long_px`; or, where `fit` is "squash", to a square of that side. Then it is normalised.

    Raises UsageError for numbers that make no view.
    """

    short_px: int
    long_px: int
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str = "scale"

    def __post_init__(self) -> None:
        """Check words and numbers: a view may come from a file."""
        if self.fit not in FITS:
            raise unknown("fit of a view of boxes", str(self.fit), FITS)
        sides = (self.short_px, self.long_px)
        if not all(type(n) is int for n in sides) or not WHOLE <= self.short_px <= self.long_px <= MOST_PX:
            raise UsageError(
                f"a view of boxes needs whole numbers {WHOLE} <= short_px <= long_px <= {MOST_PX}, got {sides}"
            )
        if self.fit == "squash" and self.short_px != self.long_px:
            raise UsageError(f"a square has equal sides, got {self.short_px} and {self.long_px}")
        _ = self.colours

    @property
    def colours(self) -> View:
        """The view of channels and numbers alone."""
        fit = "squash" if self.fit == "squash" else "pad"
        return View(self.short_px, fit, self.short_px, self.mode, self.mean, self.std)

    @property
    def channels(self) -> int:
        """1 or 3."""
        return self.colours.channels

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Height and width to which a picture of this height and width is scaled, rounded as torchvision does it."""
        if self.fit == "squash":
            return self.short_px, self.short_px
        short, long = min(height, width), max(height, width)
        if self.short_px * long <= self.long_px * short:
            new_short, new_long = self.short_px, int(self.short_px * long / short)
        else:
            new_short, new_long = max(1, int(self.long_px * short / long)), self.long_px
        return (new_short, new_long) if height <= width else (new_long, new_short)

    @property
    def preparation(self) -> Preparation:
        """What is done to a file first, and can be kept: scaled down to the short side, never up; a square at once."""
        return Preparation(self.colours, None if self.fit == "squash" else self.short_px)

    def picture(self, source: Source, size: tuple[int, int]) -> Tensor:
        """The scaled picture, uint8 (C, h, w), of a file, its bytes or a PIL image of this height and width.

        Raises BadPicture.
        """
        return self.fitted(self.preparation(source, self.mode), size)

    def file(self, path: str, size: tuple[int, int], cache: Decoding) -> Tensor:
        """As `picture`, of a file whose decoded picture may be kept. Raises BadPicture."""
        return self.fitted(cache.picture(path, self.mode, self.preparation), size)

    def fitted(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """A picture, uint8 (1 or 3, H, W), as the whole of this height and width is scaled: (C, h, w).

        The sides are those of `scaled`, also where what is kept of the picture was rounded otherwise.
        """
        image = self.colours.coloured(image)
        sides = self.scaled(*size)
        return image if tuple(image.shape[1:]) == sides else resized(self.colours, image, list(sides))

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (..., C, H, W) -> float32: (x / 255 - mean) / std."""
        return self.colours.normalise(pixels)

    def restore(self, images: Tensor) -> Tensor:
        """The inverse of `normalise`, rounded."""
        return self.colours.restore(images)

    def to_json(self) -> dict[str, Any]:
        """The view as plain words, numbers and lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "BoxView":
        """The view that `to_json` wrote. Raises UsageError for anything else."""
        known = [f.name for f in fields(BoxView)]
        if extra := sorted(data.keys() - set(known)):
            raise unknown("field of a view of boxes", extra[0], known)
        try:
            values: dict[str, Any] = {k: tuple(map(float, v)) if k in ("mean", "std") else v for k, v in data.items()}
            return BoxView(**values)
        except (TypeError, ValueError) as e:
            raise UsageError(f"not a view of boxes: {e}") from e


def scales(size: tuple[int, int], seen: tuple[int, int]) -> npt.NDArray[np.float64]:
    """What edges (left, top, right, bottom) are multiplied with from a picture of height and width `size` to `seen`."""
    y, x = seen[0] / size[0], seen[1] / size[1]
    return np.array([x, y, x, y])


def view_for(dataset: BoxDataset, *, short_px: int | None = None, long_px: int | None = None) -> BoxView:
    """The view that suits a data set.

    Small pictures keep their own median short side; photos get 800 by 1333 at most. On a machine without a GPU that
    takes minutes an epoch for a few hundred photos: `--image-size` says less. Mean and deviation are measured on train.
    """
    train = dataset.splits["train"]
    median = int(np.median(train.sizes.min(1)))
    short = short_px or min(median, LARGE[0])
    long = long_px or max(short, min(round(short * LARGE[1] / LARGE[0]), MOST_PX))
    mean, std = measure(train.images, 256)
    return BoxView(max(WHOLE, short), max(WHOLE, long), "L" if dataset.channels == 1 else "RGB", mean, std)


def square_view(dataset: BoxDataset, *, side_px: int | None = None) -> BoxView:
    """The view in which every picture is a square, so that a net that names one thing sees all of each alike.

    Small pictures keep their median short side, photos get 224 pixels; mean and deviation are measured on train.
    """
    train = dataset.splits["train"]
    median = int(np.median(train.sizes.min(1)))
    side = max(WHOLE, side_px or (median if median <= SMALL_SIDE_PX else PHOTO_PX))
    mean, std = measure(train.images, 256)
    return BoxView(side, side, "L" if dataset.channels == 1 else "RGB", mean, std, "squash")


def canvas(sides: list[tuple[int, int]]) -> tuple[int, int]:
    """Height and width, in whole `WHOLE`s, that pictures of these sides fit into."""
    height, width = (max(s[i] for s in sides) for i in (0, 1))
    return -(-height // WHOLE) * WHOLE, -(-width // WHOLE) * WHOLE


def laid(pictures: list[Tensor], colour: tuple[int, ...]) -> Tensor:
    """Pictures, uint8 (C, h, w), each in the upper left corner of one canvas: uint8 (N, C, H, W), else `colour`.

    In numpy, as `View.normalise`, and for its reason.
    """
    height, width = canvas([(p.shape[1], p.shape[2]) for p in pictures])
    out = np.empty((len(pictures), len(pictures[0]), height, width), np.uint8)
    out[:] = np.array(colour, np.uint8)[:, None, None]
    for i, p in enumerate(pictures):
        out[i, :, : p.shape[1], : p.shape[2]] = p.numpy()
    return torch.from_numpy(out)
