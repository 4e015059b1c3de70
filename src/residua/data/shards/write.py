"""A data set as shards: tar files in WebDataset's layout, the same for the same pictures and seed, and their index.

Samples are shuffled once, so that neighbours are not of one class. A sample is ``00000017.jpg`` (the file's very
bytes), ``00000017.cls`` (the number of its class) and ``00000017.json`` (what its file was called, its class). The
index is written last: a folder without it was interrupted, and is begun again.
"""

import io
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from residua import seeds
from residua.data.compact import GrowingTexts, Rows
from residua.data.dataset import Skipped
from residua.data.decode import BadPicture
from residua.data.shards.index import COLUMNS, NAMED, Index, Part
from residua.data.shards.layout import CLASSES, INDEX, TAR, UNFINISHED
from residua.data.shards.material import Samples
from residua.errors import DataError
from residua.files import locked, replacing, write

#: Pictures that are read at the same time, and how many at a stretch.
READERS, STRETCH = 8, 64

#: What may be removed from a folder that was interrupted: what will be written again.
OURS = re.compile(rf"(train|val|test)-\d{{6}}{re.escape(TAR)}|{re.escape(CLASSES)}|\..+\.tmp")

Moved = Callable[[int], object]


@dataclass(frozen=True)
class Written:
    """The shards, the pictures of each split, what was left out; whether the folder had been interrupted."""

    parts: tuple[Part, ...]
    pictures: dict[str, int]
    skipped: Sequence[Skipped]
    classes: tuple[str, ...]
    begun_again: bool


@dataclass(frozen=True)
class Ready:
    """A picture about to be written: its position among the samples, its bytes, its ending."""

    row: int
    data: bytes
    ending: str


class Growing:
    """What is written so far: which sample each picture is, its shard, offset, size and CRC-32, its name there."""

    def __init__(self, count: int) -> None:
        """Make room for so many pictures."""
        self.table = np.zeros((count, 5), np.int64)
        self.count = 0
        self.members, self.parts = GrowingTexts(), list[Part]()
        self.skipped = list[Skipped]()

    def add(self, ready: Ready, offset: int, member: str) -> None:
        """Add a picture of the shard that is being written."""
        row = ready.row, len(self.parts), offset, len(ready.data), zlib.crc32(ready.data)
        self.table[self.count] = row
        self.count += 1
        self.members.append(member)


def write_shards(
    samples: Samples, folder: Path, *, seed: int = 0, shard_bytes: int = 2**28, moved: Moved = lambda n: None
) -> Written:
    """Write the samples as shards of about `shard_bytes` into a folder that is empty, new, or was interrupted.

    Every byte depends on the pictures, their names and `seed` alone. `moved` hears of pictures that are done.
    Raises DataError where the folder holds anything else, or the disk refuses.
    """
    with begun(folder) as again:
        growing = Growing(len(samples))
        pictures = {}
        for split, rows in samples.splits.items():
            first = growing.count
            order = rows[seeds.generator(seed, "shards", split).permutation(len(rows))]
            write_split(samples, split, ready(samples, order, growing, moved), growing, folder, shard_bytes)
            pictures[split] = growing.count - first
        if not growing.count:
            raise DataError(f"none of the {len(samples)} pictures can be read any more; {growing.skipped[0].reason}")
        index = index_of(samples, growing)
        names = "".join(f"{' '.join(c.split())}\n" for c in samples.classes)
        write(folder / CLASSES, names.encode(errors="surrogateescape"))
        write(folder / INDEX, index.to_bytes())
    skipped = [*samples.skipped, *growing.skipped]
    return Written(index.parts, pictures, skipped, samples.classes, again)


@contextmanager
def begun(folder: Path) -> Iterator[bool]:
    """Begin a folder, and say whether it was begun before; when the block ends well, it is finished. DataError."""
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise DataError(f"{folder} exists and is never overwritten: choose another OUT")
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(entry.name for entry in folder.iterdir())
        if INDEX in found or (found and UNFINISHED not in found):
            raise DataError(f"{folder} exists and is never overwritten: choose another OUT")
        with locked(folder / UNFINISHED, wait=False) as ours:
            if ours is None:
                raise DataError(f"{folder} is being written by another process: choose another OUT")
            for name in found:
                if OURS.fullmatch(name):
                    (folder / name).unlink()
            yield bool(found)
            (folder / UNFINISHED).unlink()
    except OSError as e:
        raise DataError(f"cannot write {folder}: {e.strerror or e}; choose another OUT") from e


def ready(samples: Samples, rows: Rows, growing: Growing, moved: Moved) -> Iterator[Ready]:
    """The pictures at `rows`, in order, read some at a time; those that cannot be read are noted."""

    def read(row: int) -> Ready | BadPicture:
        try:
            return Ready(row, *samples.encoded(row))
        except BadPicture as e:
            return e

    with ThreadPoolExecutor(READERS) as pool:
        for first in range(0, len(rows), STRETCH):
            some = rows[first : first + STRETCH].tolist()
            for row, found in zip(some, pool.map(read, some), strict=True):
                if isinstance(found, Ready):
                    yield found
                else:
                    growing.skipped.append(Skipped(samples.names[row], found.reason))
            moved(len(some))


def write_split(
    samples: Samples, split: str, pictures: Iterator[Ready], growing: Growing, folder: Path, shard_bytes: int
) -> None:
    """Write the shards of a split, each of `shard_bytes` at most, but of one picture at least."""
    key, coming = 0, next(pictures, None)
    while coming is not None:
        name = f"{split}-{sum(p.split == split for p in growing.parts):06d}{TAR}"
        with replacing(folder / name) as part, open(part, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                empty = True
                while coming is not None:
                    members = members_of(samples, coming, f"{key:08d}")
                    length = sum(2 * tarfile.BLOCKSIZE + len(data) for _, data in members)
                    if not empty and tar.offset + length + tarfile.RECORDSIZE > shard_bytes:
                        break
                    growing.add(coming, tar.offset + tarfile.BLOCKSIZE, members[0][0])
                    for member, data in members:
                        put(tar, member, data)
                    key, coming, empty = key + 1, next(pictures, None), False
            bytes_written = file.tell()
        growing.parts.append(Part(name, bytes_written, split))


def members_of(samples: Samples, picture: Ready, key: str) -> list[tuple[str, bytes]]:
    """The members of a sample: the picture, the number of its class, and in words what it was called and shows."""
    label, group = int(samples.labels[picture.row]), samples.groups[picture.row]
    said = {"name": samples.names[picture.row], "class": samples.classes[label], "label": label}
    words = json.dumps(said | ({"group": group} if group else {}))
    return [
        (f"{key}.{picture.ending}", picture.data), (f"{key}.cls", str(label).encode()), (f"{key}.json", words.encode())
    ]  # fmt: skip


def put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a member: of nobody, of no time, so that the same data are the same bytes."""
    about = tarfile.TarInfo(name)
    about.size, about.mode = len(data), 0o644
    tar.addfile(about, io.BytesIO(data))
    tar.members = []  # type: ignore[attr-defined]  # it would keep a million of them


def index_of(samples: Samples, growing: Growing) -> Index:
    """The index of what was written."""
    rows, *where = growing.table[: growing.count].T
    names, facts = samples.names.take(rows), samples.facts[rows]
    words, codes = samples.groups.words, samples.groups.codes[rows]
    blank = np.array([not word for word in words], np.bool_)
    columns: dict[str, Any] = dict(zip(("shard", "offset", "size", "crc"), where, strict=True))
    columns |= {side: facts[side] for side in ("width", "height", "grey")}
    columns |= {"label": samples.labels[rows], "folder": names.folders.codes}
    columns |= {"group": np.where(blank[codes], -1, codes)}
    return Index(
        samples.name, samples.classes, tuple(growing.parts),
        {name: columns[name].astype(kind) for name, kind in COLUMNS.items()}, names, growing.members.done(), words,
        True, tuple([*samples.skipped[:NAMED], *growing.skipped][:NAMED]),
    )  # fmt: skip
