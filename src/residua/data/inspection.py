"""What a million files say of themselves, a few opened at a time; by several processes where that is quicker."""

import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from threading import Thread

import numpy as np
import numpy.typing as npt

from residua.data.batches import end_with
from residua.data.compact import CHUNK, Rows
from residua.data.decode import Header, Place, inspect
from residua.data.listing import Files, GrowingSkips, Skips
from residua.data.watch import KILLED

#: From this many files on, processes share the work: Python alone opens some ten thousand a second.
MANY = 20_000

#: More processes than this wait for the disk.
MOST = 16

#: Of the pictures of a large set, about this many tell the median side.
SAMPLE = 200

#: What is kept of each file: stored sides in pixels, length, whether it is grey, whether it can be used.
FACTS = np.dtype([("width", "i4"), ("height", "i4"), ("bytes", "i8"), ("grey", "?"), ("usable", "?")])

Facts = npt.NDArray[np.void]


@dataclass(frozen=True, eq=False)
class Looks:
    """What the usable ones of some files say of themselves: their positions and facts (n,)."""

    rows: Rows
    facts: Facts

    @property
    def grey(self) -> bool:
        """Whether all of them are."""
        return bool(self.facts["grey"].all())

    @property
    def same_size(self) -> bool:
        """Whether all are squares of one size."""
        width, height = self.facts["width"], self.facts["height"]
        return bool((width == width[0]).all() and (height == width[0]).all())

    def median_side(self) -> int:
        """The median short side of some of them, the lower one of two."""
        some = self.facts[:: max(1, len(self.rows) // SAMPLE)]
        sides = np.sort(np.minimum(some["width"], some["height"]))
        return int(sides[(len(sides) - 1) // 2])


@dataclass(frozen=True, eq=False)
class Seen:
    """The facts of neighbouring files from position `first` on, and why those that cannot be used cannot."""

    first: int
    facts: Facts
    reasons: dict[int, str]


def looked_at(files: Files) -> tuple[Looks, Skips]:
    """What the usable files say of themselves, and the others with the reason."""
    facts, bad = np.zeros(len(files), FACTS), GrowingSkips()
    for seen in all_seen(files.paths):
        facts[seen.first : seen.first + len(seen.facts)] = seen.facts
        for i, reason in seen.reasons.items():
            bad.add(files.names[i], reason)
    rows = np.flatnonzero(facts["usable"])
    return Looks(rows, facts if len(rows) == len(files) else facts[rows]), bad.done()


def all_seen(paths: Sequence[Place]) -> Iterator[Seen]:
    """A look at each file, in order. A file that kills the process that looks at it is one that cannot be used.

    Few files are looked at by this process itself.
    """
    done, workers = 0, processes(len(paths))
    while workers > 1 and done < len(paths):
        try:
            for seen in shared(paths, done, workers):
                yield seen
                done = seen.first + len(seen.facts)
        except BrokenProcessPool:
            seen = one_by_one(paths, done)
            yield seen
            done = seen.first + len(seen.facts)
    for first in range(done, len(paths), CHUNK):
        yield look(paths, first)


def one_by_one(paths: Sequence[Place], first: int) -> Seen:
    """A look at a chunk of files in which one kills: in halves, each by a process that may die of it."""
    last = min(first + CHUNK, len(paths))
    facts = np.zeros(last - first, FACTS)
    reasons: dict[int, str] = {}
    parts = [(first, last)]
    while parts:
        a, b = parts.pop()
        with ProcessPoolExecutor(1, get_context("fork"), start_worker, (paths[a:b], os.getpid())) as pool:
            try:
                seen = pool.submit(work, 0).result()
            except BrokenProcessPool:
                middle = (a + b) // 2
                parts += [(a, middle), (middle, b)] if b - a > 1 else []
                reasons |= {a: KILLED} if b - a == 1 else {}
                continue
        facts[a - first : b - first] = seen.facts
        reasons |= {a + i: reason for i, reason in seen.reasons.items()}
    return Seen(first, facts, dict(sorted(reasons.items())))


def processes(n: int) -> int:
    """How many processes look into n files. A copy of this process is cheap on Linux alone."""
    return min(MOST, len(os.sched_getaffinity(0))) if sys.platform == "linux" and n >= MANY else 1


def look(paths: Sequence[Place], first: int) -> Seen:
    """The files from `first` on, one chunk of them."""
    found = inspect(list(paths[first : first + CHUNK]))
    facts, reasons = np.zeros(len(found), FACTS), {}
    for i, f in enumerate(found):
        if isinstance(f, Header):
            facts[i] = f.width, f.height, f.bytes, f.grey, True
        else:
            reasons[first + i] = f.reason
    return Seen(first, facts, reasons)


def shared(paths: Sequence[Place], start: int, workers: int) -> Iterator[Seen]:
    """A look at each file from `start` on by a pool of processes, in order. Raises BrokenProcessPool where one dies."""
    pool = ProcessPoolExecutor(workers, get_context("fork"), start_worker, (paths, os.getpid()))
    firsts = iter(range(start, len(paths), CHUNK))
    try:
        with warnings.catch_warnings(action="ignore"):  # of a fork beside threads; the workers use none of them
            pending = deque(pool.submit(work, first) for first in islice(firsts, 2 * workers))
        while pending:
            seen = pending.popleft().result()
            pending.extend(pool.submit(work, first) for first in islice(firsts, 1))
            yield seen
    finally:
        pool.shutdown(cancel_futures=True)


# -- in a worker ----------------------------------------------------------------------------------------------------

_paths: Sequence[Place]  # set once when a worker starts: sent with every task, a million paths would be slow


def start_worker(paths: Sequence[Place], parent: int) -> None:
    """Make ready: Ctrl-C left to the parent, and an end if the parent is gone."""
    global _paths
    _paths = paths
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=end_with, args=(parent,), daemon=True).start()


def work(first: int) -> Seen:
    """A look at the chunk of files from `first` on."""
    return look(_paths, first)
