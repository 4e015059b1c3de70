"""report.html: one file that says what a run was, how well it ended and how to use the model; it needs no network."""

import base64
import hashlib
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import jinja2

from residua.files import replacing
from residua.report import facts, say
from residua.report.card import card
from residua.report.chart import chart
from residua.report.confusion import Matrix, matrix_of, most_confused
from residua.report.explained import explained, strengths
from residua.report.files import RunFiles, read
from residua.report.mistakes import mistakes_of
from residua.report.pictures import picture
from residua.report.scores import scores
from residua.report.series import curves_of
from residua.report.trust import trust
from residua.report.watched import sentence, watched_of

#: Up to here the confusion is a table that can be read and selected; above it is a picture.
TABLE_CLASSES = 30
#: The most frequent mistakes that are named; more where they are the way to the images.
PAIRS, PAIRS_ALONE = 8, 24
WIDE, NARROW = (960, (270, 130, 56)), (430, (230, 120, 50))


def page(run: Path) -> Path:
    """Write ``report.html`` into the run folder, from its files alone, and return its path.

    What the folder does not (yet) have is left out of the page, which says so.
    Raises DataError if `run` is no run folder or cannot be written.
    """
    return rendered(
        "page.html.j2", run / "report.html", content(read(run)), sheets=("sections.css",), scripts=("mistakes.js",)
    )


def rendered(
    template: str, out: Path, said: dict[str, Any], *, sheets: tuple[str, ...] = (), scripts: tuple[str, ...] = ()
) -> Path:
    """Write a page of the house's look to `out` and return it: what is `said` in a template, with more style `sheets`
    and `scripts`.

    The page is one file; only its own script may run in it. Raises DataError where it cannot be written.
    """
    templates = resources("residua.report") / "templates"
    script = "\n".join((templates / name).read_text(encoding="utf-8") for name in ("page.js", *scripts))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("residua.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": say.percent,
        "count": say.count,
        "figures": say.figures,
        "short": say.short,
        "label": say.label,
        "rate": say.rate,
    }
    html = environment.get_template(template).render(
        said,
        style="\n".join((templates / sheet).read_text(encoding="utf-8") for sheet in ("page.css", *sheets)),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    with replacing(out) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace", newline="\n")
    return out


def content(found: RunFiles) -> dict[str, Any]:
    """Everything that the template says, by name."""
    net, data = facts.titles(found)
    curves = curves_of(found)
    matrix = matrix_of(found)
    cells = mistakes_of(found, matrix)
    table = matrix is not None and len(matrix.classes) <= TABLE_CLASSES
    units = watched_of(found)
    skipped, skipped_count = facts.left_out(found)
    return {
        "net": net,
        "data": data,
        "run": found.folder.resolve().name,
        "finished": found.finished,
        "watched": any("test_error" in r for r in found.epochs),
        "lead": facts.lead(found),
        "result": _result(found, matrix),
        "best": curves.best,
        "best_figure": say.percent(curves.best[1]).removesuffix(f"{say.JOIN}%") if curves.best else "",
        "epochs": max((e for r in found.epochs if (e := say.number(r.get("epoch"))) is not None), default=0),
        "facts": [f for f in (facts.data_facts(found), facts.net_facts(found), facts.recipe_facts(found)) if f],
        "wide": chart(curves, width=WIDE[0], heights=WIDE[1]),
        "narrow": chart(curves, width=NARROW[0], heights=NARROW[1]),
        "scores": scores(found),
        "matrix": table_of(matrix) if matrix and table else None,
        "confusion_picture": picture(found.folder, "confusion.png") if matrix and not table else None,
        "confused": most_confused(matrix, PAIRS if table else PAIRS_ALONE) if matrix else [],
        "class_names": matrix.classes if matrix else (),
        "cells": cells.script() if cells else None,
        "sheet": cells.sheet if cells else None,
        "sheet_shown": cells.shown if cells else 0,
        "sheet_wrong": cells.wrong if cells else 0,
        "trust": trust(found),
        "explained": explained(found),
        "strengths": strengths(found),
        "card": card(found),
        "data_section": None,  # what data_section.html.j2 says under the name `data`; the page's own words until then
        "classes": class_rows(found),
        "gallery": _gallery(found),
        "batch": picture(found.folder, "batches/step-0.png"),
        "units": picture(found.folder, "units.png") if units is not None else None,
        "finder": picture(found.folder, "lr_finder.png"),
        "units_said": sentence(units) if units is not None else "",
        "decisions": facts.decisions(found),
        "skipped": skipped,
        "skipped_count": skipped_count,
        "notes": facts.notes(found),
        "commands": facts.commands(found.folder, str(_data_word(found))),
        "typed": say.label(found.summary.get("command") or ""),
        "seed": found.summary.get("seed"),
        "config": found.config,
        "environment": facts.environment(found),
        "damaged": found.damaged,
    }


def _data_word(found: RunFiles) -> Any:
    """What the user would type for the data."""
    data = found.summary.get("data")
    return (data.get("spec") or data.get("name") if isinstance(data, dict) else data) or "DATA"


def _result(found: RunFiles, matrix: Matrix | None) -> dict[str, Any] | None:
    """The test error with its interval, and what always naming the commonest class would miss."""
    e = found.evaluation
    error, n, wrong = (say.number(e.get(k)) for k in ("top1_error", "n", "wrong"))
    if error is None or n is None or wrong is None:
        return None
    bounds = e.get("interval")
    low, high = (say.number(b) for b in bounds) if isinstance(bounds, list) and len(bounds) == 2 else (None, None)
    blind = 1 - matrix.counts.sum(1).max() / max(1, matrix.counts.sum()) if matrix else None
    top5 = say.number(e.get("top5_error")) if len(e.get("classes") or ()) > 5 else None
    bar = None
    if low is not None and high is not None:
        span = max(high * 1.25, 0.01)
        bar = {"low": 100 * low / span, "width": 100 * (high - low) / span, "at": 100 * error / span}
    return {
        "figure": say.percent(error).removesuffix(f"{say.JOIN}%"),
        "error": error, "n": n, "wrong": wrong, "low": low, "high": high, "bar": bar,
        "blind": blind, "top5": top5, "loss": say.number(e.get("loss")),
    }  # fmt: skip


def table_of(matrix: Matrix) -> dict[str, Any]:
    """The confusion as rows of cells: a count, its kind, how strong its colour is (0 to 1) and its key."""
    shares = matrix.shares
    rows = []
    for i, name in enumerate(matrix.classes):
        cells = []
        for j, count in enumerate(matrix.counts[i].tolist()):
            share = float(shares[i, j])
            kind = "" if not count else "right" if i == j else "miss"
            level = round(share if i == j else share**0.5, 3)
            cells.append({"n": count, "kind": kind, "level": level, "share": share, "key": f"{i}-{j}"})
        rows.append({"name": name, "cells": cells})
    k = len(matrix.classes)
    size = "large" if k <= 5 else "medium" if k <= 12 else "small" if k <= 20 else "tiny-cells"
    turned = size != "large" and max(map(len, matrix.classes)) > 3
    return {"classes": matrix.classes, "rows": rows, "size": size, "turned": turned}


def class_rows(found: RunFiles) -> list[dict[str, Any]]:
    """One row a class: images for training, then the test's counts and rates."""
    trained = facts.splits(found).get("train", {})
    rows = found.evaluation.get("per_class")
    named = [r for r in rows if isinstance(r, dict) and "name" in r] if isinstance(rows, list) else []
    keys = ("n", "wrong", "precision", "recall", "f1")
    return [
        {"name": say.label(r["name"]), "train": trained.get(str(r["name"])), **{k: say.number(r.get(k)) for k in keys}}
        for r in named
    ]


def _gallery(found: RunFiles) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """The worst and the best test images, with what was said of each."""
    titles = (
        ("worst", "Worst", "The test images with the highest loss: sure and wrong, or hard to read."),
        ("best", "Best", "The test images with the lowest loss."),
    )
    groups = []
    for kind, title, text in titles:
        items = [dict(g) for g in found.gallery if g.get("kind") == kind]
        for item in items:
            item["picture"] = picture(found.folder, str(item.get("file", "")))
            for word in ("name", "truth", "prediction"):
                item[word] = say.label(item.get(word, say.UNKNOWN))
            item["probability"] = say.number(item.get("probability"))
            item["right"] = item["truth"] == item["prediction"]
        groups.append((title, text, [i for i in items if i["picture"]]))
    return [g for g in groups if g[2]]
