"""A study as a picture and a page, from its folder alone: results.json, and the metrics of its cells' runs."""

import base64
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residua.errors import DataError
from residua.report import facts, say
from residua.report.files import read
from residua.report.rendering import rendered
from residua.report.sheet import Line, Panel, Sheet, band
from residua.report.sheet_chart import chart
from residua.report.sheet_picture import picture

Row = dict[str, Any]
Rows = dict[str, list[Row]]  # of metrics.jsonl, by cell


@dataclass(frozen=True)
class Study:
    """What a study's folder says: the results, the options and every cell's rows."""

    folder: Path
    results: Mapping[str, Any]
    begun: Mapping[str, Any]
    epochs: Rows
    gradients: Rows


def draw(folder: Path) -> Path:
    """Draw ``study.png``, ``gradients.png`` (where gradients were logged) and ``study.html``; gives the page's path.

    Raises DataError if `folder` is no study or cannot be written.
    """
    found = open_study(folder)
    errors, gradients = error_sheet(found), gradient_sheet(found)
    picture(errors, folder / "study.png")
    picture(gradients, folder / "gradients.png")
    return rendered("study.html.j2", folder / "study.html", content(found, errors, gradients), sheets=("study.css",))


def open_study(folder: Path) -> Study:
    """The study in a folder, as far as it went. Raises DataError if there is none."""
    results, begun = (_json(folder / name) for name in ("results.json", "study.json"))
    epochs, gradients = dict[str, list[Row]](), dict[str, list[Row]]()
    for cell in results.get("cells", []):
        run = folder / str(cell["run"])
        if cell["error"] is None and run.is_dir():
            files = read(run)
            epochs[cell["name"]] = files.epochs
            gradients[cell["name"]] = files.gradients
    return Study(folder, results, begun, epochs, gradients)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DataError(f"{path.parent} is no study: {path.name} cannot be read") from e
    return value if isinstance(value, dict) else {}


# -- the sheets -----------------------------------------------------------------------------------------------------


def error_sheet(found: Study) -> Sheet:
    """Training error thin, test error bold, over epochs (steps where the recipe counts them), as in He 2015, fig. 6."""
    by_steps = found.results.get("steps") is not None
    x = "step" if by_steps else "epoch"

    def curve(name: str) -> Callable[[str], dict[float, float]]:
        return lambda cell: _points(found.epochs.get(cell, []), x, name)

    panels = panels_of(found, curve("train_error"), curve("test_error"))
    return Sheet(panels, x_name=x, y_name="error", thin="training error", bold="test error")


def gradient_sheet(found: Study) -> Sheet:
    """The gradient's norm in every unit, first step thin, last step bold; nothing in it where none was logged."""

    def norms(which: int) -> Callable[[str], dict[float, float]]:
        def of(cell: str) -> dict[float, float]:
            rows = found.gradients.get(cell, [])
            values = rows[which].get("norms", []) if rows else []
            return {float(i): v for i, v in enumerate(map(say.number, values), 1) if v is not None}

        return of

    panels = panels_of(found, norms(0), norms(-1), geometric=True)
    return Sheet(panels, x_name="unit, counted from the input", y_name="norm of the gradient", thin="first step",
                 bold="last step", percent=False)  # fmt: skip


def panels_of(
    found: Study,
    thin: Callable[[str], dict[float, float]],
    bold: Callable[[str], dict[float, float]],
    *,
    geometric: bool = False,
) -> tuple[Panel, ...]:
    """One panel for each series, one line for each net in it; `thin` and `bold` give a cell's points by its name."""
    groups = [g for g in found.results.get("groups", []) if g["n"]]
    order = sorted({(g["depth"], -g["width"]) for g in groups})
    panels = []
    for series in dict.fromkeys(g["series"] for g in groups):
        lines = []
        for g in sorted((g for g in groups if g["series"] == series), key=lambda g: (g["depth"], -g["width"])):
            cells = [c["name"] for c in found.results["cells"] if _of(c, g) and c["error"] is None]
            bands = [band([points(c) for c in cells], geometric=geometric) for points in (thin, bold)]
            place = order.index((g["depth"], -g["width"])) / max(1, len(order) - 1)
            lines.append(Line(_label(g), place, *bands))
        panels.append(Panel(series[:1].upper() + series[1:], tuple(lines)))
    return tuple(panels)


def _of(cell: Row, group: Row) -> bool:
    return bool(cell["net"] == group["net"] and cell["series"] == group["series"])


def _label(group: Row) -> str:
    return f"{group['depth']} layers" + (f", {group['width']}× wide" if group["width"] > 1 else "")


def _points(rows: Sequence[Row], x: str, y: str) -> dict[float, float]:
    numbers = ((say.number(r.get(x)), say.number(r.get(y))) for r in rows)
    return {a: b for a, b in numbers if a is not None and b is not None}


# -- the page -------------------------------------------------------------------------------------------------------


def content(found: Study, errors: Sheet, gradients: Sheet) -> dict[str, Any]:
    """Everything that the template says, by name."""
    r, options = found.results, found.begun.get("options", {})
    findings = r.get("verdict", {}).get("findings", [])
    data = say.label(r.get("data", "")).rstrip("/").rsplit("/", 1)[-1]
    folder = facts.shown_path(found.folder)
    done = sum(c["error"] is None for c in r.get("cells", []))
    png = found.folder / "study.png"
    return {
        "data": data,
        "study": found.folder.resolve().name,
        "headline": r.get("verdict", {}).get("headline", ""),
        "findings": findings,
        "depth": [_hero(f) for f in findings if f["about"] == "depth"],
        "done": done,
        "planned": r.get("planned", done),
        "seeds": len(r.get("seeds", [])),
        "errors": chart(errors),
        "gradients": chart(gradients),
        "groups": r.get("groups", []),
        "published": any(g["published"] for g in r.get("groups", [])),
        "sources": list(dict.fromkeys(g["published"]["source"] for g in r.get("groups", []) if g["published"])),
        "cells": r.get("cells", []),
        "failed": r.get("failed", []),
        "facts": _facts(r, options, done),
        "typed": say.label(found.begun.get("command") or ""),
        "resume": f"residua study --resume {shlex.quote(folder)}",
        "options": json.dumps(options, indent=2, ensure_ascii=False),
        "png": base64.b64encode(png.read_bytes()).decode() if png.is_file() else "",
    }


def _hero(finding: Mapping[str, Any]) -> dict[str, Any]:
    """A series' change of training error from its shallowest to its deepest net, in points."""
    worse = finding["deep"]["train_error"] > finding["shallow"]["train_error"]
    points = 100 * (finding["deep"]["train_error"] - finding["shallow"]["train_error"])
    return {
        "series": finding["series"],
        "sign": "+" if points > 0 else "−" if points < 0 else "±",
        "points": f"{abs(points):.1f}" if abs(points) >= 1 else f"{abs(points):.2f}",
        "worse": worse,
        **{k: finding[k] for k in ("shallow", "deep", "seeds")},
        "often": f"{finding['worse' if worse else 'better']} of {finding['seeds']}",
    }


def _facts(results: Mapping[str, Any], options: Mapping[str, Any], done: int) -> list[list[tuple[str, str]]]:
    recipe = options.get("recipe", {})
    length = say.plural(results["steps"], "step") if results.get("steps") else say.plural(results["epochs"], "epoch")
    seconds = sum(c["seconds"] or 0 for c in results.get("cells", []))
    tests = {c["n"] for c in results.get("cells", []) if c["n"]}
    return [
        [
            ("data", say.label(results.get("data", ""))),
            ("test images", ", ".join(say.count(n) for n in sorted(tests))),
            ("trainings", say.count(done)),
            ("seeds", ", ".join(map(str, results.get("seeds", [])))),
        ],
        [
            ("recipe", say.label(recipe.get("name", ""))),
            ("source", say.label(recipe.get("source", ""))),
            ("length", length),
            ("held out", say.percent(recipe.get("val_fraction")) + " of the training images"),
            ("computing time", say.duration(seconds)),
        ],
    ]
