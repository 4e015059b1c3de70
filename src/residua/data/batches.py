"""Batches as a pure function of (seed, step), for training; and every sample once, in order, for evaluation."""

import os
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from threading import Thread
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.multiprocessing  # so that tensors come from the workers through shared memory
from torch import Tensor

from residua.data.augment import Augment, Draw, mixing, parse
from residua.data.cache import Decoding
from residua.data.dataset import Indices, Split
from residua.data.onto import Onto, onto
from residua.data.order import balanced, expect, shown
from residua.data.view import View
from residua.data.watch import Board, awaited, why_died
from residua.errors import DataError, UsageError

Some = TypeVar("Some", covariant=True)  # a batch

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
    Rank r of `world` gets the r-th slice of every batch. On a GPU as `device` the same batches are finished.
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
        cache: Decoding | None = None,
        device: str = "cpu",
    ) -> None:
        """Check that every rank gets whole pairs of at least two samples."""
        if batch_size < 2:
            raise UsageError(f"batches need at least two pictures (batch norm compares them), got {batch_size}")
        if batch_size % world or not 0 <= rank < world:
            raise UsageError(f"a batch of {batch_size} cannot be divided evenly among {world} processes (rank {rank})")
        self.split, self.view, self.seed, self.classes = split, view, seed, classes
        self.augment: Augment = replace(parse(augment, view), cache=cache or Decoding())
        self.onto = None if device == "cpu" else onto(self.augment, split.images, device)
        self.batch_size = min(batch_size, len(split) // world * world)
        self.steps_per_epoch = len(split) // max(1, self.batch_size)
        self.share = self.batch_size // world
        self.rank, self.balanced = rank, balanced
        if self.share < 2:
            raise DataError(f"{len(split)} training pictures are too few: each of {world} processes needs two")
        if self.augment.mixes and world > 1 and self.share % 2:
            raise UsageError(f"mixing takes pairs: {self.share} pictures a process are odd")

    def at(self, step: int) -> Batch:
        """Batch `step`, from 0, on the CPU."""
        batch = self.finished(step, self.pixels(step))
        return replace(batch, images=batch.images.cpu())

    def draw(self, step: int) -> Draw:
        """Which samples batch `step` shows, and their random numbers."""
        epoch, i = divmod(step, self.steps_per_epoch)
        first = i * self.batch_size + self.rank * self.share
        mine = slice(first, first + self.share)
        samples, keys = self.samples(epoch)
        return Draw(self.seed, epoch, samples[mine].copy(), None if keys is None else keys[mine])

    def samples(self, epoch: int) -> tuple[Indices, Indices | None]:
        """The samples of an epoch in order, and what tells repeats apart where there are any."""
        if self.balanced:
            return balanced(self.seed, epoch, self.split)
        return shown(self.seed, epoch, self.split), None

    def pixels(self, step: int) -> Tensor:
        """The pictures of batch `step` before they are normalised: uint8 (N, C, S, S). This is most of the work."""
        epoch, i = divmod(step, self.steps_per_epoch)
        if self.onto is not None and self.onto.held is not None:
            return self.onto.pixels(self.draw(step))
        expect(self.split, self.samples(epoch)[0][i * self.batch_size :])
        return torch.from_numpy(self.augment.pixels(self.split.images, self.draw(step)))

    def finished(self, step: int, pixels: Tensor) -> Batch:
        """Batch `step` of its pixels: normalised, erased in part, mixed."""
        draw = self.draw(step)
        labels = self.split.labels[draw.samples]
        finish = self.augment if self.onto is None else self.onto
        images = finish.finished(pixels, draw)
        if not self.augment.mixes:
            return Batch(images, torch.from_numpy(labels), draw.samples)
        pairs = mixing(self.augment.words, self.batch_size // 2, self.seed, step)
        own = slice(self.rank * self.share // 2, (self.rank + 1) * self.share // 2)
        x = images.numpy() if self.onto is None else images  # numpy stays on the calling thread
        targets = pairs.take(own)(x, labels, self.classes)
        return Batch(images, torch.from_numpy(targets), draw.samples)

    def stream(self, start: int, stop: int, workers: int = 0) -> Iterator[Batch]:
        """Batches `start` to `stop` (not included), made ahead: the same for any number of `workers`."""
        quick = self.augment.is_quick(self.split.images)
        return made_ahead(self, range(start, stop), quick=quick, cache=self.augment.cache, workers=workers)

    def pictures(self, step: int) -> Tensor:
        """The images of batch `step` as the net sees them, for people: uint8 (N, C, S, S)."""
        return self.view.restore(self.at(step).images)


@dataclass(frozen=True, eq=False)
class InOrder:
    """Every sample of a split once, in order, as `plain` shows it; the last batch may be short."""

    split: Split
    plain: Augment
    batch_size: int
    onto: Onto | None = None

    def draw(self, start: int) -> Draw:
        """The samples from `start`, as they are."""
        return Draw(0, 0, np.arange(start, min(start + self.batch_size, len(self.split))))

    def pixels(self, start: int) -> Tensor:
        """The pictures from `start`: uint8 (N, C, S, S)."""
        expect(self.split, np.arange(start, len(self.split)))
        return torch.from_numpy(self.plain.pixels(self.split.images, self.draw(start)))

    def finished(self, start: int, pixels: Tensor) -> Batch:
        """The batch of these pixels."""
        draw = self.draw(start)
        images = (self.onto or self.plain).finished(pixels, draw)
        return Batch(images, torch.from_numpy(self.split.labels[draw.samples]), draw.samples)


def in_order(
    split: Split, view: View, batch_size: int, workers: int = 0, cache: Decoding | None = None, *,
    rank: int = 0, world: int = 1, device: str = "cpu",
) -> Iterator[Batch]:  # fmt: skip
    """Every sample once, in order, as `view` shows it; the last batch may be short.

    Of several processes each gets every `world`-th of these very batches. On a GPU as `device` they are finished there.
    """
    plain = Augment(view, {}, cache or Decoding())
    starts = range(rank * batch_size, len(split), world * batch_size)
    made = InOrder(split, plain, batch_size, None if device == "cpu" else Onto(plain, device))
    return made_ahead(made, starts, quick=plain.is_quick(split.images), cache=plain.cache, workers=workers)


# -- ahead of time --------------------------------------------------------------------------------------------------


class Making(Protocol[Some]):
    """Batches made in two parts: what is much work for little memory, and what makes it four times as large."""

    def pixels(self, step: int, /) -> Tensor:
        """The pictures, uint8 (N, C, S, S)."""

    def finished(self, step: int, pixels: Tensor, /) -> Some:
        """The batch of these pixels."""


def made_ahead(
    make: Making[Some], steps: range, *, quick: bool, cache: Decoding, workers: int
) -> Iterator[Some]:  # fmt: skip
    """The batch of each step, in order, made ahead by one thread or by processes, which end with the iterator.

    What is `quick` needs one thread. Decoding and torchvision's work go to `workers` processes; with none, they are
    done when asked for, since torchvision draws from the process's own random generator. From a process come pixels,
    and a thread finishes them: as numbers they would be four times as much to hand over.
    Raises what `make` raises, and DataError where a worker dies or freezes over a file, which it names.
    """
    if quick:
        with ending(ThreadPoolExecutor(1, "residua-batches")) as pool:
            yield from pooled(pool, partial(whole, make), steps, AHEAD)
    elif workers and steps:
        import torchvision.transforms.v2  # noqa: F401 - once and here: every worker would need seconds for it

        linux = sys.platform == "linux"
        board = Board(workers if linux else 0)
        context = get_context("fork" if linux else None)
        processes = ProcessPoolExecutor(workers, context, start_worker, (make, cache, board, os.getpid()))
        with ending(processes, board), ending(ThreadPoolExecutor(1, "residua-batches")) as pool:
            made = pooled(processes, work, steps, AHEAD * workers, board)  # here, so that they fork from this thread
            yield from pooled(pool, partial(take, make, made, cache), steps, 1)
    else:
        for step in steps:
            yield whole(make, step)


@contextmanager
def ending(pool: Executor, board: Board | None = None) -> Iterator[Executor]:
    """The pool, ended with the block: what it has not begun is dropped. Raises DataError where a worker dies."""
    try:
        yield pool
    except BrokenProcessPool as e:
        if board is None:  # the thread beside the processes
            raise
        raise DataError(why_died(board)) from e
    finally:
        pool.shutdown(cancel_futures=True)


def whole(make: Making[Some], step: int) -> Some:
    """The batch of a step, both parts of it."""
    return make.finished(step, make.pixels(step))


def take(make: Making[Some], made: Iterator["Made"], cache: Decoding, step: int) -> Some:
    """The next batch of the workers, finished; what their caches have to say becomes this one's."""
    pixels, told = next(made)
    cache.told |= told
    return make.finished(step, pixels)


def pooled(
    pool: Executor, make: Callable[[int], Any], steps: range, ahead: int, board: Board | None = None
) -> Iterator[Any]:  # fmt: skip
    """`make` of each step by a pool, in order and some steps ahead, begun at once; of processes with their board."""
    with warnings.catch_warnings(action="ignore"):  # of a fork beside threads; the workers use none of them
        pending = deque(pool.submit(make, step) for step in steps[:ahead])
    return following(pool, make, iter(steps[ahead:]), pending, board)


def following(
    pool: Executor, make: Callable[[int], Any], more: Iterator[int], pending: "deque[Future[Any]]", board: Board | None
) -> Iterator[Any]:  # fmt: skip
    """What is pending, in order, while for each the next of the later steps is begun."""
    while pending:
        first = pending.popleft()
        made = first.result() if board is None else awaited(first, board)
        pending.extend(pool.submit(make, step) for step in islice(more, 1))
        yield made


# -- in a worker ----------------------------------------------------------------------------------------------------

Made = tuple[Tensor, dict[str, str]]  # pixels, and what the cache has to say
_make: Making[Any]  # set once when a worker starts: sent with every step, a million paths would be slow
_cache: Decoding


def start_worker(make: Making[Any], cache: Decoding, board: Board, parent: int) -> None:
    """Make ready: one thread of torch's, Ctrl-C left to the parent, and an end if the parent is gone."""
    global _make, _cache
    _make, _cache = make, cache
    cache.board = board
    board.sign()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=end_with, args=(parent,), daemon=True).start()


def work(step: int) -> Made:
    """The pixels of a step."""
    return _make.pixels(step), _cache.told


def end_with(parent: int) -> None:
    """Exit once the parent is no more: killed, it could not say so."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
