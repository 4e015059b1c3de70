"""Batches as a pure function of (seed, step), for training; and every sample once, in order, for evaluation."""

import os
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from threading import Thread

import numpy as np
import torch
import torch.multiprocessing  # so that tensors come from the workers through shared memory
from torch import Tensor

from residua.data.augment import Augment, Draw, mixing, parse
from residua.data.dataset import Indices, Split
from residua.data.order import balanced, order
from residua.data.view import View
from residua.errors import DataError, UsageError

#: Batches made ahead by the thread, or by each worker.
AHEAD = 2


@dataclass(frozen=True, eq=False)
class Batch:
    """float32 images (N, C, S, S); targets int64 (N,) or, mixed, float32 (N, K); positions in the split (N,)."""

    images: Tensor
    targets: Tensor
    index: Indices


class Batches:
    """The training batches of a split. Batch `step` depends on (seed, step) alone, whoever asks for it and when.

    An epoch goes through a new permutation; the samples that fill no batch are left out, others each time. A set
    smaller than the batch is one batch. `balanced` epochs show every class equally often (`order.balanced`).
    Rank r of `world` gets the r-th slice of every batch.
    Raises UsageError or DataError where no such batches exist.
    """

    def __init__(
        self,
        split: Split,
        view: View,
        *,
        batch_size: int,
        seed: int,
        classes: int,
        augment: tuple[str, ...] = (),
        balanced: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Check that every rank gets whole pairs of at least two samples."""
        if batch_size < 2:
            raise UsageError(f"batches need at least two pictures (batch norm compares them), got {batch_size}")
        if batch_size % world or not 0 <= rank < world:
            raise UsageError(f"a batch of {batch_size} cannot be divided evenly among {world} processes (rank {rank})")
        self.split, self.view, self.seed, self.classes = split, view, seed, classes
        self.augment: Augment = parse(augment, view)
        self.batch_size = min(batch_size, len(split) // world * world)
        self.steps_per_epoch = len(split) // max(1, self.batch_size)
        self.share = self.batch_size // world
        self.rank, self.balanced = rank, balanced
        if self.share < 2:
            raise DataError(f"{len(split)} training pictures are too few: each of {world} processes needs two")
        if self.augment.mixes and world > 1 and self.share % 2:
            raise UsageError(f"mixing takes pairs: {self.share} pictures a process are odd")

    def at(self, step: int) -> Batch:
        """Batch `step`, from 0."""
        epoch, i = divmod(step, self.steps_per_epoch)
        first = i * self.batch_size + self.rank * self.share
        mine = slice(first, first + self.share)
        if self.balanced:
            samples, keys = balanced(self.seed, epoch, self.split)
            index, draw_keys = samples[mine].copy(), keys[mine]
        else:
            index, draw_keys = order(self.seed, epoch, len(self.split))[mine].copy(), None
        images = self.augment.batch(self.split.images, Draw(self.seed, epoch, index, draw_keys))
        labels = self.split.labels[index]
        if not self.augment.mixes:
            return Batch(images, torch.from_numpy(labels), index)
        pairs = mixing(self.augment.words, self.batch_size // 2, self.seed, step)
        own = slice(self.rank * self.share // 2, (self.rank + 1) * self.share // 2)
        targets = pairs.take(own)(images.numpy(), labels, self.classes)
        return Batch(images, torch.from_numpy(targets), index)

    def stream(self, start: int, stop: int, workers: int = 0) -> Iterator[Batch]:
        """Batches `start` to `stop` (not included), made ahead: the same for any number of `workers`."""
        return made_ahead(self.at, range(start, stop), self.augment.is_quick(self.split.images), workers)

    def pictures(self, step: int) -> Tensor:
        """The images of batch `step` as the net sees them, for people: uint8 (N, C, S, S)."""
        return self.view.restore(self.at(step).images)


def in_order(split: Split, view: View, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """Every sample once, in order, as `view` shows it; the last batch may be short."""
    plain = Augment(view, {})
    starts = range(0, len(split), batch_size)
    make = partial(run_of, split, plain, batch_size)
    return made_ahead(make, starts, plain.is_quick(split.images), workers)


def run_of(split: Split, plain: Augment, size: int, start: int) -> Batch:
    """The samples from `start`, as they are."""
    index = np.arange(start, min(start + size, len(split)))
    return Batch(plain.batch(split.images, Draw(0, 0, index)), torch.from_numpy(split.labels[index]), index)


# -- ahead of time --------------------------------------------------------------------------------------------------


def made_ahead(make: Callable[[int], Batch], steps: range, quick: bool, workers: int) -> Iterator[Batch]:
    """``make(step)`` for each step, in order, made ahead by one thread or by processes, which end with the iterator.

    What is quick needs one thread. Decoding and torchvision's work go to `workers` processes; with none, they are done
    when asked for, since torchvision draws from the process's own random generator.
    Raises what `make` raises, and DataError where a worker dies.
    """
    if quick:
        yield from pooled(ThreadPoolExecutor(1, "residua-batches"), make, steps, AHEAD)
    elif workers and steps:
        import torchvision.transforms.v2  # noqa: F401 - once and here: every worker would need seconds for it

        context = get_context("fork" if sys.platform == "linux" else None)
        pool = ProcessPoolExecutor(workers, context, start_worker, (make, os.getpid()))
        yield from pooled(pool, work, steps, AHEAD * workers)
    else:
        yield from map(make, steps)


def pooled(pool: Executor, make: Callable[[int], Batch], steps: range, ahead: int) -> Iterator[Batch]:
    """`make` of each step by a pool, in order and some steps ahead."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of a fork beside threads; the workers use none of them
            pending = deque(pool.submit(make, step) for step in steps[:ahead])
        for i in range(len(steps)):
            batch = pending.popleft().result()
            pending.extend(pool.submit(make, step) for step in steps[i + ahead : i + ahead + 1])
            yield batch
    except BrokenProcessPool as e:
        raise DataError("a data worker died, most likely for want of (shared) memory: try fewer --workers") from e
    finally:
        pool.shutdown(cancel_futures=True)


# -- in a worker ----------------------------------------------------------------------------------------------------

_make: Callable[[int], Batch]  # set once when a worker starts: sent with every step, a million paths would be slow


def start_worker(make: Callable[[int], Batch], parent: int) -> None:
    """Make ready: one thread of torch's, Ctrl-C left to the parent, and an end if the parent is gone."""
    global _make
    _make = make
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=end_with, args=(parent,), daemon=True).start()


def work(step: int) -> Batch:
    """The batch of a step."""
    return _make(step)


def end_with(parent: int) -> None:
    """Exit once the parent is no more: killed, it could not say so."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
