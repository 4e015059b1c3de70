"""report.html of a cross-validation: mean and spread over the folds, every fold, and all answers out of fold pooled."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from residua.errors import DataError
from residua.report import say
from residua.report.confusion import matrix_of, most_confused
from residua.report.files import RunFiles
from residua.report.page import PAIRS, PAIRS_ALONE, TABLE_CLASSES, class_rows, table_of
from residua.report.rendering import rendered
from residua.report.scores import pair

#: The figures of a fold that have a column, in this order, and how each is written.
FIGURES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "top1_error": ("test error", say.percent),
    "macro_f1": ("macro F1", lambda v: f"{v:.3f}"),
    "balanced_accuracy": ("balanced accuracy", say.percent),
    "ece": ("calibration error", say.percent),
    "loss": ("log loss", lambda v: f"{v:.3f}"),
    "seconds": ("trained in", say.duration),
}
#: What lies beside the page and is worth a link, and what it is.
BESIDE = {
    "label_errors.html": "labels that are likely wrong, to look at",
    "label_errors.csv": "the same as a table",
    "predictions.csv": "every image's answer by the net that had not seen it",
}


def folds_page(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a cross-validation, from its folds.json, and return its path.

    Raises DataError if there is no folds.json, it cannot be read, or the page cannot be written.
    """
    return rendered(
        "folds.html.j2",
        folder / "report.html",
        content(folder, _document(folder)),
        sheets=("sections.css", "compare.css"),
    )


def _document(folder: Path) -> dict[str, Any]:
    path = folder / "folds.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"'{folder}' is no cross-validation: it has no folds.json") from None
    except (OSError, ValueError) as e:
        raise DataError(f"cannot read {path}: {getattr(e, 'strerror', None) or e}") from e
    if not isinstance(found, dict):
        raise DataError(f"{path} is not what a cross-validation writes")
    return found


def content(folder: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the template says, by name."""
    rows = [f for f in _list(found.get("folds")) if isinstance(f, dict)]
    pooled = _mapping(found.get("pooled"))
    files = _pooled(folder, pooled, found.get("classes"))
    matrix = matrix_of(files)
    table = matrix is not None and len(matrix.classes) <= TABLE_CLASSES
    words = [w for w in FIGURES if any(say.number(r.get(w)) is not None for r in rows)]
    mean, std = _mapping(found.get("mean")), _mapping(found.get("std"))
    return {
        "run": folder.resolve().name,
        "k": len(rows) or say.count(found.get("k")),
        "data": say.label(PurePath(str(found.get("data") or "")).name),
        "pooled": _figure(pooled),
        "spread": {w: (_write(w, mean.get(w)), _write(w, std.get(w))) for w in words if w in mean},
        "heads": [(w, FIGURES[w][0]) for w in words],
        "folds": [_fold(folder, i, r, words) for i, r in enumerate(rows, 1)],
        "dots": _dots(rows, mean),
        "matrix": table_of(matrix) if matrix and table else None,
        "confused": most_confused(matrix, PAIRS if table else PAIRS_ALONE) if matrix else [],
        "classes": class_rows(files),
        "beside": [(name, said) for name, said in BESIDE.items() if (folder / name).is_file()],
    }


def _fold(folder: Path, position: int, row: Mapping[str, Any], words: list[str]) -> dict[str, Any]:
    """A row of the table of folds; its page is linked where it is there and inside the folder."""
    run = str(row.get("run") or f"fold-{position}")
    page = folder / run / "report.html"
    inside = page.resolve().is_relative_to(folder.resolve()) and page.is_file()
    n, wrong = say.number(row.get("n")), say.number(row.get("wrong"))
    return {
        "name": f"fold {say.figures(row.get('fold', position))}",
        "link": quote(f"{page.resolve().relative_to(folder.resolve()).as_posix()}") if inside else None,
        "n": n,
        "wrong": wrong,
        "values": [(say.number(row.get(w)), _write(w, row.get(w))) for w in words],
    }


def _figure(pooled: Mapping[str, Any]) -> dict[str, Any] | None:
    """The pooled error with its interval."""
    error, n, wrong = (say.number(pooled.get(k)) for k in ("top1_error", "n", "wrong"))
    if error is None:
        return None
    low, high = pair(pooled.get("interval"))
    return {"error": error, "n": n, "wrong": wrong, "low": low, "high": high}


def _dots(rows: list[dict[str, Any]], mean: Mapping[str, Any]) -> dict[str, Any] | None:
    """Every fold's error and their mean on one line, from 0 to a round number above the largest."""
    errors = [e for r in rows if (e := say.number(r.get("top1_error"))) is not None]
    if not errors:
        return None
    top = next(t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if t >= max(errors) or t == 1.0)
    middle = say.number(mean.get("top1_error"))
    return {
        "top": say.percent(top, 1),
        "at": [100 * min(e / top, 1) for e in errors],
        "mean": None if middle is None else 100 * min(middle / top, 1),
        "said": ", ".join(say.percent(e) for e in errors),
    }


def _write(word: str, value: Any) -> str:
    number = say.number(value)
    return say.UNKNOWN if number is None else FIGURES[word][1](number)


def _pooled(folder: Path, pooled: Mapping[str, Any], classes: Any) -> RunFiles:
    """The pooled answers in the form of a run's evaluation."""
    empty: dict[str, Any] = {}
    return RunFiles(
        folder=folder,
        config="",
        environment=empty,
        decisions=[],
        steps=[],
        epochs=[],
        gradients=[],
        units=[],
        evaluation={"classes": classes, **pooled},
        data_check=empty,
        summary=empty,
        gallery=[],
        mistakes=empty,
        explanations=empty,
        strengths=empty,
        damaged=(),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
