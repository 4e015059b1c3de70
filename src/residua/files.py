"""Files that are written whole or not at all, and tables that nothing in them can break.

Ground: any room may import it; it imports `errors` only.
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from residua.errors import DataError

#: What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection").
FORMULA = ("=", "+", "-", "@", "\t", "\r")


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


def write(path: str | Path, *parts: bytes | memoryview) -> None:
    """Write the parts, one after the other. Raises DataError where the disk refuses."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.writelines(parts)


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV in UTF-8; bytes of file names that are no text stay as they are.

    Lines end in CRLF (RFC 4180): with other ends Python leaves a carriage return in a name unquoted.
    """
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def cell(text: str) -> str:
    """A name as a cell of a table: one that begins with ``=``, ``+``, ``-``, ``@``, tab or carriage return gets an
    apostrophe in front, so that no spreadsheet runs it as a formula. Commas, quotes and newlines are the CSV writer's.
    """  # fmt: skip
    return f"'{text}" if text.startswith(FORMULA) else text
