"""Augmentations that keep boxes: one geometry for a picture and for its boxes, keyed by (seed, what, epoch, sample)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residua import seeds
from residua.boxes.dataset import Target
from residua.boxes.view import BoxView
from residua.data.augment import color
from residua.data.names import Words

#: Of a box at least this share must be left within the picture; the area of one that is scaled counts as it then is.
LEFT = 0.3

Sides = tuple[int, int]  # height and width


@dataclass(frozen=True)
class Geometry:
    """Where a picture of `sides` goes: scaled to `zoomed`, moved by (top, left) within the same sides, mirrored."""

    sides: Sides
    zoomed: Sides
    top: int
    left: int
    flip: bool
    upside_down: bool

    def __call__(self, x: Any, fill: tuple[int, ...]) -> Any:
        """A picture, uint8 (C, h, w), or its boxes (torchvision's), so moved; what comes in has the colour `fill`."""
        from torchvision.transforms.v2 import functional as tv

        if self.zoomed != self.sides:
            x = tv.resize(x, list(self.zoomed), antialias=True)
            top, left = self.top, self.left
            after = [max(0, s - z - o) for s, z, o in zip(self.sides, self.zoomed, (top, left), strict=True)]
            if max(top, left, *after) > 0:
                x = tv.pad(x, [max(0, left), max(0, top), after[1], after[0]], fill=list(map(float, fill)))
            x = tv.crop(x, max(0, -top), max(0, -left), *self.sides)
        if self.flip:
            x = tv.horizontal_flip(x)
        if self.upside_down:
            x = tv.vertical_flip(x)
        return x


@dataclass(frozen=True, eq=False)
class BoxAugment:
    """What is done to pictures and their boxes before the net sees them: `words` as `check_words` returns them."""

    view: BoxView
    words: Words = field(default_factory=dict)

    def geometry(self, sides: Sides, seed: int, epoch: int, sample: int) -> Geometry:
        """Where a sample's picture, scaled to `sides` by the view, goes in an epoch."""
        zoomed, top, left = sides, 0, 0
        if "scale" in self.words:
            low, high = self.words["scale"]
            rng = seeds.generator(seed, "scale", epoch, sample)
            scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            zoomed = max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))
            top, left = (
                int(rng.integers(min(0, s - z), max(0, s - z) + 1)) for s, z in zip(sides, zoomed, strict=True)
            )
        odd = {
            what: what in self.words and seeds.uniform([sample], seed, what, epoch)[0] < 0.5
            for what in ("flip", "vertical-flip")
        }
        return Geometry(sides, zoomed, top, left, bool(odd["flip"]), bool(odd["vertical-flip"]))

    def picture(self, picture: Tensor, seed: int, epoch: int, sample: int) -> Tensor:
        """A sample's scaled picture, uint8 (C, h, w), augmented: of the same sides."""
        colours = self.view.colours
        moved: Tensor = self.geometry((picture.shape[1], picture.shape[2]), seed, epoch, sample)(
            picture, colours.mean_colour
        )
        if "color" in self.words:
            moved = color(moved, (seed, "color", epoch, sample), colours, *self.words["color"])
        return moved

    def target(self, target: Target, size: Sides, seed: int, epoch: int, sample: int) -> Target:
        """The boxes of the augmented picture; `size` is that of the picture as the target has it."""
        sides = self.view.scaled(*size)
        boxes = target.boxes * np.array([sides[1] / size[1], sides[0] / size[0]] * 2, np.float32)
        geometry = self.geometry(sides, seed, epoch, sample)
        if not len(boxes) or geometry == Geometry(sides, sides, 0, 0, False, False):
            return Target(boxes.astype(np.float32), target.labels, target.difficult, target.crowd)
        from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat

        wrapped = BoundingBoxes(torch.from_numpy(boxes), format=BoundingBoxFormat.XYXY, canvas_size=sides)
        moved = np.asarray(geometry(wrapped, (0,) * self.view.channels).as_subclass(torch.Tensor), np.float32)
        ratio = np.prod(geometry.zoomed) / np.prod(sides)
        before = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * ratio
        after = moved[:, 2:] - moved[:, :2]
        keep = (np.prod(after, axis=1) >= LEFT * before) & (after > 1).all(1)
        return Target(moved, target.labels, target.difficult, target.crowd).take(keep)
