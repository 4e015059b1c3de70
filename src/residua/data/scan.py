"""Every file decoded once, in parallel: what each is and what it looks like, or why it cannot be used."""

import io
import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from threading import Thread

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from residua.data.batches import end_with
from residua.data.decode import FORMATS, BadPicture, Place, contents, decode
from residua.data.similar import HASHED_PX, TILE_PX, Pixels, digest, prints
from residua.data.watch import BLANK, KILLED, Board, Frozen, awaited, patience

#: Files to one task of a worker.
CHUNK = 32

#: The tag of EXIF that says how a picture is turned (EXIF 2.32, 4.6.4).
ORIENTATION = 0x0112

#: What is kept of each picture: upright sides in pixels, bytes, hashes, a tiny copy, and what is unusual about it.
LOOK = np.dtype(
    [
        ("width", "u4"), ("height", "u4"), ("bytes", "i8"), ("digest", "u8", (2,)), ("hash", "u8"),
        ("tile", "u1", (TILE_PX, TILE_PX, 3)), ("format", "U8"), ("mode", "U6"), ("grey", "?"), ("flat", "?"),
        ("turned", "?"), ("moving", "?"), ("clear", "?"), ("blank", "?"),
    ]
)  # fmt: skip

Looks = npt.NDArray[np.void]

#: Why a file on which the process that read it ended, or froze, is refused.
FROZEN = "not read within {:g} seconds (is its disk or network share gone?)"


@dataclass(frozen=True, eq=False)
class Scanned:
    """What some neighbouring files are: the position of the first, a look at each, the reason of each unusable one."""

    first: int
    looks: Looks
    reasons: dict[int, str]


def scan(paths: Sequence[Place], workers: int) -> Iterator[Scanned]:
    """A look at each file, some at a time and in order, by `workers` processes (0: this one).

    A file that kills or freezes the process that reads it is named like any other that cannot be used.
    """
    chunks = [(i, min(i + CHUNK, len(paths))) for i in range(0, len(paths), CHUNK)]
    if not workers:
        yield from (look_at_all(paths, first, last) for first, last in chunks)
        return
    done = 0
    while done < len(chunks):
        try:
            for found in pooled(paths, chunks[done:], workers):
                yield found
                done += 1
        except (BrokenProcessPool, Frozen):
            yield one_by_one(paths, *chunks[done])
            done += 1


def pooled(paths: Sequence[Place], chunks: list[tuple[int, int]], workers: int) -> Iterator[Scanned]:
    """The chunks by a pool of processes, in order. Raises BrokenProcessPool where one dies, Frozen where one does."""
    board = Board(workers if sys.platform == "linux" else 0)
    pool, ahead = started(paths, workers, board), 2 * workers
    try:
        pending = deque(pool.submit(work, *chunk) for chunk in chunks[:ahead])
        for n in range(len(chunks)):
            found = awaited(pending.popleft(), board)
            pending.extend(pool.submit(work, *chunk) for chunk in chunks[n + ahead : n + ahead + 1])
            yield found
    finally:
        pool.shutdown(cancel_futures=True)


def one_by_one(paths: Sequence[Place], first: int, last: int) -> Scanned:
    """The files of a chunk in which one killed or froze its process, each in a process that may die of it."""
    parts = []
    board = Board(1 if sys.platform == "linux" else 0)
    pool = started(paths, 1, board)
    for i in range(first, last):
        try:
            parts.append(awaited(pool.submit(work, i, i + 1), board))
        except (BrokenProcessPool, Frozen) as e:
            why = FROZEN.format(patience()) if isinstance(e, Frozen) else KILLED
            parts.append(Scanned(i, np.zeros(1, LOOK), {i: why}))
            board = Board(board.lines)
            pool = started(paths, 1, board)
    pool.shutdown()
    return Scanned(first, np.concatenate([p.looks for p in parts]), {k: v for p in parts for k, v in p.reasons.items()})


def started(paths: Sequence[Place], workers: int, board: Board) -> ProcessPoolExecutor:
    """Processes that know the paths."""
    context = get_context("fork" if sys.platform == "linux" else None)
    with warnings.catch_warnings(action="ignore"):  # of a fork beside threads; the workers use none of them
        pool = ProcessPoolExecutor(workers, context, start_worker, (paths, board, os.getpid()))
        pool.submit(int).result()
    return pool


# -- in a worker ----------------------------------------------------------------------------------------------------

_board = BLANK
_paths: Sequence[Place]  # set once when a worker starts: sent with every task, a million paths would be slow


def start_worker(paths: Sequence[Place], board: Board, parent: int) -> None:
    """Make ready: one thread of torch's, Ctrl-C left to the parent, and an end if the parent is gone."""
    global _paths, _board
    _paths, _board = paths, board
    board.sign()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=end_with, args=(parent,), daemon=True).start()


def work(first: int, last: int) -> Scanned:
    """A look at the files from `first` to `last` (not included)."""
    return look_at_all(_paths, first, last)


def look_at_all(paths: Sequence[Place], first: int, last: int) -> Scanned:
    """A look at the files from `first` to `last` (not included), in this process."""
    looks, reasons = np.zeros(last - first, LOOK), {}
    small = np.zeros((last - first, HASHED_PX, HASHED_PX, 3), np.uint8)
    for n, path in enumerate(paths[first:last]):
        try:
            with _board.reading(path):
                small[n] = look(path, looks[n : n + 1])
        except BadPicture as e:
            reasons[first + n] = e.reason
    printed(looks, small)
    return Scanned(first, looks, reasons)


def printed(looks: Looks, small: Pixels) -> None:
    """Write what small copies (N, 32, 32, 3) look like into the looks (N,)."""
    found = prints(small)
    looks["hash"], looks["tile"], looks["flat"], looks["grey"] = found.hashes, found.tiles, found.flat, found.grey


def look(path: Place, into: Looks) -> Pixels:
    """The picture as (32, 32, 3), and the facts about its file written `into` a row (1,). Raises BadPicture."""
    pixels = decode(path, "RGB").permute(1, 2, 0).numpy()  # as training would: what this finds broken, training does
    into["height"], into["width"] = pixels.shape[:2]
    data = contents(path)
    into["bytes"], into["digest"] = len(data), digest(data)
    with suppress(Exception):  # a later frame or a tag may be damaged, and the picture sound
        facts(Image.open(io.BytesIO(data), formats=FORMATS), into)
    into["blank"] = bool(into["format"] == "JPEG") and ends_blank(pixels)
    return shrunk(pixels)


def facts(image: Image.Image, into: Looks) -> None:
    """What a file says of itself, written into a row."""
    into["format"] = "JPEG" if image.format == "MPO" else image.format
    into["mode"] = image.mode
    into["clear"] = image.has_transparency_data
    into["turned"] = image.getexif().get(ORIENTATION, 1) in range(2, 9)
    into["moving"] = image.format != "MPO" and getattr(image, "is_animated", False)


def ends_blank(pixels: Pixels) -> bool:
    """Whether the lowest eighth or more is one middling colour, under an edge: so decoders fill what is lost."""
    colour = pixels[-1, 0].astype(np.int16)
    if min(pixels.shape[:2]) < 64 or colour.min() < 16 or colour.max() > 239:
        return False
    busy = np.flatnonzero((pixels != pixels[-1, :1]).any((1, 2)))
    if not len(busy) or len(pixels) - busy[-1] <= len(pixels) // 8:
        return False
    above = pixels[max(0, busy[-1] - 8) : busy[-1] + 1].astype(np.int16)
    return bool(np.abs(above - colour).mean() > 16)


def shrunk(pixels: Pixels) -> Pixels:
    """The picture as (32, 32, 3), by the mean over areas."""
    return np.asarray(Image.fromarray(pixels).resize((HASHED_PX, HASHED_PX), Image.Resampling.BOX, reducing_gap=2))


def look_at_array(pixels: npt.NDArray[np.uint8]) -> Looks:
    """A look at pictures in memory (N, C, H, W)."""
    looks = np.zeros(len(pixels), LOOK)
    looks["height"], looks["width"] = pixels.shape[2:]
    looks["mode"] = "L" if pixels.shape[1] == 1 else "RGB"
    resize = partial(np.transpose, axes=(1, 2, 0))
    for i, picture in enumerate(pixels):
        looks["digest"][i] = digest(np.ascontiguousarray(picture).data)
    for first in range(0, len(pixels), 1024):
        some = [np.broadcast_to(resize(p), (*p.shape[1:], 3)) for p in pixels[first : first + 1024]]
        same = pixels.shape[2:] == (HASHED_PX, HASHED_PX)
        small = np.stack([p if same else shrunk(np.ascontiguousarray(p)) for p in some])
        printed(looks[first : first + 1024], small)
    return looks
