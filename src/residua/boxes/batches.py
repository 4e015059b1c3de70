"""Batches of pictures with boxes as a pure function of (seed, step), and every picture once for evaluation."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residua.boxes.augment import BoxAugment
from residua.boxes.dataset import BoxDataset, BoxSplit, Target
from residua.boxes.view import BoxView, canvas, laid
from residua.data.batches import made_ahead
from residua.data.cache import Decoding
from residua.data.dataset import Indices, Skipped
from residua.data.decode import BadPicture
from residua.data.order import order
from residua.errors import DataError, UsageError

#: Scaled pictures that take fewer bytes than this in all are kept in memory.
IN_MEMORY_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class Pictures:
    """The scaled pictures of a split, kept in memory or made when they are asked for."""

    split: BoxSplit
    view: BoxView
    cache: Decoding
    kept: tuple[Tensor, ...] = ()

    def __getitem__(self, i: int) -> Tensor:
        """Picture i: uint8 (C, h, w). Raises BadPicture."""
        return self.kept[i] if self.kept else shown(self.split, i, self.view, self.cache)


def shown(split: BoxSplit, i: int, view: BoxView, cache: Decoding) -> Tensor:
    """Picture i of a split, scaled: uint8 (C, h, w). Raises BadPicture."""
    height, width = split.sizes[i].tolist()
    return view.file(str(split.images.paths[i]), (height, width), cache)


@dataclass(frozen=True, eq=False)
class BoxBatch:
    """float32 images (N, C, H, W), each in the upper left corner; its own sides (N pairs); its boxes; its position."""

    images: Tensor
    sides: tuple[tuple[int, int], ...]
    targets: tuple[Target, ...]
    index: Indices

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.targets)


def sliced(batch: BoxBatch, size: int) -> Iterator[BoxBatch]:
    """The batch in slices of `size` pictures, or a few more; each on no larger a canvas than it needs."""
    parts = max(1, len(batch) // size)
    for rows in np.array_split(np.arange(len(batch)), parts):
        first, last = int(rows[0]), int(rows[-1]) + 1
        sides = batch.sides[first:last]
        height, width = canvas(list(sides))
        images = batch.images[first:last, :, :height, :width]
        yield BoxBatch(images, sides, batch.targets[first:last], batch.index[first:last])


class BoxBatches:
    """The training batches of a split. Batch `step` depends on (seed, step) alone, whoever asks for it and when.

    An epoch goes through a new permutation; the samples that fill no batch are left out, others each time.
    Rank r of `world` gets the r-th slice of every batch.
    Raises UsageError or DataError where no such batches exist.
    """

    def __init__(
        self, pictures: Pictures, *, batch_size: int, seed: int, augment: BoxAugment, quick: bool,
        rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        """Of a split's pictures; `quick` says that they lie in memory."""
        if batch_size < 2:
            raise UsageError(f"batches need at least two pictures (batch norm compares them), got {batch_size}")
        if batch_size % world:
            raise UsageError(f"a batch of {batch_size} cannot be divided evenly among {world} processes")
        self.source, self.split, self.view = pictures, pictures.split, pictures.view
        self.seed, self.augment, self.quick = seed, augment, quick
        self.batch_size = min(batch_size, len(self.split) // world * world)
        self.share = self.batch_size // world
        self.rank = rank
        self.steps_per_epoch = len(self.split) // max(1, self.batch_size)
        if self.batch_size < 2:
            raise DataError(
                f"{len(self.split)} training pictures are too few: a batch needs two"
                + f", and one a process of {world}" * (world > 1)
            )

    def samples(self, step: int) -> tuple[int, Indices]:
        """The epoch of batch `step`, and which samples it shows."""
        epoch, i = divmod(step, self.steps_per_epoch)
        first = i * self.batch_size + self.rank * self.share
        return epoch, order(self.seed, epoch, len(self.split))[first : first + self.share].copy()

    def pixels(self, step: int) -> Tensor:
        """The pictures of batch `step`: uint8 (N, C, H, W)."""
        epoch, samples = self.samples(step)
        made = [self.augment.picture(self.source[i], self.seed, epoch, i) for i in samples.tolist()]
        return laid(made, self.view.colours.mean_colour)

    def finished(self, step: int, pixels: Tensor) -> BoxBatch:
        """Batch `step` of its pixels: normalised, with its boxes."""
        epoch, samples = self.samples(step)
        sizes = [(int(h), int(w)) for h, w in self.split.sizes[samples].tolist()]
        targets = tuple(
            self.augment.target(self.split.targets[i], size, self.seed, epoch, i)
            for i, size in zip(samples.tolist(), sizes, strict=True)
        )
        return BoxBatch(self.view.normalise(pixels), tuple(self.view.scaled(*s) for s in sizes), targets, samples)

    def at(self, step: int) -> BoxBatch:
        """Batch `step`, from 0."""
        return self.finished(step, self.pixels(step))

    def stream(self, start: int, stop: int, workers: int = 0) -> Iterator[BoxBatch]:
        """Batches `start` to `stop` (not included), made ahead: the same for any number of `workers`."""
        cache = self.source.cache
        return made_ahead(self, range(start, stop), quick=self.quick, cache=cache, workers=workers)


@dataclass(frozen=True, eq=False)
class EachOnce:
    """Every picture of a split once, those of one canvas together: what else is in a batch then changes nothing."""

    pictures: Pictures
    parts: tuple[tuple[int, ...], ...]

    def pixels(self, part: int) -> Tensor:
        """The pictures of a part: uint8 (N, C, H, W)."""
        return laid([self.pictures[i] for i in self.parts[part]], self.pictures.view.colours.mean_colour)

    def finished(self, part: int, pixels: Tensor) -> BoxBatch:
        """The batch of these pixels, its boxes in the frame of the scaled pictures."""
        split, view = self.pictures.split, self.pictures.view
        rows, plain = self.parts[part], BoxAugment(view)
        sizes = [(int(h), int(w)) for h, w in split.sizes[list(rows)].tolist()]
        targets = tuple(plain.target(split.targets[i], s, 0, 0, i) for i, s in zip(rows, sizes, strict=True))
        sides = tuple(view.scaled(*s) for s in sizes)
        return BoxBatch(view.normalise(pixels), sides, targets, np.array(rows, np.int64))


def each_once(
    pictures: Pictures, batch_size: int, workers: int = 0, *, rank: int = 0, world: int = 1
) -> Iterator[BoxBatch]:
    """Every picture of a split once, as the view shows it, in batches of one canvas.

    Of several processes each gets every `world`-th of these very batches.
    """
    split, view = pictures.split, pictures.view
    by_canvas: dict[tuple[int, int], list[int]] = {}
    for i, (height, width) in enumerate(split.sizes.tolist()):
        by_canvas.setdefault(canvas([view.scaled(height, width)]), []).append(i)
    parts = [
        tuple(rows[first : first + batch_size])
        for rows in by_canvas.values()
        for first in range(0, len(rows), batch_size)
    ]
    made = EachOnce(pictures, tuple(parts))
    steps = range(rank, len(parts), world)
    return made_ahead(made, steps, quick=bool(pictures.kept), cache=pictures.cache, workers=workers)


def opened(
    dataset: BoxDataset, view: BoxView, cache: Decoding | None = None, *, most_bytes: int = IN_MEMORY_BYTES
) -> tuple[BoxDataset, dict[str, Pictures]]:
    """The pictures of each split, scaled and kept in memory where all fit into `most_bytes`.

    A picture that proves broken when it is decoded is left out then. Raises DataError where that leaves a split empty.
    """
    cache = cache or Decoding()
    area = sum(h * w for s in dataset.splits.values() for h, w in (view.scaled(*size) for size in s.sizes.tolist()))
    if area * view.channels > most_bytes:
        return dataset, {name: Pictures(split, view, cache) for name, split in dataset.splits.items()}
    splits, found, skipped = {}, {}, list(dataset.skipped)
    for name, split in dataset.splits.items():
        pictures, bad = read(split, view, cache)
        skipped += [Skipped(split.names[i], e.reason) for i, e in bad]
        good = np.setdiff1d(np.arange(len(split)), [i for i, _ in bad])
        if not len(good):
            raise DataError(f"{dataset.name}: no picture of {name} can be decoded; {bad[0][1]}")
        splits[name] = split if len(good) == len(split) else split.take(good)
        found[name] = Pictures(splits[name], view, cache, tuple(pictures[int(i)] for i in good))
    return replace(dataset, splits=splits, skipped=tuple(skipped)), found


def read(split: BoxSplit, view: BoxView, cache: Decoding) -> tuple[dict[int, Tensor], list[tuple[int, BadPicture]]]:
    """All scaled pictures of a split, by some threads: decoding holds no lock."""

    def one(i: int) -> Tensor | BadPicture:
        try:
            return shown(split, i, view, cache).contiguous()
        except BadPicture as e:
            return e

    with ThreadPoolExecutor(min(8, torch.get_num_threads())) as pool:
        made: Sequence[Any] = list(pool.map(one, range(len(split))))
    bad = [(i, e) for i, e in enumerate(made) if isinstance(e, BadPicture)]
    return {i: m for i, m in enumerate(made) if not isinstance(m, BadPicture)}, bad
