"""Files that are written whole or not at all, and tables that nothing in them can break.

Ground: any room may import it; it imports `errors` only.
"""

import codecs
import csv
import errno
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from residua.errors import DataError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection").
FORMULA = ("=", "+", "-", "@", "\t", "\r")

#: Signs that steer terminals or turn the direction of writing, and halves of signs. JSON escapes only those below 32.
HARMFUL = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

#: Text that people write (recipes, annotations of a picture, names of classes) is not longer than this many bytes.
TEXT_BYTES = 16 * 2**20


def opened(path: str | Path, *, links: bool = True) -> BinaryIO:
    """A file to read. Raises OSError, also for a pipe or device, which would block; without `links` also for a link."""
    mode = os.stat(path, follow_symlinks=links).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    no_link = 0 if links else getattr(os, "O_NOFOLLOW", 0)  # it may have become one meanwhile
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | no_link))


def contents(path: str | Path, most: int = TEXT_BYTES, *, links: bool = True) -> bytes:
    """The bytes of a file. Raises OSError, also where they are more than `most`."""
    with opened(path, links=links) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"more than {most:,} bytes", os.fspath(path))
        return file.read()


def encoded(text: str) -> bytes:
    """UTF-8 that is never refused: bytes of names that are no text as they were, other halves of signs spelled out."""
    return text.encode("utf-8", AS_IT_IS)


def _as_it_is(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes that were no text become those bytes again; half a sign, as JSON can hold it, becomes an escape."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


AS_IT_IS = "residua-as-it-is"
codecs.register_error(AS_IT_IS, _as_it_is)


@contextmanager
def replacing(path: str | Path, before: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    The file is synced first; `before` runs between that and the renaming. Raises DataError where the disk refuses.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        before()
        os.replace(temporary, path)
    except OSError as e:
        raise DataError(f"cannot write {path}: {e.strerror or e}; free some space or choose another place") from e
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: str | Path, *, wait: bool = True) -> Iterator[int | None]:
    """The descriptor of a file, made if need be, that no other process or thread has locked meanwhile.

    None where another has and we do not `wait`. Where the system has no such locks (Windows) nobody is kept apart.
    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield None
                return
        yield descriptor
    finally:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough: a process forked meanwhile holds it open
        os.close(descriptor)


def write(path: str | Path, *parts: bytes | memoryview) -> None:
    """Write the parts, one after the other. Raises DataError where the disk refuses."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.writelines(parts)


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV in UTF-8; bytes of file names that are no text stay as they are.

    Words that a spreadsheet would run are defused (`cell`), numbers written as words are not touched. Lines end in CRLF
    (RFC 4180): with other ends Python leaves a carriage return in a name unquoted.
    """
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors=AS_IT_IS) as file,
    ):
        writer = csv.writer(file)
        writer.writerow(map(_safe, columns))
        writer.writerows(map(_safe, row) for row in rows)


def _safe(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return cell(value)
    return value


def finite(value: Any) -> Any:
    """The value as JSON has a form for: numbers that are not finite become None, arrays lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return finite(value.tolist()) if hasattr(value, "tolist") else value


def escaped(text: str) -> str:
    """A JSON text in which nothing moves a terminal's letters or is refused by UTF-8: \\u and four digits instead."""
    return HARMFUL.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)


def cell(text: str) -> str:
    """A name as a cell of a table: one that begins with ``=``, ``+``, ``-``, ``@``, tab or carriage return gets an
    apostrophe in front, so that no spreadsheet runs it as a formula. Commas, quotes and newlines are the CSV writer's.
    """  # fmt: skip
    return f"'{text}" if text.startswith(FORMULA) else text
