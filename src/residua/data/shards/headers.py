"""What lies in a tar file, by its headers alone: regular files, their names and places. Names are data, never paths.

Nothing is unpacked, and nothing else than a regular member is looked at: no link, device, folder or sparse file. A
hostile file ends in one line: headers longer than any real one are refused before they are read.
"""

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from residua.data.shards.shard import told
from residua.errors import DataError

#: Headers of one member take less than this many bytes together: a name may be long, but not like this.
HEADERS = 2**18

#: A label takes less than this, a picture less than that.
LABEL, PICTURE = 2**20, 2**30

#: The key of a member, and its ending: all from the first dot of its last part, as WebDataset cuts it.
NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)

#: What tarfile may raise on what is no tar file.
TORN = (tarfile.TarError, OSError, ValueError, OverflowError, IndexError, RecursionError, EOFError, MemoryError)


@dataclass(frozen=True)
class Entry:
    """A regular file in a tar file: its name, where its bytes begin, and how many they are."""

    name: str
    offset: int
    size: int


class Guarded:
    """A file of which tarfile may read no more than HEADERS bytes a member."""

    def __init__(self, file: IO[bytes]) -> None:
        """Begin with all that is allowed."""
        self.file, self.left = file, HEADERS

    def read(self, size: int) -> bytes:
        """So many bytes. Raises ValueError beyond what is allowed."""
        self.left -= size
        if size < 0 or self.left < 0:
            raise ValueError("a header longer than any real one")
        return self.file.read(size)

    def seek(self, place: int) -> int:
        """Go to a place."""
        return self.file.seek(place)

    def tell(self) -> int:
        """Where we are."""
        return self.file.tell()


def entries(file: IO[bytes], length: int, where: str) -> Iterator[Entry]:
    """The regular files in a tar file of `length` bytes, in order. Raises DataError where it is damaged or cut off."""
    guarded, at = Guarded(file), -1
    with torn(where):
        tar = tarfile.open(fileobj=guarded, mode="r:", errors="surrogateescape")  # type: ignore[call-overload]  # noqa: SIM115
        while (member := tar.next()) is not None:
            guarded.left = HEADERS
            tar.members = []  # it would keep a million of them
            if tar.offset <= at:
                raise tarfile.ReadError("a member that cannot be")
            at = tar.offset
            if member.issparse() or member.type not in tarfile.REGULAR_TYPES:
                continue
            if not 0 <= member.size <= length - member.offset_data:
                raise tarfile.ReadError("it was cut off, or a member says that it is larger than the file")
            yield Entry(member.name, member.offset_data, member.size)
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0") or tar.offset + tarfile.BLOCKSIZE > length:
            raise tarfile.ReadError("it was cut off, or is damaged")


@contextmanager
def torn(where: str) -> Iterator[None]:
    """Turn what goes wrong in reading a tar file into a DataError of one line."""
    try:
        yield
    except TORN as e:
        first = (str(e).splitlines() or [""])[0] or type(e).__name__
        raise DataError(f"{told(where)}: not a whole tar file ({first}): copy or write it again") from e


def key_of(name: str) -> tuple[str, str]:
    """The key of a member, and its ending in lower case; ("", "") for one that is no part of a sample."""
    match = NAME.fullmatch(name)
    return (match[1], match[2].lower()) if match else ("", "")
