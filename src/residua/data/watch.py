"""Which file each process reads, seen by the one that waits for them: one that kills or freezes its reader is named.

A board is memory that processes share: one line for each, with the path that it reads and since when. It is made before
they are forked; a process that is not forked has a blank one. Writing a line takes a microsecond, a file some hundred.
"""

import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from residua.data.decode import BadPicture, Place, decode
from residua.data.names import shown
from residua.errors import DataError

#: Seconds in which a file is not read that the training waits for: then its disk or network share is taken to be gone.
#: `RESIDUA_PATIENCE` changes it.
PATIENCE_SECONDS = 300.0

#: Why a file on which the process that read it ended is refused.
KILLED = "reading it killed the process (a damaged file, or one too large for the memory)"

#: A line: process, since when (the clock that all processes share), how many bytes the path has; then the path.
LINE = struct.Struct("=qdI")
LINE_BYTES = 4096 + LINE.size


class Frozen(DataError):
    """A file is not read, for so long that there is no hope."""


@dataclass(frozen=True)
class Reading:
    """A process reads a file, for so many seconds."""

    process: int
    path: str
    seconds: float


class Board:
    """What `processes` processes read. Each writes its own line, once it has one (`sign`)."""

    def __init__(self, processes: int) -> None:
        """Blank lines, and a next one for whoever comes."""
        self.lines = processes
        self.memory = mmap.mmap(-1, max(1, processes) * LINE_BYTES)
        self.signed = get_context("fork").Value("i", 0) if processes else None
        self.at: int | None = None

    def __reduce__(self) -> tuple[type["Board"], tuple[int]]:
        """A blank one: this memory does not travel."""
        return Board, (0,)

    def sign(self) -> None:
        """This process writes the next free line from now on."""
        if self.signed is None:
            return
        with self.signed.get_lock():
            line, self.signed.value = self.signed.value, self.signed.value + 1
        if line < self.lines:
            self.at = line * LINE_BYTES
            LINE.pack_into(self.memory, self.at, os.getpid(), 0.0, 0)

    @contextmanager
    def reading(self, path: Place) -> Iterator[None]:
        """Within, this process reads that file. Nothing where it has no line."""
        if self.at is None:
            yield
            return
        name = os.fsencode(str(path))[: LINE_BYTES - LINE.size]
        self.memory[self.at + LINE.size : self.at + LINE.size + len(name)] = name
        LINE.pack_into(self.memory, self.at, os.getpid(), time.monotonic(), len(name))
        try:
            yield
        finally:
            LINE.pack_into(self.memory, self.at, os.getpid(), 0.0, 0)

    def now(self) -> list[Reading]:
        """What is being read, the longest first. What a process read when it died stands there still."""
        found, clock = [], time.monotonic()
        for line in range(self.lines):
            start = line * LINE_BYTES
            process, since, length = LINE.unpack_from(self.memory, start)
            if since:
                name = self.memory[start + LINE.size : start + LINE.size + length]
                found.append(Reading(process, os.fsdecode(name), clock - since))
        return sorted(found, key=lambda r: -r.seconds)

    def end(self) -> None:
        """Kill the processes: one that is frozen hears nothing else."""
        for line in range(self.lines):
            process, _, _ = LINE.unpack_from(self.memory, line * LINE_BYTES)
            if process:
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)


#: For a process that nobody waits for.
BLANK = Board(0)


def patience() -> float:
    """For how many seconds a file may be read."""
    return float(os.environ.get("RESIDUA_PATIENCE", PATIENCE_SECONDS))


def awaited(future: "Future[Any]", board: Board) -> Any:
    """What a process makes. Raises Frozen, all of them killed, where one reads a file for longer than `patience`."""
    limit = patience()
    while True:
        try:
            return future.result(min(10.0, limit / 4))
        except TimeoutError:
            if future.done():  # it is the process's own
                raise
        frozen = [r for r in board.now() if r.seconds > limit]
        if frozen:
            board.end()
            raise Frozen(
                f"{shown(frozen[0].path)}: not read after {frozen[0].seconds:.0f} seconds: is its disk or network "
                f"share gone? Set RESIDUA_PATIENCE to more seconds to wait longer"
            )


def why_died(board: Board) -> str:
    """What to say of processes that are gone: the file that kills whoever reads it, where it is one."""
    reading = [r.path for r in board.now()]
    if deadly := culprit(reading):
        return f"{shown(deadly)}: {KILLED}: take it out"
    among = f" while reading {shown(reading[0])}" if len(reading) == 1 else ""
    return f"a data worker died{among}, most likely for want of (shared) memory: try fewer --workers"


def culprit(paths: Sequence[str]) -> str | None:
    """The first of some files that kills a process of its own; None where none does."""
    for path in paths:
        with ProcessPoolExecutor(1, get_context("fork")) as pool, suppress(BadPicture):
            try:
                pool.submit(tried, path).result()
            except BrokenProcessPool:
                return path
    return None


def tried(path: str) -> None:
    """Decode a file, to see what happens."""
    decode(path)
