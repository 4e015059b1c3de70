"""What of a picture a net sees: its view, ten crops, or the whole picture at several scales."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from residua.data.batches import Batch
from residua.data.dataset import Indices, Split
from residua.data.view import RESIZE_FOR_224, View, resized
from residua.engine import Engine
from residua.errors import UsageError

#: Short sides of multi-scale testing, for a view of 224 pixels (He et al. 2015, sec. 3.4).
SCALES = (224, 256, 384, 480, 640)
#: Of a long strip only the middle is looked at: this many times its short side.
LONGEST = 4


class Shown(Protocol):
    """What a look takes: labels (N,) and positions (N,) of some images, and the images."""

    @property
    def targets(self) -> Tensor:
        """The labels."""

    @property
    def index(self) -> Indices:
        """The positions."""


Net = Callable[[Tensor], Tensor]  # (N, C, H, W) -> logits (N, K)
Ask = Callable[[Net, Engine], Tensor]  # one look: (net, engine) -> logits (N, K)
Look = Callable[[Shown], Iterator[Ask]]


def forward(net: Net, engine: Engine, images: Tensor) -> Tensor:
    """Logits (N, K) of images (N, C, H, W), on the device."""
    with engine.autocast():
        return net(engine.move(images))


def once(batch: Shown) -> Iterator[Ask]:
    """The view as it is."""
    assert isinstance(batch, Batch)
    yield partial(forward, images=batch.images)


# -- ten crops ------------------------------------------------------------------------------------------------------


def roomy(view: View) -> View:
    """The view with the room that crops need: its square of `resize_px`, or 256/224 of a side that leaves none."""
    side = view.resize_px if view.resize_px > view.side_px else round(view.side_px * RESIZE_FOR_224 / 224)
    return replace(view, side_px=max(side, view.side_px + 1), resize_px=max(side, view.side_px + 1))


def ten_crop(side_px: int) -> Look:
    """Four corners and the middle, `side_px` square, and their mirrors, of pictures as `roomy` shows them.

    Source: Krizhevsky et al. 2012, sec. 4.1, whose order (and torchvision's) is kept.
    """

    def look(batch: Shown) -> Iterator[Ask]:
        assert isinstance(batch, Batch)
        for images in ten_crops(batch.images, side_px):
            yield partial(forward, images=images)

    return look


def ten_crops(images: Tensor, side_px: int) -> Iterator[Tensor]:
    """(N, C, H, W) -> ten times (N, C, side_px, side_px), in torchvision's order."""
    height, width = images.shape[-2:]
    for picture in (images, images.flip(-1)):
        bottom, right = height - side_px, width - side_px
        middle = (round(bottom / 2), round(right / 2))
        for top, left in ((0, 0), (0, right), (bottom, 0), (bottom, right), middle):
            yield picture[..., top : top + side_px, left : left + side_px].contiguous()


# -- several scales -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Scaled:
    """Whole pictures at several scales: for each scale and image one float32 (C, h, w), sizes as they come."""

    pictures: tuple[tuple[Tensor, ...], ...]
    targets: Tensor
    index: Indices


def pools_globally(net: nn.Module) -> bool:
    """Whether the net takes the mean over whatever map comes out, so that it can be applied to any size."""
    head = getattr(net, "head", net)
    return any(m.output_size in (1, (1, 1)) for m in head.modules() if isinstance(m, nn.AdaptiveAvgPool2d))


def check_scales(net: nn.Module, name: str) -> None:
    """Raise UsageError for a net with linear layers on a map of fixed size."""
    if not pools_globally(net):
        raise UsageError(
            f"{name} ends in linear layers on a map of fixed size and sees one size only: take --views ten-crop"
        )


def default_scales(view: View) -> tuple[int, ...]:
    """The paper's scales in proportion to the view's side."""
    return tuple(round(view.side_px * s / 224) for s in SCALES)


def at_scale(view: View, image: Tensor, side_px: int) -> Tensor:
    """uint8 (C, H, W) -> float32 (C, h, w): the whole picture, its short side `side_px`; normalised.

    Views that pad or squash show their square of `side_px`. Where the picture fits already it stays as it is.
    """
    square = replace(view, side_px=side_px, resize_px=side_px)
    if view.fit != "crop":
        return square.tensor(image)
    image = square.coloured(image)
    short, long = sorted(image.shape[1:])
    if long > LONGEST * short:
        top, left = ((n - min(n, LONGEST * short)) // 2 for n in image.shape[1:])
        image = image[:, top : top + LONGEST * short, left : left + LONGEST * short]
    return view.normalise(image if short == side_px else resized(view, image, [side_px]))


def scaled(split: Split, view: View, scales: Sequence[int], batch_size: int, first: int = 0) -> Iterator[Scaled]:
    """Every picture of the split once, at every scale, so many at a time as a batch of the view's has pixels."""
    area = sum((s / view.side_px) ** 2 for s in scales)
    many = max(1, int(batch_size / area))
    for start in range(0, len(split), many):
        index = np.arange(start, min(start + many, len(split)))
        pictures = [split.images[int(i)] for i in index]
        shown = tuple(tuple(at_scale(view, p, s) for p in pictures) for s in scales)
        yield Scaled(shown, torch.from_numpy(split.labels[index]), index + first)


def fully(mirrored: bool) -> Look:
    """The net on whole pictures at every scale, `mirrored` ones too (He et al. 2015, sec. 3.4)."""

    def look(batch: Shown) -> Iterator[Ask]:
        assert isinstance(batch, Scaled)
        for pictures in batch.pictures:
            for flip in (False, True) if mirrored else (False,):
                shown = [p.flip(-1) for p in pictures] if flip else list(pictures)
                yield partial(by_shape, pictures=shown)

    return look


def by_shape(net: Net, engine: Engine, pictures: Sequence[Tensor]) -> Tensor:
    """Logits (N, K) of pictures of several sizes, those of one size in one pass."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for i, p in enumerate(pictures):
        shapes.setdefault(tuple(p.shape), []).append(i)
    places = [i for group in shapes.values() for i in group]
    parts = [forward(net, engine, torch.stack([pictures[i] for i in group])) for group in shapes.values()]
    return torch.cat(parts)[torch.tensor(np.argsort(places), device=parts[0].device)]


def seen(parts: Iterable[Split], view: View, scales: Sequence[int], batch_size: int) -> Iterator[Scaled]:
    """`scaled` over several splits, positions counted on."""
    first = 0
    for split in parts:
        yield from scaled(split, view, scales, batch_size, first)
        first += len(split)
