"""Where pictures in shards lie: a million of them in some tens of bytes each, picklable, opened when they are read."""

import hashlib
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from residua.data.compact import Codes, Compact, Rows, Texts
from residua.data.decode import BadPicture, Stored
from residua.data.shards.read import contents
from residua.data.shards.shard import Shard
from residua.data.shards.store import store

#: A shard that was written less than this many seconds ago may be written again within the same tick of the clock.
SETTLED = 2.0

#: The shards of one window of a remote set's order have about this many bytes together.
WINDOW_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class Member(Stored):
    """One picture in a shard: `size` bytes from `offset`, called `name` there; `crc` is theirs (CRC-32), if known."""

    shard: Shard
    offset: int
    size: int
    crc: int | None
    name: str

    def __str__(self) -> str:
        """``train-000000.tar:00000017.jpg``, with the way to the shard."""
        return f"{self.shard.place}:{self.name}"

    def read(self) -> bytes:
        """The bytes. Raises DataError for a shard that cannot be read, BadPicture where these are not what they were.

        Damage on the way is not kept: what was fetched of a shard that does not hold what it should is fetched again.
        """
        data = contents(self.shard, self.offset, self.size)
        if self.crc is not None and zlib.crc32(data) != self.crc:
            data = contents(self.shard, self.offset, self.size, afresh=True)
            if zlib.crc32(data) != self.crc:
                raise BadPicture(str(self), "damaged: its checksum is not the index's: write or fetch the shard again")
        return data

    def identity(self) -> tuple[bytes, bool]:
        """What tells these bytes from any others, and whether the shard is old enough to rely on."""
        shard = self.shard
        words = repr((shard.place, shard.bytes, shard.version, self.offset, self.size, self.crc))
        settled = shard.remote or time.time() - shard.changed > SETTLED
        return hashlib.blake2b(words.encode(errors="surrogateescape"), digest_size=16).digest(), settled


@dataclass(frozen=True, eq=False, repr=False)
class Members(Compact[Member]):
    """Pictures in shards: which one (n,), where in it, how long, and what they are called there.

    `crcs` are None where nobody wrote them down.
    """

    shards: tuple[Shard, ...]
    codes: Codes
    offsets: Rows
    sizes: Rows
    crcs: npt.NDArray[np.uint32] | None
    names: Texts

    def __len__(self) -> int:
        """How many."""
        return len(self.codes)

    def chunk(self, rows: Rows) -> list[Member]:
        """The pictures at `rows`."""
        crcs = [None] * len(rows) if self.crcs is None else self.crcs[rows].tolist()
        where = (self.codes[rows].tolist(), self.offsets[rows].tolist(), self.sizes[rows].tolist())
        columns = zip(*where, crcs, self.names.chunk(rows), strict=True)
        return [Member(self.shards[s], offset, size, crc, name) for s, offset, size, crc, name in columns]

    def take(self, indices: npt.ArrayLike) -> "Members":
        """The pictures at `indices`."""
        rows = np.asarray(indices, dtype=np.int64)
        crcs = None if self.crcs is None else self.crcs[rows]
        codes, offsets, sizes = self.codes[rows], self.offsets[rows], self.sizes[rows]
        return Members(self.shards, codes, offsets, sizes, crcs, self.names.take(rows))

    def followed_by(self, other: "Members") -> "Members":
        """These, then those of another part of the same shards."""
        if self.shards is not other.shards:
            raise ValueError("parts of different shards")
        crcs = None if self.crcs is None or other.crcs is None else np.concatenate([self.crcs, other.crcs])
        names = joined(self.names, other.names)
        codes = np.concatenate([self.codes, other.codes])
        offsets, sizes = np.concatenate([self.offsets, other.offsets]), np.concatenate([self.sizes, other.sizes])
        return Members(self.shards, codes, offsets, sizes, crcs, names)

    @property
    def remote(self) -> bool:
        """Whether they lie far away: an order that leaps from shard to shard would then be slow."""
        return bool(self.shards) and self.shards[0].remote

    def expect(self, rows: Rows) -> None:
        """Have the shards fetched that these, in this order, need first: as many as are gone through at a time."""
        if store().busy:
            return
        few = max(1, len(self) * self.window // len(self.shards))
        codes, first = np.unique(self.codes[rows[:few]], return_index=True)
        store().expect([self.shards[c] for c in codes[np.argsort(first)].tolist()])

    @cached_property
    def window(self) -> int:
        """How many shards are gone through at a time where they lie far away."""
        return window_of(self.shards)


def window_of(shards: Sequence[Shard]) -> int:
    """How many shards are about a gigabyte together, two at least."""
    known = [shard.bytes for shard in shards if shard.bytes > 0] or [WINDOW_BYTES]
    return max(2, WINDOW_BYTES * len(known) // sum(known))


def joined(first: Texts, second: Texts) -> Texts:
    """Those of the first, then those of the second; parts of one whole share its bytes."""
    same = first.blob is second.blob
    starts = np.concatenate([first.starts, second.starts if same else second.starts + len(first.blob)])
    lengths = np.concatenate([first.lengths, second.lengths])
    return Texts(first.blob if same else first.blob + second.blob, starts, lengths)
