"""The bytes of a part of a shard: from a file here, from what was fetched of one far away, or from there directly."""

import os
from functools import lru_cache
from typing import Any

from residua.data.shards.handle import Handle, whole
from residua.data.shards.shard import Shard, told, unchanged
from residua.data.shards.store import store
from residua.errors import DataError

#: Shards that a process holds open.
OPEN = 64


def contents(shard: Shard, offset: int, size: int, *, afresh: bool = False) -> bytes:
    """`size` bytes of a shard from `offset`; `afresh` mistrusts what was kept of it. Raises DataError."""
    if shard.remote:
        return store().read(shard, offset, size, afresh=afresh)
    try:
        handle = _handle(shard, os.getpid())
        if not unchanged(shard, os.fstat(handle.descriptor)):
            raise OSError("it changed since it was opened: begin again")
        return whole(handle.read(offset, size), shard, size)
    except OSError as e:
        raise DataError(f"{told(shard.place)}: {(e.strerror or str(e)).lower()}") from e


@lru_cache(maxsize=OPEN)
def _handle(shard: Shard, process: Any) -> Handle:
    """The open file of a shard, one for each process."""
    return Handle(shard.place)
