"""Maps back on the photo: at its own size, at the right place, and with the photo still to be seen."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from residua.data.decode import as_image
from residua.data.view import View

#: The colours from weak to strong: matplotlib's inferno (perceptually uniform, CC0) at 0.25, 0.4, ... 1 of its length.
HEAT = ((87, 16, 110), (147, 38, 103), (204, 66, 72), (243, 119, 25), (251, 179, 26), (252, 255, 164))
#: Colour over photo at the strongest place; what the view does not see keeps this much of its light.
MOST_OPAQUE, DIMMED = 0.62, 0.4
#: The strength that colour begins at, and how much of its light follows the photo's.
FROM, RELIEF = 0.08, 0.5
#: The grey that dimming goes to, the colour of the frame, and how much colour cold places lose.
DIM_TO, FRAME, PALE = 70.0, (255, 255, 255), 0.55
#: Photos up to this side keep their hard pixels when they are drawn larger.
TINY_PX = 48

Box = tuple[float, float, float, float]  # left, top, right, bottom
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cover:
    """`photo`: the part of a photo that a view sees; `square`: where on the view's square it lies. Both in pixels."""

    photo: Box
    square: Box

    def on(self, width: int, height: int, times: tuple[float, float]) -> tuple[Box, Box]:
        """The whole pixels of the photo, drawn `times` as large (across, down), that are seen; and their place on the
        square."""
        x, y = times
        left, top, right, bottom = (v * t for v, t in zip(self.photo, (x, y, x, y), strict=True))
        left, top = min(max(0, round(left)), width - 1), min(max(0, round(top)), height - 1)
        right, bottom = min(max(left + 1, round(right)), width), min(max(top + 1, round(bottom)), height)
        x0, y0, x1, y1 = self.square
        places = (
            max(x0, self._place(left / x, 0)), max(y0, self._place(top / y, 1)),
            min(x1, self._place(right / x, 0)), min(y1, self._place(bottom / y, 1)),
        )  # fmt: skip
        return (left, top, right, bottom), places

    def _place(self, on_photo: float, axis: int) -> float:
        p0, p1, s0, s1 = (box[i] for box in (self.photo, self.square) for i in (axis, axis + 2))
        return s0 + (on_photo - p0) / (p1 - p0) * (s1 - s0)


def cover(view: View, height: int, width: int) -> Cover:
    """What a view sees of a photo of this size, and where on its square. The rest of the square, if any, is filled."""
    side = view.side_px
    whole, square = (0, 0, width, height), (0, 0, side, side)
    if view.fit == "squash" or height == width == side == view.resize_px:
        return Cover(whole, square)
    if view.fit == "pad":
        scale = side / max(height, width)
        h, w = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (side - h) // 2, (side - w) // 2
        return Cover(whole, (left, top, left + w, top + h))
    short = min(height, width)
    spans = []
    for n in (width, height):
        kept = min(n, 4 * short)  # of a strip only the middle is scaled (`data.view.cropped`)
        scaled = int(view.resize_px * kept / short)
        first, zoom = round((n - kept) / 2), kept / scaled
        start = round((scaled - side) / 2)
        spans.append((first + start * zoom, first + (start + side) * zoom))
    return Cover((spans[0][0], spans[1][0], spans[0][1], spans[1][1]), square)


def painted(photo: Tensor, heat: Tensor, view: View, size: tuple[int, int] | None = None) -> Image.Image:
    """The photo, uint8 (1 or 3, H, W), with a map (S, S) in [0, 1] laid over what `view` sees of it.

    The stronger the map, the more colour; nowhere so much that the photo is hidden. What the view does not see is grey
    and dim behind a thin frame. At the photo's own size, or drawn as (width, height).
    """
    height, width = photo.shape[1:]
    size = size or (width, height)
    pixels = np.asarray(drawn(photo, size).convert("RGB"), dtype=np.float32)
    seen, place = cover(view, height, width).on(*size, (size[0] / width, size[1] / height))
    left, top, right, bottom = map(int, seen)
    image = Image.fromarray(heat.cpu().numpy().astype(np.float32))
    strength = np.asarray(image.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=place))
    grey = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    out = np.repeat(DIMMED * grey + (1 - DIMMED) * DIM_TO, 3, axis=2)
    out[top:bottom, left:right] = _heated(pixels[top:bottom, left:right], grey[top:bottom, left:right], strength)
    if (right - left, bottom - top) != size:
        _frame(out, left, top, right, bottom)
    return Image.fromarray(out.round().clip(0, 255).astype(np.uint8))


def drawn(photo: Tensor, size: tuple[int, int]) -> Image.Image:
    """The photo, uint8 (1 or 3, H, W), as a picture of this (width, height); tiny ones keep their hard pixels."""
    image = as_image(photo.cpu())
    if image.size == size:
        return image
    coarse = max(image.size) <= TINY_PX and size[0] > image.width
    return image.resize(size, Image.Resampling.NEAREST if coarse else Image.Resampling.LANCZOS)


def small(photo: Tensor, heat: Tensor, view: View, least_px: int, most_px: int) -> tuple[Image.Image, Image.Image]:
    """The photo and the photo under its heat, drawn at one small size (`within`).

    Of a strip that is cropped, the middle, four times as long as it is high: as a whole it would be a hair.
    """
    height, width = photo.shape[1:]
    short = min(height, width)
    if view.fit == "crop" and max(height, width) > 4 * short < 4 * view.resize_px:  # as `data.view.cropped` does
        top, left = (round((n - min(n, 4 * short)) / 2) for n in (height, width))
        photo = photo[:, top : top + 4 * short, left : left + 4 * short]
    size = within(photo, least_px, most_px)
    return drawn(photo, size), painted(photo, heat, view, size)


def within(photo: Tensor, least_px: int, most_px: int) -> tuple[int, int]:
    """(width, height) to draw a photo at, its long side within these bounds; enlarged by whole numbers only."""
    height, width = photo.shape[1:]
    long = max(height, width)
    times = max(1, least_px // long) if long < least_px else min(1.0, most_px / long)
    return max(1, round(width * times)), max(1, round(height * times))


# -- colours --------------------------------------------------------------------------------------------------------


def _heated(pixels: Pixels, grey: Pixels, strength: Pixels) -> Pixels:
    """Photo (H, W, 3) under heat (H, W): paler where it is cold, so that no colour of its own is taken for heat.

    The colour of the heat is lit by the photo: its edges and its texture stay in sight also where it is hottest.
    """
    base = PALE * grey + (1 - PALE) * pixels
    opaque = MOST_OPAQUE * np.clip((strength - FROM) / (0.5 - FROM), 0, 1)[..., None]
    lit = 1 - RELIEF + 2 * RELIEF * grey / 255
    heated: Pixels = base * (1 - opaque) + _colours(strength) * lit * opaque
    return heated


def _colours(strength: Pixels) -> Pixels:
    """(H, W) in [0, 1] -> (H, W, 3), 0 to 255."""
    places, table = np.linspace(0, 1, len(HEAT)), np.array(HEAT, np.float32)
    return np.stack([np.interp(strength, places, table[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def _frame(out: Pixels, left: int, top: int, right: int, bottom: int) -> None:
    """A line around the box, in place, as wide as suits the picture."""
    line = max(1, round(max(out.shape[:2]) / 400))
    top_, left_ = max(0, top), max(0, left)
    for rows, columns in (
        (slice(top_, top_ + line), slice(left_, right)),
        (slice(max(0, bottom - line), bottom), slice(left_, right)),
        (slice(top_, bottom), slice(left_, left_ + line)),
        (slice(top_, bottom), slice(max(0, right - line), right)),
    ):
        out[rows, columns] = FRAME
