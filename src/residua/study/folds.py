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
from residua.data.sources import open_data
from residua.errors import DataError, Interrupted, ResiduaError, UsageError
from residua.evaluate import class_results, in_groups, wilson
from residua.job import Event, TrainOptions, resumed, train
from residua.job.options import FREE, differences, to_config, told
from residua.job.stopping import signals
from residua.study.cell import taken_up
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

    def trainings(self) -> Iterator[tuple[int, Iterator[Event]]]:
        """The folds that are left, each with the events of its training: follow them to their end before the next.

        Raises Interrupted where the user asked to stop between two of them.
        """
        left = self.left()
        if len(left) < self.k:
            self._check_data([i for i in range(1, self.k + 1) if i not in left])
        with signals() as stop:
            stop.at_once = False
            for number in left:
                if stop.asked:
                    raise self._interrupted(number, "stopped before it began")
                yield number, self.train(number)

    def train(self, number: int) -> Iterator[Event]:
        """Train a fold, or go on with it. Raises what `job.train` raises, with the fold's number once it has begun;
        Interrupted says how to go on with all.
        """  # fmt: skip
        run = self.run(number)
        wanted = replace(self.options, fold=number)
        try:
            for event in train(taken_up(run, wanted, **{k: getattr(self.options, k) for k in FREE})):
                begin(self)
                yield event
        except Interrupted as e:
            if not (self.folder / "config.toml").is_file():
                raise
            before = str(e).startswith("interrupted before")
            reason = "stopped before it began" if before else str(e).partition(";")[0].partition(", saved")[0]
            raise self._interrupted(number, reason) from e
        except ResiduaError as e:
            if not run.is_dir():
                raise
            raise type(e)(f"fold {number} of {self.k}: {e}") from e

    def _interrupted(self, number: int, reason: str) -> Interrupted:
        again = f"residua train --resume {shlex.quote(str(self.folder))}"
        return Interrupted(f"fold {number} of {self.k} {reason}, saved; go on with: {again}")

    def _check_data(self, done: list[int]) -> None:
        """Raise DataError unless the data are those that the folds so far were trained on, all of them the same."""
        o, seen = self.options, {i: _document(self.run(i) / "data_check.json").get("fingerprint") for i in done}
        for i in done:
            if seen[i] != seen[done[0]]:
                raise DataError(
                    f"fold {i} was trained on other data than fold {done[0]}: remove {self.run(i)}, "
                    f"then --resume {self.folder}"
                )
        if len(done) < self.k and open_data(o.data, root=o.root, seed=o.seed).fingerprint != seen[done[0]]:
            raise DataError(
                f"{o.data} is not the data that {self.folder} was begun with: begin another cross-validation with --out"
            )

    def summarise(self) -> dict[str, Any]:
        """Write folds.json and predictions.csv and return what folds.json holds. Raises DataError for folds without."""
        found = [(i, _document(self.run(i) / "evaluation.json")) for i in range(1, self.k + 1)]
        self._check_data([i for i, _ in found])
        rows = [self._row(i, f) for i, f in found]
        document = {
            "k": self.k,
            "data": self.options.data,
            "seed": self.options.seed,
            "classes": found[0][1]["classes"],
            "folds": rows,
            "mean": {w: statistics.mean(v) for w in FIGURES if len(v := _numbers(rows, w)) == self.k},
            "std": {w: statistics.stdev(v) for w in FIGURES if len(v := _numbers(rows, w)) == self.k},
            "pooled": pooled([f for _, f in found]) | self._grouped(),
        }
        self._write_predictions()
        text = files.escaped(json.dumps(document, indent=2, ensure_ascii=False)).encode()
        files.write(self.folder / "folds.json", text)
        return document

    def _row(self, number: int, found: Mapping[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {"fold": number, "run": self.run(number).name, "n": found["n"], "wrong": found["wrong"]}
        row |= {word: _at(found, keys) for word, keys in FIGURES.items()}
        return row | {"seconds": _document(self.run(number) / "summary.json").get("seconds")}

    def _grouped(self) -> dict[str, Any]:
        """How many groups there are, and the interval that knows of them; nothing where the data have none."""
        wrong, groups = [], []
        for i in range(1, self.k + 1):
            head, body = _table(self.run(i) / "split.csv")
            if "group" not in head:
                return {}
            groups += [int(row[head.index("group")]) for row in body if row[head.index("split")] == "test"]
            head, body = _table(self.run(i) / "predictions.csv")
            wrong += [row[head.index("correct")] == "0" for row in body]
        if len(wrong) != len(groups):
            raise DataError(f"{self.folder}: split.csv and predictions.csv of its folds do not fit each other")
        interval = in_groups(np.array(wrong), np.array(groups))
        return {"groups": len(set(groups)), "interval": list(interval)}

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
        begun, folder = resumed(options.resume), Path(options.resume)
        if begun.folds is None:
            raise UsageError(
                f"--folds {options.folds}: {folder} is a single training: leave --folds out to go on with it, "
                "or leave --resume out to begin a cross-validation"
            )
        if changed := differences(begun, options):
            raise UsageError(
                f"{folder} was begun otherwise: {told(changed)}; its folds are trained alike, so leave that out, "
                "or begin another with --out"
            )
        return Folds(folder, options)
    if options.folds is None or options.fold is not None:
        raise UsageError("a cross-validation needs a number of folds, and no single one of them")
    folder = Path(options.out) if options.out is not None else free_name(options.data)
    check_free(folder)
    return Folds(folder, options)


def begin(made: Folds) -> None:
    """Write config.toml, once the first fold could begin, so that --resume finds the whole; once."""
    if not (made.folder / "config.toml").is_file():
        files.write(made.folder / "config.toml", to_toml(to_config(made.options)).encode())


def cross_validate(options: TrainOptions) -> dict[str, Any]:
    """Train all folds that are left, one after the other, and return what folds.json holds.

    Raises UsageError, DataError and NumericError as `job.train` does, and Interrupted when everything is saved.
    """
    made = folds(options)
    for _, events in made.trainings():
        for _ in events:
            pass
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
