"""Sequences of a million names that are no million Python objects: bytes end to end, strings made when asked for.

Texts are kept as UTF-8 with `surrogateescape`, so whatever a file system calls a file comes back unchanged.
"""

import os
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import index
from typing import Any, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

Codes = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int64]

#: How many entries are made into objects at a time where all are gone through.
CHUNK = 4096

#: Of how many folders or reasons the number is remembered while a listing grows; later ones may be stored twice.
REMEMBERED = 2**16


class Compact(Sequence[T]):
    """A sequence kept in arrays. It equals a tuple of the same entries; a slice of it is compact too."""

    @abstractmethod
    def chunk(self, rows: Rows) -> list[T]:
        """The entries at `rows`, as objects."""

    @abstractmethod
    def take(self, indices: npt.ArrayLike) -> Self:
        """The entries at `indices`, in that order, by indexing arrays alone."""

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> Self: ...
    def __getitem__(self, i: int | slice) -> T | Self:
        """Entry i, or a part."""
        n = len(self)
        if isinstance(i, slice):
            return self.take(np.arange(*i.indices(n), dtype=np.int64))
        at = index(i) + (n if index(i) < 0 else 0)
        if not 0 <= at < n:
            raise IndexError(f"{i} is not within {n} entries")
        return self.chunk(np.array([at]))[0]

    def __iter__(self) -> Iterator[T]:
        """Every entry, some thousand made at a time."""
        n = len(self)
        for first in range(0, n, CHUNK):
            yield from self.chunk(np.arange(first, min(first + CHUNK, n)))

    def __eq__(self, other: object) -> bool:
        """Whether the entries are the same, also those of a tuple."""
        if not isinstance(other, Compact | tuple):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        """As of a tuple."""
        return hash(tuple(self))

    def __repr__(self) -> str:
        """The first few, and how many."""
        more = ", ..." if len(self) > 3 else ""
        return f"<{len(self)} {type(self).__name__}: {', '.join(map(repr, self[:3]))}{more}>"


@dataclass(frozen=True, eq=False, repr=False)
class Texts(Compact[str]):
    """Texts in one `blob`: entry i is the `lengths[i]` bytes from `starts[i]`. Parts of it share the blob."""

    blob: bytes
    starts: Rows
    lengths: Codes

    @staticmethod
    def of(texts: Iterable[str]) -> "Texts":
        """The texts, stored compactly."""
        growing = GrowingTexts()
        for text in texts:
            growing.append(text)
        return growing.done()

    def __len__(self) -> int:
        """How many."""
        return len(self.starts)

    def chunk(self, rows: Rows) -> list[str]:
        """The texts at `rows`."""
        starts = self.starts[rows]
        both = zip(starts.tolist(), (starts + self.lengths[rows]).tolist(), strict=True)
        return [self.blob[a:b].decode("utf-8", "surrogateescape") for a, b in both]

    def take(self, indices: npt.ArrayLike) -> "Texts":
        """The texts at `indices`."""
        rows = np.asarray(indices, dtype=np.int64)
        return Texts(self.blob, self.starts[rows], self.lengths[rows])

    def ends_with(self, ending: str) -> npt.NDArray[np.bool_]:
        """Whether each text ends with a lower-case ASCII `ending`, in any case: (N,)."""
        wanted = np.frombuffer(ending.encode(), np.uint8)
        found = np.zeros(len(self), dtype=np.bool_)
        every = np.frombuffer(self.blob, np.uint8)
        for first in range(0, len(self), 2**16):
            lengths = self.lengths[first : first + 2**16]
            long = np.flatnonzero(lengths >= len(wanted))
            last = self.starts[first + long] + lengths[long]
            tails = every[last[:, None] + np.arange(-len(wanted), 0)]
            tails = np.where((tails >= ord("A")) & (tails <= ord("Z")), tails + 32, tails)
            found[first + long] = (tails == wanted).all(axis=1)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with the bytes that are used alone: a part of a large blob is sent to workers as a small one."""
        if int(self.lengths.sum()) == len(self.blob):
            return Texts, (self.blob, self.starts, self.lengths)
        both = zip(self.starts.tolist(), (self.starts + self.lengths).tolist(), strict=True)
        return Texts, (b"".join(self.blob[a:b] for a, b in both), starts_of(self.lengths), self.lengths)


class GrowingTexts:
    """Texts to be, appended one by one."""

    def __init__(self) -> None:
        """Start with none."""
        self.blob, self.lengths = bytearray(), array("i")

    def append(self, text: str) -> None:
        """Add a text at the end."""
        data = text.encode("utf-8", "surrogateescape")
        self.blob += data
        self.lengths.append(len(data))

    def __len__(self) -> int:
        """How many so far."""
        return len(self.lengths)

    def done(self) -> Texts:
        """The texts so far."""
        lengths = numbers(self.lengths)
        return Texts(bytes(self.blob), starts_of(lengths), lengths)


def starts_of(lengths: Codes) -> Rows:
    """Where texts of these lengths begin when they lie end to end."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return ends - lengths


def numbers(grown: "array[int]") -> Codes:
    """The numbers of a growing array, as a copy that can no longer grow."""
    return np.array(grown, dtype=np.int32)


@dataclass(frozen=True, eq=False, repr=False)
class Coded(Compact[str]):
    """Texts of which many are equal: entry i is ``words[codes[i]]``."""

    words: Texts
    codes: Codes

    def __len__(self) -> int:
        """How many entries."""
        return len(self.codes)

    def chunk(self, rows: Rows) -> list[str]:
        """The texts at `rows`; words that are the same are one object."""
        codes = self.codes[rows].tolist()
        few = list(dict.fromkeys(codes))
        words = dict(zip(few, self.words.chunk(np.array(few, dtype=np.int64)), strict=True))
        return [words[c] for c in codes]

    def take(self, indices: npt.ArrayLike) -> "Coded":
        """The texts at `indices`; the words stay as they are."""
        return Coded(self.words, self.codes[np.asarray(indices, dtype=np.int64)])

    def counts(self) -> Rows:
        """How often each word occurs: (words,)."""
        return np.bincount(self.codes, minlength=len(self.words)).astype(np.int64)


class Coding:
    """Texts as small numbers, given in the order of their first appearance.

    With `most`, no more texts than that are remembered: one that comes after them is stored each time it follows
    another. What comes back is the same; only "one text, one number" then no longer holds.
    """

    def __init__(self, most: int | None = None) -> None:
        """Start with none."""
        self.words, self.codes, self.most = GrowingTexts(), array("i"), most
        self.known: dict[str, int] = {}
        self.last: tuple[str, int] = ("", -1)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        if self.last[0] != text or self.last[1] < 0:
            self.last = text, self.number(text)
        self.codes.append(self.last[1])

    def number(self, text: str) -> int:
        """The number of a text, a new one where it is not known."""
        found = self.known.get(text)
        if found is None:
            found = len(self.words)
            self.words.append(text)
            if self.most is None or len(self.known) < self.most:
                self.known[text] = found
        return found

    def done(self) -> Coded:
        """The texts so far."""
        return Coded(self.words.done(), numbers(self.codes))


@dataclass(frozen=True, eq=False, repr=False)
class FileNames(Compact[str]):
    """Names of files: the folder, with its ``/`` at the end, and what is called so in it, each folder stored once."""

    folders: Coded
    ends: Texts

    def __len__(self) -> int:
        """How many."""
        return len(self.ends)

    def chunk(self, rows: Rows) -> list[str]:
        """The names at `rows`."""
        return [f + e for f, e in zip(self.folders.chunk(rows), self.ends.chunk(rows), strict=True)]

    def take(self, indices: npt.ArrayLike) -> "FileNames":
        """The names at `indices`."""
        return FileNames(self.folders.take(indices), self.ends.take(indices))


class GrowingNames:
    """Names of files to be, appended one by one."""

    def __init__(self) -> None:
        """Start with none."""
        self.folders, self.ends = Coding(REMEMBERED), GrowingTexts()

    def append(self, name: str) -> None:
        """Add a name at the end."""
        cut = name.rfind("/") + 1
        self.folders.append(name[:cut])
        self.ends.append(name[cut:])

    def __len__(self) -> int:
        """How many so far."""
        return len(self.ends)

    def done(self) -> FileNames:
        """The names so far."""
        return FileNames(self.folders.done(), self.ends.done())


@dataclass(frozen=True, eq=False, repr=False)
class FilePaths(Compact[str]):
    """Where files lie: their names below a root; a name that is an absolute path is that path."""

    root: str
    names: FileNames

    def __len__(self) -> int:
        """How many."""
        return len(self.names)

    def chunk(self, rows: Rows) -> list[str]:
        """The paths at `rows`."""
        return [os.path.join(self.root, name) for name in self.names.chunk(rows)]

    def take(self, indices: npt.ArrayLike) -> "FilePaths":
        """The paths at `indices`."""
        return FilePaths(self.root, self.names.take(indices))


def taken(texts: Sequence[T], rows: Rows) -> Sequence[T]:
    """The entries at `rows`: of a compact sequence a compact one, else a tuple."""
    return texts.take(rows) if isinstance(texts, Compact) else tuple(texts[i] for i in rows.tolist())


def joined(first: Sequence[str], second: Sequence[str]) -> Sequence[str]:
    """Those of the first, then those of the second; parts of one listing by joining their arrays alone."""
    if isinstance(first, tuple) and isinstance(second, tuple):
        return first + second
    if isinstance(first, FileNames) and isinstance(second, FileNames) and same_listing(first, second):
        codes = np.concatenate([first.folders.codes, second.folders.codes])
        starts = np.concatenate([first.ends.starts, second.ends.starts])
        lengths = np.concatenate([first.ends.lengths, second.ends.lengths])
        return FileNames(Coded(first.folders.words, codes), Texts(first.ends.blob, starts, lengths))
    if isinstance(first, FilePaths) and isinstance(second, FilePaths) and first.root == second.root:
        names = joined(first.names, second.names)
        if isinstance(names, FileNames):
            return FilePaths(first.root, names)
    return Texts.of(chain(first, second))


def same_listing(first: FileNames, second: FileNames) -> bool:
    """Whether both are parts of one listing."""
    return first.ends.blob is second.ends.blob and first.folders.words is second.folders.words
