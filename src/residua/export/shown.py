"""The pictures that a model and its export are both asked about."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from residua.data.dataset import Images, Indices
from residua.data.decode import BadPicture
from residua.data.names import KNOWN
from residua.errors import DataError
from residua.pair import pair
from residua.seeds import key

#: Each export is asked with batches of so many pictures: exporters have frozen the batch to one, or to that of their
#: example (pytorch#157621).
BATCHES = (1, 3, 17)
#: So many pictures are asked about where nobody says how many.
USUAL = 500
#: Pictures without any data: so many, with a short side of this many times the view's.
MADE, TIMES = 17, 1.6


@dataclass(frozen=True, eq=False)
class Shown:
    """Pictures, uint8 (C, H, W) each, as they are asked for; their labels where they have any. `said` names them."""

    said: str
    images: Images | Sequence[Tensor]
    labels: Indices | None = None

    def __len__(self) -> int:
        """How many."""
        return len(self.images)

    def readable(self, most: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """Positions and pictures in order, without those that cannot be decoded."""
        n = 0
        for i in range(len(self)):
            if n == most:
                return
            try:
                picture = self.images[i]
            except BadPicture:
                continue
            n += 1
            yield i, picture

    def first(self, n: int) -> list[Tensor]:
        """The first pictures that can be decoded, over again where there are fewer. Raises DataError for none."""
        found = [picture for _, picture in self.readable(n)]
        if not found:
            raise DataError(f"{self.said}: none of the pictures can be decoded")
        return [found[i % len(found)] for i in range(n)]


def of_data(
    model: Path, data: str, split: str = "test", *, root: str | None = None, limit: int | None = USUAL
) -> Shown:  # fmt: skip
    """Pictures of a split of the data, spread evenly, with labels in the model's classes.

    Raises UsageError and DataError as `pair` does.
    """
    found = pair(model, data, split=split, root=root)
    of, n = found.splits[0], len(found.splits[0])
    some = of if limit is None or n <= limit else of.take(spread(n, limit))
    said = f"{len(some):,} of {n:,} {split} pictures of {found.dataset.name}"
    return Shown(said, some.images, np.asarray(some.labels))


def spread(n: int, some: int) -> Indices:
    """`some` positions of n, evenly spread."""
    return np.unique(np.linspace(0, n - 1, some).round().astype(np.int64))


def nearest_at_hand(model: Path, data: Any, *, channels: int, side_px: int, root: str | None = None) -> Shown:
    """Pictures like those that the model was trained on where they are at hand, else made ones.

    `data` is what the model's file says of its training data. Only a known set is found again by its name, and none is
    downloaded.
    """
    name = str(dict(data).get("name"))
    if name in KNOWN:
        from residua.data.sources import open_data

        try:
            dataset = open_data(name, root=root, download=False, val_fraction=0)
        except DataError:
            return made(channels, side_px)
        test = dataset.splits.get("test")
        if test is not None and dataset.channels in (1, channels):
            return Shown(f"test pictures of {name}", test.images)
    return made(channels, side_px)


def made(channels: int, side_px: int, *, flat: bool = True) -> Shown:
    """Pictures made from a seed, and not by a camera: smooth colours with edges and grain, of all brightnesses; one of
    noise; where `flat` ones are wanted, one black and one white."""
    numbers = torch.Generator().manual_seed(key("export", "pictures") % 2**31)
    short = max(8, round(TIMES * side_px))
    sides = (short, round(1.25 * short))

    def one(i: int) -> Tensor:
        if i < 2:
            return torch.full((channels, *sides), 255 * i, dtype=torch.uint8)
        grain = torch.rand(1, channels, *sides, generator=numbers)
        if i == 2:
            return (255 * grain[0]).round().to(torch.uint8)
        rough = torch.rand(1, channels, 3 + i % 3, 3 + i % 4, generator=numbers)
        smooth = functional.interpolate(rough, sides, mode="bicubic", align_corners=False)
        level = torch.rand(1, generator=numbers)
        edges = 0.5 * (smooth > level).float()
        mixed = (0.55 * smooth + 0.35 * edges + 0.15 * grain) * (0.6 + 0.8 * level)
        return (255 * mixed[0].clamp(0, 1)).round().to(torch.uint8)

    first = 0 if flat else 2
    return Shown("pictures made from a seed: give real ones with --check DATA", [one(i) for i in range(first, MADE)])
