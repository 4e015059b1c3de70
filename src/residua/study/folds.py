"""Cross-validation: as many trainings as folds, each tested on another part of the data, and what they say together.

The folder holds ``config.toml`` and the run folders ``fold-1`` ... ``fold-K``; at the end ``folds.json`` (every fold,
mean and spread, all answers together) and ``predictions.csv``, in which every picture is answered by the one net that
was trained without it. Each fold is a training like any other: alone it would come to the same bits.
"""

import csv
import json
import os
import shlex
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from residua import files
from residua.errors import DataError, Interrupted, UsageError
from residua.evaluate import class_results, wilson
from residua.job import Event, TrainOptions, resumed, train
from residua.job.options import check_changes, to_config
from residua.training.run import check_free, to_toml

#: Figures of a fold of which mean and standard deviation are told, and where its evaluation.json has them.
FIGURES: Mapping[str, tuple[str, ...]] = {
    "top1_error": ("top1_error",),
    "macro_f1": ("macro", "f1"),
    "balanced_accuracy": ("balanced_accuracy",),
    "ece": ("calibration", "ece"),
    "loss": ("loss",),
}


@dataclass(frozen=True)
class Folds:
    """A cross-validation in a folder: what each fold is asked to do, which are trained, and what came of them."""

    folder: Path
    options: TrainOptions

    @property
    def k(self) -> int:
        """How many folds."""
        assert self.options.folds is not None
        return self.options.folds

    def run(self, number: int) -> Path:
        """The run folder of fold `number`, from 1."""
        return self.folder / f"fold-{number}"

    def left(self) -> list[int]:
        """The folds that are not trained and tested yet. A run writes its evaluation.json last."""
        return [i for i in range(1, self.k + 1) if not (self.run(i) / "evaluation.json").is_file()]

    def train(self, number: int) -> Iterator[Event]:
        """Train a fold, or go on with it. Raises what `job.train` raises; Interrupted says how to go on with all."""
        run = self.run(number)
        begun = (run / "config.toml").is_file()
        own = replace(self.options, fold=number, resume=str(run) if begun else None, out=None if begun else str(run))
        try:
            yield from train(own)
        except Interrupted as e:
            reason = str(e).partition(";")[0].partition(", saved")[0]
            again = f"residua train --resume {shlex.quote(str(self.folder))}"
            raise Interrupted(f"fold {number} of {self.k} {reason}, saved; go on with: {again}") from e

    def summarise(self) -> dict[str, Any]:
        """Write folds.json and predictions.csv and return what folds.json holds. Raises DataError for folds without."""
        found = [(i, _document(self.run(i) / "evaluation.json")) for i in range(1, self.k + 1)]
        rows = [self._row(i, f) for i, f in found]
        document = {
            "k": self.k,
            "data": self.options.data,
            "seed": self.options.seed,
            "classes": found[0][1]["classes"],
            "folds": rows,
            "mean": {w: statistics.mean(v) for w in FIGURES if (v := _numbers(rows, w))},
            "std": {w: statistics.stdev(v) for w in FIGURES if len(v := _numbers(rows, w)) > 1},
            "pooled": pooled([f for _, f in found]),
        }
        self._write_predictions()
        text = json.dumps(document, indent=2, ensure_ascii=False).encode(errors="backslashreplace")
        files.write(self.folder / "folds.json", text)
        return document

    def _row(self, number: int, found: Mapping[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {"fold": number, "run": self.run(number).name, "n": found["n"], "wrong": found["wrong"]}
        row |= {word: _at(found, keys) for word, keys in FIGURES.items()}
        return row | {"seconds": _document(self.run(number) / "summary.json").get("seconds")}

    def _write_predictions(self) -> None:
        """The folds' tables under each other, with a column that says which; cells as they stand there."""
        tables = [_table(self.run(i) / "predictions.csv") for i in range(1, self.k + 1)]
        rows = ([*row, i] for i, (_, body) in enumerate(tables, 1) for row in body)
        files.write_csv(self.folder / "predictions.csv", (*tables[0][0], "fold"), rows)


def folds(options: TrainOptions) -> Folds:
    """The cross-validation that the options ask for, or the begun one that they resume.

    Raises UsageError and DataError.
    """
    if options.resume is not None:
        check_changes(resumed(options.resume), options)
        return Folds(Path(options.resume), options)
    if options.folds is None or options.fold is not None:
        raise UsageError("a cross-validation needs a number of folds, and no single one of them")
    folder = Path(options.out) if options.out is not None else free_name(options.data)
    check_free(folder)
    return Folds(folder, options)


def begin(made: Folds) -> None:
    """Write config.toml, once the first fold could begin, so that --resume finds the whole."""
    if not (made.folder / "config.toml").is_file():
        files.write(made.folder / "config.toml", to_toml(to_config(made.options)).encode())


def cross_validate(options: TrainOptions) -> dict[str, Any]:
    """Train all folds that are left, one after the other, and return what folds.json holds.

    Raises UsageError, DataError and NumericError as `job.train` does, and Interrupted when everything is saved.
    """
    made = folds(options)
    for number in made.left():
        for _ in made.train(number):
            begin(made)
    return made.summarise()


def pooled(found: list[dict[str, Any]]) -> dict[str, Any]:
    """All answers out of fold together: n, wrong, top1_error, interval, per_class, confusion."""
    classes = found[0]["classes"]
    if any(f["classes"] != classes for f in found):
        raise DataError("the folds have different classes: the data have changed since the first was trained")
    confusion = np.array([f["confusion"] for f in found], np.int64).sum(0)
    n, wrong = int(confusion.sum()), int(confusion.sum() - np.trace(confusion))
    return {
        "n": n,
        "wrong": wrong,
        "top1_error": wrong / n,
        "interval": list(wilson(wrong, n)),
        "per_class": [asdict(c) for c in class_results(confusion, classes)],
        "confusion": confusion.tolist(),
    }


def free_name(data: str) -> Path:
    """``runs/<data>-folds-<n>``: the first n that is not there."""
    name = (Path(os.path.expanduser(data)).resolve().name or "data") if os.path.exists(data) else data
    n = 1
    while (free := Path("runs", f"{Path(name).stem}-folds-{n}")).exists():
        n += 1
    return free


def _numbers(rows: list[dict[str, Any]], word: str) -> list[float]:
    return [float(r[word]) for r in rows if r[word] is not None]


def _at(found: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    value: Any = found
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DataError(f"cannot read {path}: {getattr(e, 'strerror', None) or e}") from e
    if not isinstance(found, dict):
        raise DataError(f"{path} is not what a training writes")
    return found


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            head, *body = csv.reader(file)
    except (OSError, ValueError, csv.Error) as e:
        raise DataError(f"cannot read {path}: {getattr(e, 'strerror', None) or e}") from e
    return head, body
