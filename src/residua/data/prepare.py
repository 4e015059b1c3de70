"""What is done to a file's picture before anything random is: a function of the file alone, so it can be kept."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import torch
from PIL import features
from torch import Tensor

from residua.data.decode import Source, reduced
from residua.data.view import View, resized

#: A training picture is kept with a short side of this many times the side that the net sees: the random crops of the
#: usual augmentations, of half the area on average, then have about one pixel for each that the net sees.
SHORT = 1.5

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Preparation:
    """How a file becomes the picture that augmentations begin with.

    Without `short_px` that is what `view` shows: (channels, side_px, side_px). With it, the whole picture, scaled down
    (never up) so that its short side has `short_px`: crops are taken from it.
    """

    view: View
    short_px: int | None = None

    @property
    def least_px(self) -> int:
        """The short side that a picture is decoded with at least; crops are random, so theirs needs no room beyond."""
        return self.view.least_px if self.short_px is None else self.short_px

    def __call__(self, source: Source, mode: str) -> Tensor:
        """The prepared picture, uint8 (C, H, W), of a file or its bytes decoded in `mode`. Raises BadPicture."""
        image, size = reduced(source, mode, self.least_px)
        if self.short_px is None:
            return self.view.picture(image, size)
        return resized(self.view, image, [self.short_px], size) if min(size) > self.short_px else image

    @property
    def usual_bytes(self) -> int:
        """What a picture takes as it is kept, about: one of 4 to 3, where it keeps its ratio."""
        side = self.view.side_px if self.short_px is None else self.short_px * (4 / 3) ** 0.5
        return round(self.view.channels * side**2)

    def words(self, mode: str) -> tuple[str | int, ...]:
        """All that the picture depends on beside the file, this machine's decoders included."""
        view = self.view
        what: tuple[str | int, ...] = (mode, view.interpolation, self.least_px, self.short_px or 0)
        if self.short_px is None:
            what += (view.mode, view.fit, view.side_px, view.resize_px, str(view.mean_colour))
        return (*what, *decoders())

    def stored(self, picture: Tensor) -> Pixels:
        """The picture as it is kept: in the order in which it is used next, (H, W, C) for crops, else (C, H, W)."""
        return (picture if self.short_px is None else picture.permute(1, 2, 0)).contiguous().numpy()

    def restored(self, pixels: Pixels) -> Tensor:
        """The picture of `stored`, nothing copied."""
        picture = torch.from_numpy(pixels)
        return picture if self.short_px is None else picture.permute(2, 0, 1)


@cache
def decoders() -> tuple[str, ...]:
    """What decodes and scales here: other versions may round otherwise."""
    jpeg = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
    libraries = (version(name) for name in ("pillow", "torch", "torchvision"))
    return (*libraries, str(jpeg), torch.backends.cpu.get_cpu_capability())
