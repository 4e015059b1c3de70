"""A CSV or Parquet table of picture files, labels and, if it has them, splits."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from residua.data.dataset import Dataset, Skipped
from residua.data.files import Record, dataset_of
from residua.data.names import SPLITS, shown
from residua.errors import DataError, UsageError
from residua.words import nearest

#: The names a column may have, in any case; the first that the table has is taken.
COLUMNS = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "class", "target"),
    "split": ("split",),
}

Row = Mapping[str, str]


def open_table(spec: str) -> Dataset:
    """The pictures that a table names, relative to its folder. Rows that cannot be used are skipped with the reason.

    Raises DataError for a table that cannot be read, lacks a column, or leaves nothing.
    """
    path = Path(spec).expanduser().absolute()
    header, rows = read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path)
    columns = {what: column(spec, header, what) for what in COLUMNS}
    records, skipped, notes = read_rows(path.parent, rows, columns)
    if other := [shown(h) for h in header if h not in columns.values()]:
        notes.append(f"columns not used: {', '.join(other)}")
    dataset = dataset_of(spec, path.stem, records, skipped)
    return replace(dataset, notes=(*dataset.notes, *notes))


def column(spec: str, header: Sequence[str], what: str) -> str:
    """The table's column for path, label or split ("" for no split). Raises DataError if it is missing or not clear."""
    found = [h for h in header if h.strip().lower() in COLUMNS[what]]
    if len(found) > 1:
        raise DataError(f"{shown(spec)}: which column is the {what}: {', '.join(map(shown, found))}? Rename the others")
    if not found and what != "split":
        names, has = " or ".join(COLUMNS[what]), ", ".join(map(shown, header)) or "none"
        raise DataError(f"{shown(spec)}: no column for the {what} (named {names}); it has: {has}")
    return found[0] if found else ""


def read_rows(
    folder: Path, rows: Sequence[Row], columns: Mapping[str, str]
) -> tuple[list[Record], list[Skipped], list[str]]:
    """The usable rows, the others, and notes. A file counts once; two labels for one file are no label."""
    first: dict[str, tuple[int, Record]] = {}
    skipped: list[Skipped] = []
    torn: dict[str, str] = {}
    repeated = 0
    for number, row in enumerate(rows, 2):  # as a text editor counts: the header is line 1
        record = read_row(folder, row, columns)
        if isinstance(record, str):
            skipped.append(Skipped(f"row {number}", record))
            continue
        before, known = first.setdefault(record.path, (number, record))
        if known.label != record.label:
            torn[record.path] = f"two labels: '{known.label}' (row {before}) and '{record.label}' (row {number})"
        elif known.split != record.split:
            skipped.append(Skipped(record.name, f"row {number}: already in {known.split} by row {before}"))
        elif before != number:
            repeated += 1
    records = [record for path, (_, record) in first.items() if path not in torn]
    skipped += [Skipped(first[path][1].name, reason) for path, reason in torn.items()]
    return records, skipped, [f"{repeated} repeated rows count once"] if repeated else []


def read_row(folder: Path, row: Row, columns: Mapping[str, str]) -> Record | str:
    """The file, label and split of a row, or what is wrong with it."""
    file, label = row[columns["path"]], row[columns["label"]].strip()
    word = row[columns["split"]].strip().lower() if columns["split"] else "train"
    if not file.strip():
        return "no path"
    if not label:
        return "no label"
    if word not in SPLITS:
        near = nearest(word, SPLITS)
        return f"unknown split '{word}'" + (f": did you mean {near[0]}?" if near else ": use train, val or test")
    path = Path(os.path.normpath(folder / file))
    name = path.relative_to(folder) if path.is_relative_to(folder) else path
    return Record(name.as_posix(), str(path), label, SPLITS[word])


def read_csv(path: Path) -> tuple[list[str], list[Row]]:
    """The header and the rows of a UTF-8 table, separated by commas, semicolons or tabs. Raises DataError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        first = text.partition("\n")[0]
        reader = csv.DictReader(
            io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), restval="", restkey=""
        )
        rows: list[Row] = [{k: v for k, v in row.items() if k} for row in reader]
    except UnicodeError:
        raise DataError(f"{shown(str(path))}: the table is not UTF-8: save it as 'CSV UTF-8'") from None
    except (OSError, csv.Error) as e:
        raise DataError(f"{shown(str(path))}: the table cannot be read: {e}") from e
    return [h for h in reader.fieldnames or () if h], rows


def read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    """The header, and the rows of the columns that count. Raises UsageError without pyarrow, else as `read_csv`."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UsageError("reading a Parquet table needs pyarrow: pip install 'residua[parquet]'") from None
    names = [name for group in COLUMNS.values() for name in group]
    try:
        with parquet.ParquetFile(path) as file:
            header = [str(h) for h in file.schema_arrow.names]
            table = file.read([h for h in header if h.strip().lower() in names])
    except (OSError, ArrowException) as e:
        reason = (str(e).splitlines() or [""])[0]
        raise DataError(f"{shown(str(path))}: the table cannot be read: {reason}") from e
    return header, [{k: text_of(v) for k, v in row.items()} for row in table.to_pylist()]


def text_of(value: object) -> str:
    """A cell as text; nothing as "", and 3.0 as "3": whole numbers become fractions where a column has gaps."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
