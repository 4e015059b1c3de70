"""Pictures finished on a GPU: a quarter of the bytes travel there, and a set in memory lies there as a whole.

What is random is drawn as ever, on the CPU, and every operation on numbers is the one that numpy does, so a batch is
the CPU's, bit for bit. Nothing waits: copies and kernels are queued where those of training are.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from residua.data.augment import ERASE, Augment, Draw, erased, flipped, moved
from residua.data.dataset import ArrayImages, Images

#: A set may take so much of a GPU's memory.
SHARE = 1 / 16


@dataclass(frozen=True, eq=False)
class Onto:
    """What an augmentation does to pictures, done on a `device`. `images` are the set if it is to lie there."""

    augment: Augment
    device: str
    images: ArrayImages | None = None

    @cached_property
    def held(self) -> Tensor | None:
        """The set on the device: uint8 (N, H, W, C), so that a pixel's colours are read at once."""
        if self.images is None:
            return None
        return self.images.array.to(self.device).permute(0, 2, 3, 1).contiguous()

    @cached_property
    def numbers(self) -> tuple[Tensor, Tensor, Tensor]:
        """What colours are divided by, and a view's mean and deviation: as tensors, since scalars round otherwise."""
        view = self.augment.view
        rows = ([255.0], view.mean, view.std)
        most, mean, std = (torch.tensor(v, dtype=torch.float32, device=self.device)[:, None, None] for v in rows)
        return most, mean, std

    def pixels(self, draw: Draw) -> Tensor:
        """The samples of `draw` out of the set on the device, moved and mirrored: uint8 (N, C, S, S)."""
        assert self.held is not None
        side = self.augment.view.side_px
        rows = cols = np.arange(side)[None].repeat(len(draw.samples), 0)
        if pad := int(self.augment.words.get("pad-crop", (0,))[0]):
            dy, dx = moved(draw, pad)
            rows, cols = rows + dy[:, None] - pad, cols + dx[:, None] - pad
        if (mirrored := flipped(draw, self.augment.words)) is not None:
            cols = np.where(mirrored[:, None], cols[:, ::-1], cols)
        n, y, x = (self._there(v) for v in (draw.samples, rows, cols))
        last = side - 1
        found = self.held[n[:, None, None], y.clamp(0, last)[:, :, None], x.clamp(0, last)[:, None, :]]
        if pad:
            inside = ((y >= 0) & (y <= last))[:, :, None] & ((x >= 0) & (x <= last))[:, None, :]
            mean = torch.tensor(self.augment.view.mean_colour, dtype=torch.uint8)
            found = torch.where(inside[..., None], found, mean.to(self.device, non_blocking=True))
        return found.permute(0, 3, 1, 2)

    def finished(self, pixels: Tensor, draw: Draw) -> Tensor:
        """Pixels from anywhere, normalised, and erased in part: float32 (N, C, S, S) on the device."""
        if pixels.device.type == "cpu" != torch.device(self.device).type:
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        most, mean, std = self.numbers
        x = pixels.to(torch.float32).div_(most).sub_(mean).div_(std)
        if ERASE in self.augment.words:
            for i, (top, left, height, width) in erased(draw, x.shape[-2:], *self.augment.words[ERASE]):
                x[i, :, top : top + height, left : left + width] = 0
        return x

    def _there(self, values: "np.typing.NDArray[np.integer]") -> Tensor:
        """Whole numbers on the device."""
        tensor = torch.from_numpy(np.ascontiguousarray(values, np.int64))
        if torch.device(self.device).type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


def onto(augment: Augment, images: Images, device: str) -> Onto:
    """How batches get onto a device. A set whose batches are a few array operations lies there, if there is room."""
    small = isinstance(images, ArrayImages) and images.array.nbytes <= SHARE * room(device)
    held = images if small and augment.is_quick(images) and isinstance(images, ArrayImages) else None
    return Onto(augment, device, held)


def room(device: str) -> float:
    """All bytes of a device; of a CPU there is no end."""
    if torch.device(device).type != "cuda":
        return float("inf")
    return float(torch.cuda.get_device_properties(device).total_memory)
