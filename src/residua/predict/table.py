"""Results as a file: CSV, JSON or Parquet, one row or object a picture."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

from residua.errors import UsageError
from residua.files import cell, escaped, replacing, write_csv
from residua.predict.result import Failure, Prediction, Result

#: Rows that are held before they go into a Parquet file.
PARQUET_ROWS = 4096


def write(results: Iterable[Result], out: str | Path) -> Path:
    """Write results to a .csv, .json or .parquet file, whole or not at all, and return its path.

    One row or object a picture, in order: path, the classes with their probabilities, best first, and `problem`, which
    says why there are none. In CSV, names that a spreadsheet would run are defused, see `files.cell`.
    Raises UsageError for another ending, or if pyarrow is missing for Parquet; DataError if the disk refuses.
    """
    out = Path(out)
    writer = WRITERS.get(out.suffix.lower())
    if writer is None:
        raise UsageError(f"{out}: predictions are written to {', '.join(WRITERS)}, not to '{out.suffix}'")
    writer(results, out)
    return out


def _write_csv(results: Iterable[Result], out: Path) -> None:
    columns, rows = _table(results)
    write_csv(out, columns, ([cell(v) if isinstance(v, str) else v for v in row] for row in rows))


def _write_json(results: Iterable[Result], out: Path) -> None:
    # What is no text in a file name becomes an escape, which is valid in JSON as it is.
    with replacing(out) as temporary, open(temporary, "w", encoding="utf-8") as f:
        f.write("[")
        for i, result in enumerate(results):
            value = asdict(result)
            if isinstance(result, Failure):
                value["problem"] = value.pop("reason")
            f.write(",\n " if i else "\n ")
            f.write(escaped(json.dumps(value, ensure_ascii=False)))
        f.write("\n]\n")


def _write_parquet(results: Iterable[Result], out: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as e:
        raise UsageError(f"{out}: Parquet needs pyarrow: pip install 'residua[parquet]', or write .csv") from e
    columns, rows = _table(results)
    kinds = {c: pyarrow.float32() if c.startswith("probability_") else pyarrow.string() for c in columns}
    schema = pyarrow.schema(list(kinds.items()))
    with replacing(out) as temporary, parquet.ParquetWriter(temporary, schema) as file:
        while part := list(islice(rows, PARQUET_ROWS)):
            values = ([_text(v) for v in column] for column in zip(*part, strict=True))
            file.write_table(pyarrow.table(dict(zip(columns, values, strict=True)), schema=schema))


WRITERS = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}


def _table(results: Iterable[Result]) -> tuple[list[str], Iterator[list[Any]]]:
    """Columns and rows: path, class_1, probability_1, ..., problem; as many classes as the first prediction has."""
    results = iter(results)
    first: list[Result] = []
    for result in results:
        first.append(result)
        if isinstance(result, Prediction):
            break
    k = len(first[-1].classes) if first and isinstance(first[-1], Prediction) else 0
    columns = ["path", *(f"{word}_{rank}" for rank in range(1, k + 1) for word in ("class", "probability")), "problem"]
    return columns, (_row(r, k) for r in chain(first, results))


def _row(result: Result, k: int) -> list[Any]:
    if isinstance(result, Failure):
        return [result.path, *[None] * (2 * k), result.reason]
    pairs = zip(result.classes, result.probabilities, strict=True)
    return [result.path, *(v for c, p in pairs for v in (c, round(p, 6))), None]


def _text(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
