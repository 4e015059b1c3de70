"""A shard: a tar file here or far away, and what tells it from another of the same name."""

import os
import stat
from dataclasses import dataclass

from residua.errors import DataError


@dataclass(frozen=True)
class Shard:
    """A tar file at a path or an address, called `name` within its data, of so many `bytes` (-1: not known).

    Its samples are of one `split`.
    `version` tells it from another that lies there at another time, as far as its keeper says; `changed` is the time
    of its last change in seconds since 1970, 0 where that is not known.
    """

    place: str
    name: str
    bytes: int
    split: str
    remote: bool
    version: str = ""
    changed: float = 0.0

    @staticmethod
    def here(path: str, name: str, split: str) -> "Shard":
        """The shard in a file. Raises DataError."""
        path = os.path.abspath(os.path.expanduser(path))
        try:
            about = os.stat(path)
        except OSError as e:
            raise DataError(f"{told(path)}: {(e.strerror or str(e)).lower()}: is the set complete?") from e
        if not stat.S_ISREG(about.st_mode):  # a pipe would block for ever
            raise DataError(f"{told(path)}: not a regular file")
        times = about.st_mtime_ns, about.st_ctime_ns
        return Shard(path, name, about.st_size, split, False, version_of(about), max(times) / 1e9)


def version_of(about: os.stat_result) -> str:
    """What changes when a file does."""
    return f"{about.st_ino}:{about.st_mtime_ns}:{about.st_ctime_ns}"


def unchanged(shard: Shard, about: os.stat_result) -> bool:
    """Whether a shard here is still what it was; another name or other rights (ctime) change nothing in it."""
    return about.st_size == shard.bytes and shard.version.startswith(f"{about.st_ino}:{about.st_mtime_ns}:")


def told(place: str) -> str:
    """A place fit for one line of a message; what an address holds of secrets stays out of it."""
    head, mark, _ = place.partition("?") if "://" in place else (place, "", "")
    if "://" in head and "@" in head.split("://", 1)[1].partition("/")[0]:
        scheme, rest = head.split("://", 1)
        head = f"{scheme}://...@{rest.partition('@')[2]}"
    head += "?..." if mark else ""
    return head if head.isprintable() else ascii(head)
