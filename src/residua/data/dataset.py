"""What a data set is: pictures, labels and names, in splits."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from residua.data.compact import taken
from residua.data.decode import Place, decode
from residua.files import encoded

Indices = npt.NDArray[np.int64]


class Images(Protocol):
    """A sequence of pictures."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, i: int, /) -> Tensor:
        """Picture i: uint8 (C, H, W)."""

    def take(self, indices: Indices) -> "Images":
        """The pictures at `indices`, in that order."""


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Pictures of one size in memory: uint8 (N, C, H, W)."""

    array: Tensor

    def __len__(self) -> int:
        """How many."""
        return len(self.array)

    def __getitem__(self, i: int, /) -> Tensor:
        """Picture i: uint8 (C, H, W)."""
        return self.array[i]

    @staticmethod
    def joined(parts: "Sequence[ArrayImages]") -> "ArrayImages":
        """The pictures of all parts, one after the other."""
        return ArrayImages(torch.cat([part.array for part in parts]))

    def take(self, indices: Indices) -> "ArrayImages":
        """A copy of the pictures at `indices`."""
        return ArrayImages(self.array[torch.from_numpy(np.asarray(indices, dtype=np.int64))])


@dataclass(frozen=True, eq=False)
class FileImages:
    """Pictures in files or in members of shards, decoded when they are asked for. `mode` is "RGB" or "L".

    `paths` may be compact.
    """

    paths: Sequence[Place]
    mode: str = "RGB"

    def __len__(self) -> int:
        """How many."""
        return len(self.paths)

    def __getitem__(self, i: int, /) -> Tensor:
        """Picture i: uint8 (C, H, W). Raises BadPicture, a DataError, that names the file."""
        return decode(self.paths[i], self.mode)

    def take(self, indices: Indices) -> "FileImages":
        """The files at `indices`."""
        return FileImages(taken(self.paths, np.asarray(indices, dtype=np.int64)), self.mode)


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures with their labels (N,) and names: a path within the data, or ``digits/17``.

    `groups` (N,) are equal for pictures that belong together (of one patient, say), where the data tell.
    """

    images: Images
    labels: Indices
    names: Sequence[str]
    groups: Indices | None = None

    def __post_init__(self) -> None:
        """Refuse parts of different length."""
        if not len(self.images) == len(self.labels) == len(self.names):
            raise ValueError(f"{len(self.images)} images, {len(self.labels)} labels, {len(self.names)} names")
        if self.groups is not None and len(self.groups) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels, {len(self.groups)} groups")

    def __len__(self) -> int:
        """How many."""
        return len(self.labels)

    def take(self, indices: npt.ArrayLike) -> "Split":
        """The samples at `indices`, in that order."""
        rows = np.asarray(indices, dtype=np.int64)
        groups = None if self.groups is None else self.groups[rows]
        return Split(self.images.take(rows), self.labels[rows], taken(self.names, rows), groups)


@dataclass(frozen=True)
class Skipped:
    """A file or table row that is not used, and why."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Splits "train", "val" and "test", those that exist, over the same classes.

    `side_px` is the side of all pictures where they are equal squares (`same_size`), else the median of the short
    sides. `notes` say what was decided; `fingerprint` does not depend on where the data lie, the seed or the limit.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    channels: int
    side_px: int
    same_size: bool
    skipped: Sequence[Skipped]
    fingerprint: str
    notes: tuple[str, ...]


def fingerprint(parts: Iterable[str | npt.NDArray[np.generic]]) -> str:
    """32 hex digits over the parts in order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = encoded(part) if isinstance(part, str) else np.ascontiguousarray(part).data
        digest.update(memoryview(data).nbytes.to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
