"""Decoded and scaled pictures, kept on disk from one epoch and run to the next.

One file holds one picture, in a folder for each preparation, named by the SHA-256 of the picture file's bytes: a copied
or moved folder finds its pictures again. So that a picture is found without reading its file, the kept file has a
second name (a hard link), made of path, size and times. The time of change (ctime) is among them: no program can put
it back, so a file that was changed is read again even where its size and its other time are what they were.

Runs may share the folder: files appear whole (written aside, then renamed), and what is read is checked every time
(header, length, checksum). Whatever fails the check, cut off, foreign or of another version, is made again. The sum of
the sizes is kept under a lock; when it would pass the limit, what was not used for longest goes first, and never what
was used since this run began: of a set that does not fit, the same part stays, and the rest is decoded anew. Beyond
the limit lies at most the one picture that each process is writing.
"""

import hashlib
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from residua.amounts import gigabytes
from residua.data.decode import BadPicture, Place, Stored, contents
from residua.data.prepare import Pixels, Preparation
from residua.data.watch import BLANK, Board
from residua.files import locked

#: Of the files' layout; a file that tells another is made again.
VERSION = 1
MAGIC = b"residua\n"
#: Magic, version, the three sides as stored, preparation and content (16 bytes each); then comes a checksum of it all.
HEADER = struct.Struct("<8sI3I32s4x")
START = HEADER.size + 4  # a whole number of 64-bit words
ENDING = ".pixels"
#: A file that was touched less than this many seconds ago may change again within the same tick of the clock.
SETTLED = 2.0
#: Clocks of file systems are behind the process's by less than this many seconds.
TICK = 0.05
#: How often the time of use is written down, in seconds.
USED = 600.0
#: Room that is made beyond what is needed, so that it is not looked for at every picture.
SLACK = 1 / 20
#: So that backups leave the folder out (https://bford.info/cachedir/).
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Pictures that residua can make again: remove them at any time.\n"
#: Where nobody says how much: at most this many bytes, and at most this share of what is free on the disk.
USUAL, SHARE = 10 * 2**30, 1 / 4


class Decoding:
    """Pictures that are decoded whenever they are asked for; nothing is kept."""

    told: dict[str, str]  # what happened and should be said once: a word for it, a sentence
    board: Board  # where this process says what it reads

    def __init__(self) -> None:
        """Nothing to say."""
        self.told, self.board = {}, BLANK

    def picture(self, path: Place, mode: str, preparation: Preparation) -> Tensor:
        """The prepared picture of a file: uint8 (C, H, W). Raises BadPicture, which names the file."""
        with self.board.reading(path):
            return self._picture(path, mode, preparation)

    def _picture(self, path: Place, mode: str, preparation: Preparation) -> Tensor:
        return preparation(path, mode)


@dataclass
class Cache(Decoding):
    """Pictures that are kept in `folder`, at most `limit` bytes of them; use `opened`. Each process has its own copy.

    What goes wrong (a full or read-only disk, damage) is put into `told` and otherwise changes nothing but the time
    that it takes: the pictures are those of `Decoding`, bit for bit.
    """

    folder: Path
    limit: int
    began: float
    told: dict[str, str] = field(default_factory=dict)
    board: Board = BLANK

    def _picture(self, path: Place, mode: str, preparation: Preparation) -> Tensor:
        kind = kind_of(preparation, mode)
        known, settled = identity(path)
        second = self.place(kind, known, "files")
        if (pixels := self.load(second, kind)) is None:
            data = contents(path)
            content = hashlib.sha256(data).digest()[:16]
            first = self.place(kind, content, "content")
            if (pixels := self.load(first, kind + content)) is None:
                try:
                    pixels = preparation.stored(preparation(data, mode))
                except BadPicture as e:
                    raise BadPicture(str(path), e.reason) from e
                self.keep(first, pixels, kind + content)
            if settled:
                self.name(first, second)
        return preparation.restored(pixels)

    def place(self, kind: bytes, key: bytes, what: str) -> str:
        """Where a picture lies."""
        name = key.hex()
        return f"{self.folder}/{kind.hex()}/{what}/{name[:2]}/{name}{ENDING}"

    # -- reading ----------------------------------------------------------------------------------------------------

    def load(self, place: str, key: bytes) -> Pixels | None:
        """The pixels of a kept picture, checked; None where there is none, or none that can be used.

        `key` is how the key in the file must begin.
        """
        try:
            with open(place, "rb", buffering=0) as file:
                about = os.fstat(file.fileno())
                pixels = read(file, about.st_size, key)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        except (OSError, ValueError):
            self.told["damaged"] = "some kept pictures were cut off, damaged or of another version"
            with suppress(OSError):
                os.unlink(place)
            return None
        if (now := time.time()) - about.st_mtime > USED or about.st_mtime < self.began:
            with suppress(OSError):  # of another user, say
                os.utime(place, (now, now))
        return pixels

    # -- writing ----------------------------------------------------------------------------------------------------

    def keep(self, place: str, pixels: Pixels, key: bytes) -> None:
        """Keep a picture, if there is room and the disk lets us."""
        if "full" in self.told or "unwritable" in self.told:
            return
        part = f"{place}.{os.getpid()}.tmp"
        header = HEADER.pack(MAGIC, VERSION, *pixels.shape, key)
        try:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            try:
                with open(part, "wb") as file:
                    file.write(header + checksum(pixels, header))
                    file.write(pixels.data)
                if not self.admit(part, place, START + pixels.nbytes):
                    sizes = f"the pictures do not all fit into {gigabytes(self.limit)}"
                    self.told["full"] = f"{sizes}: the same part of them is kept, the others are decoded in every epoch"
            finally:
                with suppress(OSError):
                    os.unlink(part)
        except FileNotFoundError:
            pass  # the folder is being emptied
        except OSError as e:
            self.told["unwritable"] = refused(self.folder, e)

    def name(self, first: str, second: str) -> None:
        """Give a kept picture its second name. Where the file system has no hard links, there is none."""
        part = f"{second}.{os.getpid()}.tmp"
        with suppress(OSError):
            os.makedirs(os.path.dirname(second), exist_ok=True)
            try:
                os.link(first, part)
                os.replace(part, second)
            finally:
                with suppress(OSError):  # replacing does nothing where both are names of one file already
                    os.unlink(part)

    # -- room -------------------------------------------------------------------------------------------------------

    def admit(self, part: str, place: str, size: int) -> bool:
        """Give a file that is written its name, if there is room for its bytes, made if need be; whether there is.

        Files are written before: the disk may be slow, and the lock is everybody's.
        """
        with self.locked() as counter:
            if os.path.exists(place):  # by another process, meanwhile
                return True
            total = _total(counter)
            if total is None or total + size > self.limit:
                total = self.shrink(self.limit - size, [f for f in kept(self.folder) if f.paths != [part]])
            fits = total + size <= self.limit
            if fits:
                os.replace(part, place)
            _count(counter, total + size if fits else total)
        return fits

    def shrink(self, limit: int, found: Sequence["Kept"]) -> int:
        """Of all that is kept, remove what was not used for longest, and not since this run began, down to `limit`.

        Gives the bytes that are left. To be called under the lock.
        """
        total = sum(f.size for f in found)
        if total <= limit:
            return total
        for f in sorted((f for f in found if f.used < self.began), key=lambda f: f.used):
            if total <= limit - int(self.limit * SLACK):
                break
            for path in f.paths:
                with suppress(OSError):
                    os.unlink(path)
            total -= f.size
        return total

    @contextmanager
    def locked(self) -> Iterator[int]:
        """The file that holds the sum of all sizes, locked against others."""
        os.makedirs(self.folder, exist_ok=True)
        with locked(self.folder / "size") as descriptor:
            assert descriptor is not None  # we wait
            yield descriptor


def opened(limit: int | None, folder: str | None = None) -> Cache | Decoding:
    """The user's cache of at most `limit` bytes (None: what suits the disk), counted and cut down to that; 0: none.

    It lies in $RESIDUA_CACHE, or in `residua` of $XDG_CACHE_HOME or ~/.cache; `folder` names another.
    """
    if limit == 0:
        return Decoding()
    cache = Cache(home() if folder is None else Path(folder), limit or 0, time.time() - TICK)
    try:
        os.makedirs(cache.folder, 0o700, exist_ok=True)  # pictures may be private
        (cache.folder / "CACHEDIR.TAG").write_text(TAG)
        with cache.locked() as counter:
            found = list(kept(cache.folder))
            cache.limit = limit or suitable(cache.folder, sum(f.size for f in found))
            _count(counter, cache.shrink(cache.limit, found))
    except OSError as e:
        cache.told["unwritable"] = refused(cache.folder, e)
    return cache


def refused(folder: Path, error: OSError) -> str:
    """Why nothing more is kept."""
    return f"nothing more is kept in {folder}: {(error.strerror or str(error)).lower()}"


def home() -> Path:
    """Where decoded pictures are kept, apart from data sets that were downloaded."""
    own = os.environ.get("RESIDUA_CACHE")
    if own:
        return Path(os.path.expanduser(own), "pictures")
    above = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(above), "residua", "pictures")


def suitable(folder: Path, taken: int) -> int:
    """Bytes that the cache, which has `taken` some, may take: 10 GB, less on a disk with less than four times as much.

    One at least: 0 would mean none.
    """
    return max(1, int(min(USUAL, SHARE * (shutil.disk_usage(folder).free + taken))))


class Kept(NamedTuple):
    """A file of the cache: its names, bytes, and when it was last used."""

    paths: list[str]
    size: int
    used: float


def kept(folder: Path) -> Iterator[Kept]:
    """The files of a cache, and what an interrupted writer left; nothing else that may lie there."""
    found: dict[tuple[int, int], Kept] = {}
    for above, _, names in os.walk(folder):
        for name in names:
            if name.endswith((ENDING, ".tmp")):
                with suppress(OSError):
                    path = os.path.join(above, name)
                    about = os.stat(path)
                    one = found.setdefault((about.st_dev, about.st_ino), Kept([], about.st_size, about.st_mtime))
                    one.paths.append(path)
    yield from found.values()


@lru_cache
def kind_of(preparation: Preparation, mode: str) -> bytes:
    """16 bytes that differ for whatever may change a prepared picture."""
    return hashlib.blake2b(repr((VERSION, *preparation.words(mode))).encode(), digest_size=16).digest()


def identity(path: Place) -> tuple[bytes, bool]:
    """What tells this state of this file from any other, and whether it is old enough to rely on. Raises BadPicture."""
    if isinstance(path, Stored):
        return path.identity()
    try:
        about = os.stat(path)
    except OSError:
        contents(path)  # raises with the reason
        raise
    times = (about.st_mtime_ns, about.st_ctime_ns)
    words = repr((os.path.abspath(path), about.st_ino, about.st_size, *times)).encode(errors="surrogateescape")
    settled = time.time() - max(times) / 1e9 > SETTLED
    return hashlib.blake2b(words, digest_size=16).digest(), settled


def read(file: FileIO, size: int, key: bytes) -> Pixels:
    """The pixels (three axes as stored) of a kept file. Raises ValueError where it is not as it was written.

    Read, not mapped: every page is looked at for the checksum, which is then a third faster, and a file that is cut
    off at this moment cannot end the process (SIGBUS).
    """
    if size < START:
        raise ValueError("shorter than a header")
    data = np.empty(size, np.uint8)
    if file.readinto(data.data) != size:
        raise ValueError("shorter than it was")
    header = data[: HEADER.size].tobytes()
    magic, version, *shape, own = HEADER.unpack(header)
    right = magic == MAGIC and version == VERSION and own.startswith(key)
    if not right or size != START + shape[0] * shape[1] * shape[2]:
        raise ValueError("another header or length than was written")
    pixels = data[START:].reshape(shape)
    if checksum(pixels, header) != data[HEADER.size : START].tobytes():
        raise ValueError("other pixels than were written")
    return pixels


def checksum(pixels: Pixels, header: bytes) -> bytes:
    """Four bytes that other pixels or another header are very unlikely to have, at every reading for little.

    The CRC of the header and of the sums along rows and columns of the pixels as a table of 64-bit words: ten times as
    fast as the CRC of all of them, and any one stretch of changed bytes changes some sum.
    """
    flat = pixels.reshape(-1)
    whole = len(flat) // 2048 * 2048
    table = flat[:whole].view(np.uint64).reshape(-1, 256)
    crc = zlib.crc32(header)
    for part in (table.sum(0, dtype=np.uint64), table.sum(1, dtype=np.uint64), flat[whole:]):
        crc = zlib.crc32(part.data, crc)
    return crc.to_bytes(4, "little")


def _total(counter: int) -> int | None:
    """The sum that the file holds, if it does."""
    os.lseek(counter, 0, os.SEEK_SET)
    text = os.read(counter, 32).strip()
    return int(text) if text.isdigit() else None


def _count(counter: int, total: int) -> None:
    os.lseek(counter, 0, os.SEEK_SET)
    os.truncate(counter, os.write(counter, b"%20d\n" % total))
