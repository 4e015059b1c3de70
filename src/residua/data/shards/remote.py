"""Files far away, through fsspec: in parts, whole, and again where a connection breaks.

Whatever may pass by itself (a connection that is dropped, a server that is overloaded) is tried again after a pause;
then one line says which file, why, and what to do.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOSPC
from typing import Any, TypeVar

from residua.data.shards.layout import protocol
from residua.data.shards.shard import told
from residua.errors import DataError, ResiduaError, UsageError

T = TypeVar("T")

#: Seconds before each further try.
PAUSES: tuple[float, ...] = (0.5, 2.0, 8.0)

#: Seconds for a connection, and between two pieces of a file.
CONNECT, SILENCE = 20.0, 60.0

#: What is read at a time.
PIECE = 2**20

#: Answers of a server that may be others a moment later.
PASSING = (408, 425, 429)

WEB = ("http", "https")


class Short(OSError):
    """Fewer or more bytes came than should have."""


class Past(OSError):
    """A part was asked for that lies behind the end."""


def system(url: str) -> Any:
    """fsspec's file system for an address, of this process. Raises UsageError for a library that is missing."""
    kind = protocol(url)
    try:
        import fsspec
    except ImportError:
        raise UsageError(f"{told(url)}: reading {kind}:// needs fsspec: pip install 'residua[shards]'") from None
    try:
        return fsspec.filesystem(kind, **options(kind))
    except ImportError as e:
        needs = "aiohttp: pip install 'residua[shards]'" if kind in WEB else f"one more library: {first_line(e)}"
        raise UsageError(f"{told(url)}: reading {kind}:// needs {needs}") from None
    except ValueError:
        raise UsageError(f"{told(url)}: '{kind}://' is not known: give https://, s3://, gs:// or a path") from None
    except Exception as e:
        raise DataError(f"{told(url)}: {kind}:// cannot be used: {first_line(e)}") from e


def options(kind: str) -> dict[str, Any]:
    """What a kind of file system is to be told."""
    if kind not in WEB:
        return {}
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE)
    return {"client_kwargs": {"timeout": patience, "trust_env": True}}


def about(url: str) -> tuple[int, str]:
    """Bytes of a file (-1 where its keeper does not say), and what tells this state of it from others. DataError."""
    info = again(url, lambda: system(url).info(url))
    size = info.get("size")
    words = (info.get(word) for word in ("ETag", "etag", "Last-Modified", "LastModified", "mtime", "updated"))
    return int(size) if isinstance(size, int) and size >= 0 else -1, "|".join(str(w) for w in words if w is not None)


def part(url: str, total: int, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` of a file of `total`. Raises DataError, also for a server that cannot give parts."""

    def read() -> bytes:
        with system(url).open(url, "rb", block_size=PIECE, cache_type="none", size=total) as file:
            file.seek(offset)
            data: bytes = file.read(size)
        if not data:
            raise Past
        if len(data) != size:
            raise Short(f"{len(data):,} bytes came instead of {size:,}")
        return data

    return again(url, read)


def small(url: str, most: int) -> bytes | None:
    """A file of at most `most` bytes; None where there is none, or none for us: some stores say no more of what is
    missing. Raises DataError."""

    def read() -> bytes | None:
        try:
            with stream(url) as file:
                return b"".join(pieces(file, most))
        except (FileNotFoundError, PermissionError):
            return None
        except Exception as e:
            if getattr(e, "status", None) in (401, 403, 410):
                return None
            raise

    return again(url, read)


def whole(url: str, path: str, total: int, most: int) -> None:
    """Write a file of `total` bytes (-1: not known, `most` at most) to `path`. Raises DataError."""

    def fetch() -> None:
        came = 0
        with open(path, "r+b") as kept, stream(url) as file:
            for piece in pieces(file, total if total >= 0 else most):
                kept.write(piece)
                came += len(piece)
            kept.truncate()
        if total >= 0 and came != total:
            raise Short(f"{came:,} bytes came instead of {total:,}")

    again(url, fetch)


@contextmanager
def stream(url: str) -> Iterator[Any]:
    """A file to be read from its beginning to its end."""
    block = 0 if protocol(url) in WEB else 16 * PIECE  # 0: one answer for all of it
    size = {"size": -1} if block == 0 else {}  # nothing is asked for beforehand
    file = system(url).open(url, "rb", block_size=block, **size)
    try:
        yield file
    finally:
        file.close()


def pieces(file: Any, most: int) -> Iterator[bytes]:
    """What a file holds, some at a time. Raises Short for more than `most` bytes."""
    came = 0
    while piece := file.read(PIECE):
        came += len(piece)
        if came > most:
            raise Short(f"more than {most:,} bytes come: another file than is named, or an index of other shards")
        yield piece


def again(url: str, do: Callable[[], T]) -> T:
    """What `do` gives, tried a few times. Raises DataError that names the file, why it cannot be read, what to do."""
    for pause in (*PAUSES, None):
        try:
            return do()
        except ResiduaError:
            raise
        except Exception as e:
            if pause is None or not passing(e):
                raise DataError(f"{told(url)}: {reason(e)}") from e
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def passing(error: Exception) -> bool:
    """Whether the same may go well a moment later."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status >= 500 or status in PASSING
    if isinstance(error, ValueError) and "range requests" in str(error):
        return False
    never = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError, Past)
    return not isinstance(error, never) and getattr(error, "errno", None) != ENOSPC


def reason(error: Exception) -> str:
    """Why a file cannot be read, and what to do, in a few words on one line."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "no such file there: check the address and the numbers in braces"
    if isinstance(error, PermissionError) or status in (401, 403):
        return "it may not be read (forbidden): sign in, or ask whoever keeps it"
    if isinstance(error, ValueError) and "range requests" in str(error):
        return "its server gives no parts of files: let whole shards be kept, with RESIDUA_SHARDS=20G"
    if status == 416 or isinstance(error, Past):
        return "shorter than its index says: it was changed or cut off: write the shards and their index again"
    if isinstance(status, int):
        return f"its server answers {status} ({getattr(error, 'message', '') or 'an error'}): try again later"
    if isinstance(error, Short):
        return f"{error}; tried {len(PAUSES) + 1} times"
    if isinstance(error, OSError) and error.errno == ENOSPC:
        return "no space left on the disk for fetched shards: RESIDUA_SHARDS=SIZE takes less"
    return f"it cannot be read ({type(error).__name__}: {first_line(error)}): is the network up? Try again"


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
