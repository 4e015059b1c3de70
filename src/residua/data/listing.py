"""What a folder or table names, before any file is opened: a million files in some tens of bytes each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from residua.data.compact import (
    REMEMBERED,
    Coded,
    Coding,
    Compact,
    FileNames,
    FilePaths,
    GrowingNames,
    Rows,
)
from residua.data.dataset import Indices, Skipped
from residua.data.decode import Place
from residua.data.shards.members import Members


@dataclass(frozen=True)
class Record:
    """A labelled file: its name within the data, where it lies, its class, its split, and its group if it has one."""

    name: str
    path: Place
    label: str
    split: str
    group: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Files(Compact[Record]):
    """Labelled files: their names below `root`, and the class, split and group of each ("" for none).

    Where they are members of shards, `members` says which; their names are then those that they had before.
    """

    root: str
    names: FileNames
    labels: Coded
    splits: Coded
    groups: Coded
    members: Members | None = None

    def __len__(self) -> int:
        """How many."""
        return len(self.names)

    @property
    def paths(self) -> FilePaths | Members:
        """Where they lie."""
        return FilePaths(self.root, self.names) if self.members is None else self.members

    def chunk(self, rows: Rows) -> list[Record]:
        """The files at `rows`."""
        words = (part.chunk(rows) for part in (self.labels, self.splits, self.groups))
        return [Record(*row) for row in zip(self.names.chunk(rows), self.paths.chunk(rows), *words, strict=True)]

    def take(self, indices: npt.ArrayLike) -> "Files":
        """The files at `indices`."""
        labels, splits, groups = (part.take(indices) for part in (self.labels, self.splits, self.groups))
        members = None if self.members is None else self.members.take(indices)
        return Files(self.root, self.names.take(indices), labels, splits, groups, members)

    def group_codes(self) -> Indices | None:
        """A number for each file (N,), equal where the group is; a file without one is a group of its own.

        None where no file has a group.
        """
        blank = np.array([not word for word in self.groups.words], dtype=np.bool_)
        alone = blank[self.groups.codes]
        if alone.all():
            return None
        return np.where(alone, len(blank) + np.arange(len(self)), self.groups.codes).astype(np.int64)


class GrowingFiles:
    """Files to be, added one by one."""

    def __init__(self) -> None:
        """Start with none."""
        self.names, self.labels, self.splits, self.groups = GrowingNames(), Coding(), Coding(), Coding()

    def add(self, name: str, label: str, split: str, group: str = "") -> None:
        """Add a file by its name below the root, or by its absolute path."""
        self.names.append(name)
        self.labels.append(label)
        self.splits.append(split)
        self.groups.append(group)

    def __len__(self) -> int:
        """How many so far."""
        return len(self.names)

    def done(self, root: str) -> Files:
        """The files so far, below `root`."""
        return Files(root, self.names.done(), self.labels.done(), self.splits.done(), self.groups.done())


@dataclass(frozen=True, eq=False, repr=False)
class Skips(Compact[Skipped]):
    """Files and rows that are not used, with the reason of each."""

    paths: FileNames
    reasons: Coded

    @staticmethod
    def of(skipped: Iterable[Skipped]) -> "Skips":
        """The same, stored compactly."""
        growing = GrowingSkips()
        for s in skipped:
            growing.add(s.path, s.reason)
        return growing.done()

    def __len__(self) -> int:
        """How many."""
        return len(self.paths)

    def chunk(self, rows: Rows) -> list[Skipped]:
        """Those at `rows`."""
        return [Skipped(p, r) for p, r in zip(self.paths.chunk(rows), self.reasons.chunk(rows), strict=True)]

    def take(self, indices: npt.ArrayLike) -> "Skips":
        """Those at `indices`."""
        return Skips(self.paths.take(indices), self.reasons.take(indices))


class GrowingSkips:
    """Skipped files to be, added one by one."""

    def __init__(self) -> None:
        """Start with none."""
        self.paths, self.reasons = GrowingNames(), Coding(REMEMBERED)

    def add(self, path: str, reason: str) -> None:
        """Add a file or row that is not used, and why."""
        self.paths.append(path)
        self.reasons.append(reason)

    def __len__(self) -> int:
        """How many so far."""
        return len(self.paths)

    def done(self) -> Skips:
        """Those so far."""
        return Skips(self.paths.done(), self.reasons.done())


@dataclass(frozen=True, eq=False)
class Listing:
    """The labelled files of a folder or table `where`, called `name`; what is not used and why; what was decided.

    `advice`, where it is not empty, says why nothing can be trained on them, and what to do. Where an index has told it
    already, `facts` (N,) are what the files say of themselves, `fingerprint` the set's; `classes` is the order of the
    classes, where they have one that is not their names'.
    """

    where: str
    name: str
    files: Files
    skipped: Sequence[Skipped]
    notes: tuple[str, ...]
    advice: str = ""
    classes: tuple[str, ...] = ()
    facts: npt.NDArray[np.void] | None = None
    fingerprint: str = ""
