"""compare.html: several runs side by side, from their folders: figures, options that differ, paired tests, curves."""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residua.errors import DataError, UsageError
from residua.report import facts, say
from residua.report.files import RunFiles, read
from residua.report.rendering import rendered
from residua.report.scores import scores
from residua.report.series import Series, curves_of
from residua.report.sheet import Band, Line, Panel, Sheet
from residua.report.sheet_chart import chart

if TYPE_CHECKING:
    from residua.evaluate.paired import Paired

#: Runs on one page, at most; of up to so many every two are tested against each other, of more each against the first.
MOST, ALL_PAIRS = 8, 4
#: What is usually called significant.
ALPHA = 0.05
#: Rows of the table of classes: those that differ most.
CLASSES = 40
#: By this a page says that it is a comparison, so that it may be written over.
MARK = '<meta name="residua-page" content="compare">'

#: Options that say where or how fast, not what was trained.
ELSEWHERE = ("out", "save_every")


@dataclass(frozen=True)
class Compared:
    """A run under its letter."""

    key: str
    name: str
    files: RunFiles


def compare(folders: Sequence[Path]) -> dict[str, Any]:
    """The comparison of two or more runs as one document, with errors as fractions.

    runs, options (that differ), classes, pairs, notes. Raises UsageError for too few or too many runs or one given
    twice, DataError for a folder that is no run.
    """
    runs = _opened(folders)
    return {
        "runs": [_row(r) for r in runs],
        "options": _options(runs),
        "classes": _classes(runs),
        "pairs": _pairs(runs),
        "notes": _notes(runs),
    }


def compare_page(folders: Sequence[Path], out: Path, document: dict[str, Any] | None = None) -> Path:
    """Write the comparison as a page to `out` and return it. Raises as `compare`, and UsageError for a file in the way
    that is no comparison."""
    check_out(out)
    made = compare(folders) if document is None else document
    sheet = curves(_opened(folders))
    said = made | {
        "sheet": chart(sheet),
        "kinds": [line.kind for line in sheet.panels[0].lines],
        "figures": _figures(made["runs"]),
        "title": ", ".join(r["key"] for r in made["runs"]),
        "most_classes": CLASSES,
    }
    return rendered("compare.html.j2", out, said, sheets=("study.css", "sections.css", "compare.css"))


def check_out(out: Path) -> None:
    """Raise UsageError unless a comparison may be written to `out`: there is nothing, or an earlier comparison."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: a comparison is a page: give a name that ends in .html")
    if not out.exists():
        return
    try:
        earlier = out.is_file() and MARK in out.read_text(encoding="utf-8", errors="replace")[:4000]
    except OSError as e:
        raise DataError(f"cannot read {out}: {e.strerror or e}") from e
    if not earlier:
        raise UsageError(f"{out} is there already and is no comparison of runs: give another --out")


def _opened(folders: Sequence[Path]) -> list[Compared]:
    if len(folders) < 2:
        raise UsageError("a comparison takes two runs or more")
    if len(folders) > MOST:
        raise UsageError(f"at most {MOST} runs are compared at a time, got {len(folders)}")
    places = [f.resolve() for f in folders]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise UsageError(f"run {folders[i]} is given twice")
    for folder in folders:
        if (folder / "folds.json").is_file():
            raise DataError(f"'{folder}' is a cross-validation, not a run: compare its fold-1, fold-2, ...")
    files = [read(f) for f in folders]
    for folder, file in zip(folders, files, strict=True):
        if file.task != "classification":
            raise DataError(f"'{folder}' is a run of {file.task}: only runs of classifiers are compared")
    names = [p.name for p in places]
    named = names if len(set(names)) == len(names) else [facts.shown_path(f) for f in folders]
    shown = named if len(set(named)) == len(named) else [str(f) for f in folders]
    return [Compared(chr(65 + i), say.label(n), f) for i, (n, f) in enumerate(zip(shown, files, strict=True))]


# -- a run's figures ------------------------------------------------------------------------------------------------


def _row(run: Compared) -> dict[str, Any]:
    files, s, e = run.files, run.files.summary, run.files.evaluation
    net, data = facts.titles(files)
    found = {score.word: score for score in scores(files)}
    row: dict[str, Any] = {
        "key": run.key,
        "run": str(files.folder),
        "name": run.name,
        "arch": net,
        "data": data,
        "fingerprint": files.data_check.get("fingerprint"),
        "finished": files.finished,
        "n": say.number(e.get("n")),
        "wrong": say.number(e.get("wrong")),
    }
    for word in ("top1_error", "macro_f1", "balanced_accuracy", "ece"):
        score = found.get(word)
        row[word] = score.value if score else None
        row[f"{word}_interval"] = [score.low, score.high] if score and score.low is not None else None
    best = curves_of(files).best
    numbers = {k: say.number(s.get(k)) for k in ("layers", "params", "macs", "seconds", "best_epoch", "seed")}
    machine = files.environment.get("gpu") or files.environment.get("processor")
    return row | numbers | {
        "epochs": max((v for r in files.epochs if (v := say.number(r.get("epoch"))) is not None), default=None),
        "val_error": best[1] if best else None,
        "machine": say.label(machine) if machine else None,
        "engine": say.label(files.environment["engine"]) if isinstance(files.environment.get("engine"), str) else None,
    }  # fmt: skip


def _figures(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The table of the page: one row a figure, one cell a run, the best marked where all have it."""
    kinds: tuple[tuple[str, str, Callable[[Any], str], Callable[[list[float]], float] | None], ...] = (
        ("test error", "top1_error", say.percent, min),
        ("validation error of the weights kept", "val_error", say.percent, min),
        ("macro F1", "macro_f1", lambda v: f"{v:.3f}", max),
        ("balanced accuracy", "balanced_accuracy", say.percent, max),
        ("calibration error", "ece", say.percent, min),
        ("parameters", "params", say.count, None),
        ("multiply-adds an image", "macs", say.short, None),
        ("epochs", "epochs", say.figures, None),
        ("trained in", "seconds", say.duration, None),
    )  # fmt: skip
    table = []
    for name, word, write, best_of in kinds:
        values = [r[word] for r in rows]
        if all(v is None for v in values):
            continue
        comparable = best_of is not None and None not in values and len(set(values)) > 1 and _same_data(rows)
        best = best_of(values) if comparable and best_of else None
        cells = [
            {"text": say.UNKNOWN if v is None else write(v), "range": _range(r.get(f"{word}_interval"), write),
             "best": best is not None and v == best}
            for r, v in zip(rows, values, strict=True)
        ]  # fmt: skip
        table.append({"name": name, "cells": cells})
    return table


def _range(bounds: Any, write: Any) -> str:
    return f"{write(bounds[0])} to {write(bounds[1])}" if bounds else ""


def _same_data(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all had the data of the first: by fingerprint, or by name where a run has none."""
    first = rows[0]
    return all(
        r["fingerprint"] == first["fingerprint"]
        if r["fingerprint"] and first["fingerprint"]
        else r["data"] == first["data"]
        for r in rows[1:]
    )


# -- what differs ---------------------------------------------------------------------------------------------------


def _options(runs: Sequence[Compared]) -> list[dict[str, Any]]:
    """The options of config.toml whose values differ, in the order of the files."""
    flat = [dict(_flat(tomllib.loads(r.files.config))) for r in runs]
    words = dict.fromkeys(w for f in flat for w in f)
    rows = [{"option": w, "values": [f.get(w) for f in flat]} for w in words if w not in ELSEWHERE]
    return [r for r in rows if any(v != r["values"][0] for v in r["values"])]


def _flat(table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Options without the name of their table, as flags name them; the recipe's source is no option."""
    for word, value in table.items():
        if isinstance(value, Mapping):
            yield from ((k if k != "name" else word, v) for k, v in _flat(value) if k != "source")
        else:
            yield word, value


def _classes(runs: Sequence[Compared]) -> list[dict[str, Any]]:
    """The recall of each class that all runs know; the classes that differ most come first."""
    tables = [_recalls(r.files) for r in runs]
    shared = [c for c in tables[0] if all(c in t for t in tables)] if all(tables) else []
    rows = []
    for name in shared:
        recalls = [t[name][0] for t in tables]
        rows.append({
            "name": name, "n": [t[name][1] for t in tables], "recall": recalls,
            "spread": max(recalls) - min(recalls),
        })  # fmt: skip
    return sorted(rows, key=lambda r: -float(r["spread"]))


def _recalls(files: RunFiles) -> dict[str, tuple[float, float]]:
    rows = files.evaluation.get("per_class")
    return {
        say.label(r["name"]): (recall, n)
        for r in (rows if isinstance(rows, list) else [])
        if isinstance(r, dict)
        and "name" in r
        and (n := say.number(r.get("n")))
        and (recall := say.number(r.get("recall"))) is not None
    }


def _notes(runs: Sequence[Compared]) -> list[str]:
    """What keeps the figures from being compared as they stand."""
    notes = [f"{r.key} is not finished: it has no test error yet." for r in runs if not r.files.finished]
    rows = [_row(r) for r in runs]
    if not _same_data(rows):
        names = {r["data"] for r in rows}
        told = ", ".join(f"{r['key']} {r['data']}" for r in rows) if len(names) > 1 else f"all called {names.pop()}"
        notes.append(
            f"The runs had different data ({told}): their errors are of different images, so no run is called better."
        )
    if len({(r["machine"], r["engine"]) for r in rows}) > 1:
        notes.append("The runs were trained on different machines or settings of one: times do not compare.")
    return notes


# -- paired tests ---------------------------------------------------------------------------------------------------

Answers = dict[tuple[str, str], bool]


def _pairs(runs: Sequence[Compared]) -> list[dict[str, Any]]:
    """Every two runs on the images that both were tested on, or why they are not paired."""
    from residua.evaluate.paired import holm  # its room brings torch, which no other page needs

    chosen = (
        list(combinations(range(len(runs)), 2)) if len(runs) <= ALL_PAIRS else [(0, i) for i in range(1, len(runs))]
    )
    figures, answers = [_row(r) for r in runs], [_answers(r.files) for r in runs]
    rows: list[dict[str, Any]] = []
    tests: list[Paired | None] = []
    for i, j in chosen:
        a, b = runs[i].key, runs[j].key
        other = (
            "" if _same_data((figures[i], figures[j])) else f"{a} and {b} had different data, so they are not paired."
        )
        test, why_not = (None, other) if other else _tested(answers[i], answers[j], a, b)
        tests.append(test)
        rows.append({"a": a, "b": b, "why_not": why_not or None})
    adjusted = iter(holm([t.p for t in tests if t]))
    several = sum(t is not None for t in tests) > 1
    for row, test in zip(rows, tests, strict=True):
        if test is not None:
            p = next(adjusted)
            row |= {"n": test.n, "only_a": test.only_a, "only_b": test.only_b, "p": test.p, "p_holm": p}
            row["sentence"] = sentence(row["a"], row["b"], test, p if several else test.p)
        else:
            row["sentence"] = row["why_not"]
    return rows


def _answers(files: RunFiles) -> Answers | None:
    """(path, truth) -> whether that was said, of predictions.csv; None without one, or where it names a path twice."""
    from residua.evaluate.labels import read_predictions

    table = files.folder / "predictions.csv"
    if not table.is_file():
        return None
    try:
        rows = read_predictions(table)
        found = {(r["path"], r["truth"]): r["truth"] == r["class_1"] for r in rows}
    except (DataError, KeyError):
        return None
    return found if found and len(found) == len(rows) else None


def _tested(a: Answers | None, b: Answers | None, key_a: str, key_b: str) -> tuple["Paired | None", str]:
    from residua.evaluate.paired import paired

    for answers, key in ((a, key_a), (b, key_b)):
        if answers is None:
            why = f"{key} has no predictions.csv that tells its images apart"
            return None, f"{why}, so {key_a} and {key_b} are not paired."
    assert a is not None and b is not None
    if a.keys() != b.keys():
        shared = len(a.keys() & b.keys())
        of = f"{say.count(len(a))} and {say.count(len(b))}"
        return None, f"{key_a} and {key_b} were tested on different images ({of}, {say.count(shared)} of them shared)."
    return paired([a[k] for k in a], [b[k] for k in a]), ""


def sentence(a: str, b: str, test: "Paired", p: float) -> str:
    """Which of two runs is better on the same images, in words; not by less than chance would do."""
    if not test.only_a and not test.only_b:
        return f"{a} and {b} are right and wrong on the same {say.plural(test.n, 'image')}."
    first, second = (b, a) if test.only_b >= test.only_a else (a, b)
    more, less = max(test.only_a, test.only_b), min(test.only_a, test.only_b)
    counts = (
        f"{first} is right on {say.plural(more, 'image')} where {second} is wrong, and wrong on {say.count(less)} "
        f"where {second} is right"
    )
    if p < ALPHA:
        return f"{counts} (p{say.JOIN}={say.JOIN}{chance(p)}): {first} is better than {second}."
    return f"{counts} (p{say.JOIN}={say.JOIN}{chance(p)}): that may well be chance."


def chance(p: float) -> str:
    """A p-value as one says it."""
    return "1" if p >= 1 else "0.0001 or less" if p <= 1e-4 else f"{p:.2g}"


# -- curves ---------------------------------------------------------------------------------------------------------


def curves(runs: Sequence[Compared]) -> Sheet:
    """Validation error bold, training error thin, of every run by epoch."""
    last = max(1, len(runs) - 1)
    lines = []
    for i, run in enumerate(runs):
        found = curves_of(run.files)
        lines.append(Line(run.key, i / last, _band(found.train_error), _band(found.val_error)))
    return Sheet((Panel("Error by epoch", tuple(lines)),), "epoch", "error", "training error", "validation error")


def _band(series: Series) -> Band:
    return Band(series.x, series.y, series.y, series.y)
