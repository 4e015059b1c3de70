"""Shards from far away, kept whole on the disk while there is room: as many as fit, the least used gone first.

Processes share the folder. A shard is fetched once, under its own lock, written aside at its full length (so that the
room is taken before the bytes come) and renamed. What is read from it is checked by whoever reads. With no room for
some windows of shards, or with RESIDUA_SHARDS=off, pictures are asked for one by one.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Thread

from residua.amounts import size_or_off
from residua.data.cache import home, suitable
from residua.data.shards import remote
from residua.data.shards.handle import Handle
from residua.data.shards.handle import whole as complete
from residua.data.shards.layout import TAR
from residua.data.shards.shard import Shard, told
from residua.errors import DataError, ResiduaError
from residua.files import locked

#: Where room is said, as ``20G`` or ``off``.
ROOM = "RESIDUA_SHARDS"

#: How often the time of use is written down, in seconds.
USED = 30.0

#: Fetched ahead only where so many windows fit: the one in use must not make room for the next.
WINDOWS = 2

TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Shards that residua can fetch again: remove them at any time.\n"


@dataclass
class Store:
    """Fetched shards in `folder`, at most `limit` bytes of them (0: none)."""

    folder: Path
    limit: int
    fetching: Thread | None = None

    def read(self, shard: Shard, offset: int, size: int, *, afresh: bool = False) -> bytes:
        """`size` bytes of a shard from `offset`. Raises DataError."""
        if not self.holds(shard):
            return remote.part(shard.place, shard.bytes, offset, size)
        if afresh:
            with suppress(FileNotFoundError):
                os.unlink(self.path(shard))
        try:
            return complete(self.opened(shard).read(offset, size), shard, size)
        except OSError as e:
            raise DataError(f"{told(shard.place)}, kept in {self.folder}: {(e.strerror or str(e)).lower()}") from e

    def holds(self, shard: Shard) -> bool:
        """Whether the shard is read from a copy here: there is room for it and another."""
        return 2 * max(shard.bytes, 1) <= self.limit

    def path(self, shard: Shard) -> Path:
        """Where a shard is kept."""
        words = repr((shard.place, shard.bytes, shard.version)).encode(errors="surrogateescape")
        return self.folder / f"{hashlib.blake2b(words, digest_size=16).hexdigest()}{TAR}"

    def opened(self, shard: Shard) -> Handle:
        """The kept copy, open, fetched if need be: whoever makes room may remove it a moment later."""
        path = self.path(shard)
        while True:
            try:
                handle = Handle(str(path))
            except FileNotFoundError:
                self.fetch(shard)
                continue
            if time.time() - handle.about.st_mtime > USED:
                with suppress(OSError):
                    os.utime(path)
            return handle

    def fetch(self, shard: Shard, *, wait: bool = True) -> bool:
        """Keep a copy of a shard. False where another process does so and we do not `wait`. Raises DataError."""
        path = self.path(shard)
        part = path.with_suffix(".tmp")
        try:
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
            with locked(path.with_suffix(".lock"), wait=wait) as ours:
                if ours is None or path.exists():
                    return ours is not None
                self.reserve(part, shard)
                try:
                    remote.whole(shard.place, str(part), shard.bytes, self.limit // 2)
                    os.replace(part, path)
                finally:
                    part.unlink(missing_ok=True)
        except OSError as e:
            why = f"cannot keep a shard in {self.folder}: {e.strerror or e}; {ROOM}=off keeps none"
            raise DataError(why) from e
        return True

    def reserve(self, part: Path, shard: Shard) -> None:
        """Begin a file of the shard's length, and remove what was not used for longest until all fits."""
        with locked(self.folder / "room.lock"):
            if not (tag := self.folder / "CACHEDIR.TAG").exists():
                tag.write_text(TAG)
            kept = sorted(self.kept(), key=lambda about: about[1])
            total = sum(size for _, _, size in kept) + max(shard.bytes, 0)
            for place, _, size in kept:
                if total <= self.limit:
                    break
                with suppress(FileNotFoundError):
                    os.unlink(place)
                total -= size
            with open(part, "wb") as file:
                file.truncate(max(shard.bytes, 0))

    def kept(self) -> Iterator[tuple[str, float, int]]:
        """What lies here, whole or on its way: path, time of use, bytes."""
        with os.scandir(self.folder) as found:
            for entry in found:
                if entry.name.endswith((TAR, ".tmp")):
                    with suppress(FileNotFoundError):
                        about = entry.stat()
                        yield entry.path, about.st_mtime, about.st_size

    @property
    def busy(self) -> bool:
        """Whether a shard is being fetched beside the work."""
        return self.fetching is not None and self.fetching.is_alive()

    def expect(self, shards: Sequence[Shard]) -> None:
        """Fetch the first of these that is not here, beside the work; a failure shows when the shard is needed."""
        room = WINDOWS * sum(max(s.bytes, 0) for s in shards) <= self.limit
        if not room or self.busy:
            return
        missing = [s for s in shards if s.remote and self.holds(s) and not self.path(s).exists()]
        if missing:
            self.fetching = Thread(target=self.ahead, args=(missing,), name="residua-shards", daemon=True)
            self.fetching.start()

    def ahead(self, shards: Sequence[Shard]) -> None:
        """Fetch one shard that nobody else fetches."""
        for shard in shards:
            with suppress(ResiduaError):
                if self.fetch(shard, wait=False):
                    return


def store() -> Store:
    """The store of this process, as the environment says now."""
    return _store(os.environ.get(ROOM, ""), str(home().parent / "shards"), os.getpid())


@lru_cache(maxsize=2)
def _store(word: str, folder: str, process: int) -> Store:
    place = Path(folder)
    if word:
        return Store(place, size_or_off(word, ROOM))
    above = next(p for p in (place, *place.parents) if p.is_dir())
    taken = sum(f.stat().st_size for f in place.glob(f"*{TAR}")) if place.is_dir() else 0
    return Store(place, suitable(above, taken))
