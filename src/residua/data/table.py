"""A CSV or Parquet table of picture files, labels and, if it has them, splits and groups; read row by row."""

import csv
import io
import os
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from residua.data.compact import Rows
from residua.data.dataset import Dataset
from residua.data.files import dataset_of
from residua.data.listing import Files, GrowingFiles, GrowingSkips, Listing, Record, Skips
from residua.data.names import SPLITS, shown
from residua.errors import DataError, UsageError
from residua.files import opened
from residua.words import nearest

#: The names a column may have, in any case. A table needs a path and a label.
COLUMNS = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "class", "target"),
    "split": ("split",),
    "group": ("group",),
}
NEEDED = ("path", "label")

#: A header is not longer than this many characters: a file without any line end is no table.
HEADER = 2**20

#: Rows of a Parquet table that are read at a time.
BATCH = 8192

Row = Sequence[str]

#: The rows of a table: the cells of the columns that are asked for.
Reader = Callable[[Sequence[str]], Iterator[Row]]


def open_table(spec: str) -> Dataset:
    """The pictures that a table names, relative to its folder. Rows that cannot be used are skipped with the reason.

    Raises DataError for a table that cannot be read, lacks a column, or leaves nothing.
    """
    return dataset_of(list_table(spec))


def list_table(spec: str) -> Listing:
    """The files that a table names, none of them opened. Raises DataError where it cannot be read or lacks a column."""
    path = Path(spec).expanduser().absolute()
    header, read = read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path)
    columns = [column(spec, header, what) for what in COLUMNS]
    rows = read(columns)
    if not columns[2]:
        rows = ((file, label, "train", group) for file, label, _, group in rows)
    files, skipped, notes = read_rows(str(path.parent), rows)
    if other := [shown(h) for h in header if h not in columns]:
        notes.append(f"columns not used: {', '.join(other)}")
    return Listing(spec, path.stem, files, skipped, tuple(notes))


def column(spec: str, header: Sequence[str], what: str) -> str:
    """The table's column for path, label, split or group; "" for none. Raises DataError if missing or not clear."""
    found = [h for h in header if h.strip().lower() in COLUMNS[what]]
    if len(found) > 1:
        raise DataError(f"{shown(spec)}: which column is the {what}: {', '.join(map(shown, found))}? Rename the others")
    if not found and what in NEEDED:
        names, has = " or ".join(COLUMNS[what]), ", ".join(map(shown, header)) or "none"
        raise DataError(f"{shown(spec)}: no column for the {what} (named {names}); it has: {has}")
    return found[0] if found else ""


# -- rows -----------------------------------------------------------------------------------------------------------


class Found:
    """What is found while a table is read: files with the row of each, and rows that are not used."""

    def __init__(self, root: str) -> None:
        """Start with nothing; `root` is the table's folder."""
        self.root, self.growing, self.skips = root, GrowingFiles(), GrowingSkips()
        self.numbers, self.hashes, self.turns = array("q"), array("q"), array("q")

    def add(self, number: int, row: tuple[str, str, str, str]) -> None:
        """Add the name, label, split and group of row `number`."""
        self.growing.add(*row)
        self.numbers.append(number)
        self.hashes.append(hash(row[0]))

    def skip(self, turn: int, path: str, reason: str) -> None:
        """Add a file or row that is not used; those of a smaller turn are named first."""
        self.skips.add(path, reason)
        self.turns.append(turn)

    def skipped(self) -> Skips:
        """What is not used, in turn."""
        return self.skips.done().take(np.argsort(np.array(self.turns, dtype=np.int64), kind="stable"))


def read_rows(root: str, rows: Iterator[Row]) -> tuple[Files, Skips, list[str]]:
    """The usable rows, the others, and notes. A file counts once; two labels for one file are no label."""
    found = Found(root)
    number = 1
    for number, row in enumerate(rows, 2):  # as a text editor counts: the header is line 1
        read = read_row(root, *row)
        if isinstance(read, str):
            found.skip(number, f"row {number}", read)
        else:
            found.add(number, read)
    files = found.growing.done(root)
    keep, repeated = once(files, found, last=number)
    kept = files if keep.all() else files.take(np.flatnonzero(keep))
    return kept, found.skipped(), [f"{repeated} repeated rows count once"] if repeated else []


def read_row(root: str, file: str, label: str, split: str, group: str) -> tuple[str, str, str, str] | str:
    """The name, label, split and group of a row, or what is wrong with it."""
    label, word = label.strip(), split.strip().lower()
    if not file.strip():
        return "no path"
    if not label:
        return "no label"
    if word not in SPLITS:
        return unknown_split(word)
    path = os.path.normpath(os.path.join(root, file))
    inside = root if root.endswith(os.sep) else root + os.sep
    name = path[len(inside) :] if path.startswith(inside) else path
    return name.replace(os.sep, "/"), label, SPLITS[word], group.strip()


@lru_cache(maxsize=1024)
def unknown_split(word: str) -> str:
    """What to say of a word that is no split: a million rows may have the same one."""
    near = nearest(word, SPLITS)
    return f"unknown split '{shown(word)}'" + (f": did you mean {near[0]}?" if near else ": use train, val or test")


def once(files: Files, found: Found, last: int) -> tuple[npt.NDArray[np.bool_], int]:
    """Which files to keep (N,) so that each is there once, and how many rows say what an earlier one said.

    Rows that contradict an earlier one are added to what is not used; so are, after all rows (`last`), files with two
    labels. Only rows whose names have equal hashes are compared.
    """
    keep, repeated = np.ones(len(files), np.bool_), 0
    hashes = np.array(found.hashes, dtype=np.int64)
    for _, run in groupby(repeats(files, hashes), key=lambda pair: hashes[pair[1]]):
        torn: dict[int, tuple[int, str]] = {}  # the first row of a file: the turn, and the reason
        for first, row, known, record in run:
            keep[row] = False
            before, number = found.numbers[first], found.numbers[row]
            if known.label != record.label:
                keep[first] = False
                labels = f"'{shown(known.label)}' (row {before}) and '{shown(record.label)}' (row {number})"
                torn[first] = torn.get(first, (last + number, ""))[0], f"two labels: {labels}"
            elif (differs := difference(known, record)) != "":
                found.skip(number, record.name, f"row {number}: already in {differs} by row {before}")
            else:
                repeated += 1
        for first, (turn, reason) in torn.items():
            found.skip(turn, files.names[first], reason)
    return keep, repeated


def difference(known: Record, record: Record) -> str:
    """The split or group that a file is in already, where a later row says another; "" where both agree."""
    if known.split != record.split:
        return known.split
    if known.group != record.group:
        return f"group '{shown(known.group)}'" if known.group else "no group"
    return ""


def repeats(files: Files, hashes: Rows) -> Iterator[tuple[int, int, Record, Record]]:
    """Each row whose file an earlier row names: the first such row, the row, and both records."""
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    shared = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    rows = order[shared[: len(order)]]
    firsts: dict[str, tuple[int, Record]] = {}
    run = None
    for row, code, record in zip(rows.tolist(), hashes[rows].tolist(), files.take(rows), strict=True):
        if code != run:
            firsts, run = {}, code
        first, known = firsts.setdefault(record.name, (row, record))
        if first != row:
            yield first, row, known, record


# -- files ----------------------------------------------------------------------------------------------------------


def read_csv(path: Path) -> tuple[list[str], Reader]:
    """The header and the rows of a UTF-8 table, separated by commas, semicolons or tabs. Raises DataError."""
    with readable(path), text(path) as file:
        first = file.readline(HEADER)
        delimiter = max(",;\t", key=first.count)
        file.seek(0)
        header = next(csv.reader(file, delimiter=delimiter), [])
    return [h for h in header if h], partial(csv_rows, path, delimiter, header)


def text(path: Path) -> io.TextIOWrapper:
    """A table's text, its line ends as they are. Raises OSError."""
    return io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="")


def csv_rows(path: Path, delimiter: str, header: Sequence[str], columns: Sequence[str]) -> Iterator[Row]:
    """The cells of the columns, row by row; "" for a column without a name and for cells that a row lacks."""
    places = [len(header) - 1 - header[::-1].index(c) if c else -1 for c in columns]
    with readable(path), text(path) as file:
        rows = csv.reader(file, delimiter=delimiter)
        next(rows, None)
        for row in rows:
            if row:
                yield [row[i] if 0 <= i < len(row) else "" for i in places]


def read_parquet(path: Path) -> tuple[list[str], Reader]:
    """The header, and the rows of the columns asked for. Raises UsageError without pyarrow, else as `read_csv`."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise UsageError("reading a Parquet table needs pyarrow: pip install 'residua[parquet]'") from None
    with readable(path), parquet.ParquetFile(path) as file:
        return [str(h) for h in file.schema_arrow.names], partial(parquet_rows, path)


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The cells of the columns as text, row by row; "" for a column without a name."""
    from pyarrow import parquet

    with readable(path), parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH, columns=[c for c in columns if c]):
            cells = [map(text_of, batch.column(c).to_pylist()) if c else [""] * len(batch) for c in columns]
            yield from zip(*cells, strict=True)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what goes wrong in reading a table into a DataError of one line."""
    damaged: tuple[type[Exception], ...] = (OSError, csv.Error, *arrow_errors())
    try:
        yield
    except UnicodeError:
        raise DataError(f"{shown(str(path))}: the table is not UTF-8: save it as 'CSV UTF-8'") from None
    except damaged as e:
        reason = getattr(e, "strerror", None) or (str(e).splitlines() or [""])[0]
        raise DataError(f"{shown(str(path))}: the table cannot be read: {reason}") from e


def arrow_errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises, where it is in use."""
    arrow = sys.modules.get("pyarrow")
    return (arrow.ArrowException,) if arrow else ()


def text_of(value: object) -> str:
    """A cell as text; nothing as "", and 3.0 as "3": whole numbers become fractions where a column has gaps."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
