"""An open file that is read from in parts, by several threads."""

import os
import stat
from threading import Lock

from residua.data.shards.shard import Shard, told
from residua.errors import DataError


class Handle:
    """An open file, closed when the last who reads from it is done. Several threads may read at once."""

    def __init__(self, path: str) -> None:
        """Open it. Raises OSError."""
        self.descriptor, self.turn = -1, Lock()
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        self.about = os.fstat(self.descriptor)
        if not stat.S_ISREG(self.about.st_mode):
            raise OSError("not a regular file")

    def __del__(self) -> None:
        """Close it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from `offset`, fewer at the end of the file. Raises OSError."""
        parts, missing = [], size
        while missing:
            if not (part := self.piece(min(missing, 2**30), offset + size - missing)):
                break
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def piece(self, size: int, offset: int) -> bytes:
        """Some bytes from `offset`. Raises OSError."""
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, size, offset)
        with self.turn:  # Windows: one place in the file for all threads
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            return os.read(self.descriptor, size)


def whole(data: bytes, shard: Shard, size: int) -> bytes:
    """The bytes, if there are as many as there should be. Raises DataError."""
    if len(data) != size:
        raise DataError(f"{told(shard.place)}: cut off: it ends {size - len(data):,} bytes too early: copy it again")
    return data
