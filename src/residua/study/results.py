"""What came out: one row a cell from its run folder, one row a net over its seeds."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from residua import files
from residua.errors import DataError
from residua.study.paper import published
from residua.study.plan import Cell, to_json
from residua.training.run import read_metrics

Row = dict[str, Any]

#: What cells of one net share, whatever their seed.
OF_NET = (
    "net", "series", "kind", "depth", "width", "shortcut", "norm", "drop_depth", "budget", "params", "macs",
)  # fmt: skip
COLUMNS = (
    "name", "net", "kind", "depth", "width", "shortcut", "norm", "drop_depth", "seed", "params", "macs",
    "train_error", "test_error", "n", "wrong", "seconds", "run", "error",
)  # fmt: skip


def run_of(cell: Cell) -> str:
    """Where a cell's run lies in the study's folder."""
    return f"cells/{cell.name}"


def finished(folder: Path, cell: Cell) -> bool:
    """Whether a cell needs no more training: its last file is there."""
    return (folder / run_of(cell) / "evaluation.json").is_file()


def row(folder: Path, cell: Cell) -> Row:
    """A finished cell's result.

    `train_error` is that of the last epoch as training saw it: the mean over its batches, augmented, while the weights
    still changed, as the paper plots it. `test_error` is that of the weights that were kept.
    """
    run = folder / run_of(cell)
    rows = read_metrics(run)
    epochs = [r for r in rows if r.get("event") == "epoch"]
    test, summary = _read(run / "evaluation.json"), _read(run / "summary.json")
    norms = [r for r in rows if r.get("event") == "gradients"]
    return to_json(cell) | {
        "train_error": epochs[-1]["train_error"] if epochs else None,
        "test_error": test["top1_error"],
        "n": test["n"],
        "wrong": test["wrong"],
        "seconds": summary.get("seconds"),
        "gradients": {"first": norms[0]["norms"], "last": norms[-1]["norms"]} if norms else None,
        "run": run_of(cell),
        "error": None,
    }


def _read(path: Path) -> Row:
    try:
        found: Row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DataError(f"{path} is damaged: remove {path.parent}, and its cell is trained again") from e
    return found


def failure(cell: Cell, error: str, exit_code: int) -> Row:
    """A failed cell's row: what it would have been, and why it is not."""
    blank = dict.fromkeys(("train_error", "test_error", "n", "wrong", "seconds", "gradients"))
    return to_json(cell) | blank | {"run": run_of(cell), "error": error, "exit_code": exit_code}


def groups(rows: Iterable[Row], data: str) -> list[Row]:
    """One row a net, in the order of `rows`: mean, standard deviation and range over the seeds that finished."""
    found = []
    for _, same in groupby(rows, key=lambda r: (r["net"], r["series"])):
        cells = list(same)
        done = [c for c in cells if c["error"] is None]
        paper = published(data, cells[0]["net"]) if not cells[0]["drop_depth"] else None
        found.append(
            {k: cells[0][k] for k in OF_NET}
            | {
                "n": len(done),
                "failed": len(cells) - len(done),
                "train_error": spread(done, "train_error"),
                "test_error": spread(done, "test_error"),
                "published": None if paper is None else {"test_error": paper[0], "source": paper[1]},
            }
        )
    return found


def spread(cells: Sequence[Mapping[str, Any]], name: str) -> Row | None:
    """Mean, sample standard deviation (None for one seed) and the values by seed; None without any."""
    values = {str(c["seed"]): c[name] for c in cells if c[name] is not None}
    if not values:
        return None
    numbers = list(values.values())
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    return {"mean": statistics.fmean(numbers), "std": deviation, "values": values}


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """results.json and cells.csv."""
    files.write(
        folder / "results.json", (files.escaped(json.dumps(document, indent=2, ensure_ascii=False)) + "\n").encode()
    )
    rows = [[_plain(c.get(k)) for k in COLUMNS] for c in document["cells"]]
    files.write_csv(folder / "cells.csv", COLUMNS, rows)


def _plain(value: Any) -> Any:
    return "" if value is None else files.cell(value) if isinstance(value, str) else value
