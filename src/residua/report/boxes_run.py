"""What the reports of detectors and localizers share: how it learned, photos, facts, what was left out."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from residua.report import say
from residua.report.files import RunFiles
from residua.report.rendering import rendered

#: A chart's sides and margins in its own units.
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 520, 340, 56, 40, 14, 28
#: The long side of a photo on the page.
PHOTO_PX = 560


def boxes_page(template: str, run: RunFiles, content: Mapping[str, Any]) -> Path:
    """Write ``report.html`` into a run folder by a template, with what every such page says, and return its path."""
    every = {
        "run": run.folder.resolve().name,
        "arch": say.label(run.summary.get("arch", "")),
        "data": say.label(run.summary.get("data", "")),
        "n": say.number(run.evaluation.get("n")),
        "first": picture(run.folder / "batches" / "step-0.png", 1200),
        "decisions": run.decisions,
        "skipped": [(say.label(s.get("path", "")), say.label(s.get("reason", "")))
                    for s in listed(run.data_check.get("skipped"))[:50]],
        "bad": [(say.label(b.get("picture", "")), b.get("number"), say.label(b.get("reason", "")))
                for b in listed(run.data_check.get("bad_boxes"))[:50]],
        "damaged": list(run.damaged),
    }  # fmt: skip
    sheets = ("sections.css", "compare.css", "data_check.css", "boxes_run.css")
    return rendered(template, run.folder / "report.html", every | dict(content), sheets=sheets)


def trained_on(run: RunFiles) -> str:
    """The end of a sentence on what was trained: on how much, in which time."""
    images, boxes = mapping(run.summary.get("images")), mapping(run.summary.get("boxes"))
    n, m, seconds = (say.number(v) for v in (images.get("train"), boxes.get("train"), run.summary.get("seconds")))
    words = f", trained on {n:,.0f} images with {m:,.0f} boxes" if n and m else ""
    return words + (f" in {say.duration(seconds)}." if seconds else ".")


def recipe_facts(run: RunFiles) -> list[tuple[str, Any]]:
    """How it was trained, in pairs; what is not known is None."""
    summary, recipe = run.summary, mapping(run.summary.get("recipe"))
    rate, params = (say.number(summary.get(k)) for k in ("train_images_per_second", "params"))
    return [
        ("parameters", f"{params:,.0f}" if params else None),
        ("recipe", recipe.get("name")), ("source", recipe.get("source")),
        ("batch", f"{recipe.get('batch_size')} images"), ("learning rate", recipe.get("lr")),
        ("augmentation", ", ".join(map(str, listed(summary.get("augment"))))),
        ("kept", f"epoch {summary.get('best_epoch')}" if summary.get("best_epoch") else None),
        ("pace", f"{rate:.1f} images/s" if rate else None),
    ]  # fmt: skip


def learning(run: RunFiles, lines: Sequence[tuple[str, str]], words: str) -> dict[str, Any] | None:
    """Numbers of the held-out images by epoch, as (name, key) pairs; None before there are two epochs."""
    rows = [r for r in run.epochs if say.number(r.get(lines[0][1])) is not None]
    if len(rows) < 2:
        return None
    last = max(say.number(r.get("epoch")) or 0 for r in rows) or 1
    drawn = []
    for name, key in lines:
        points = [place((say.number(r["epoch"]) or 0) / last, say.number(r.get(key)) or 0) for r in rows]
        drawn.append((name, "M" + "L".join(f"{x} {y}" for x, y in points)))
    chart = frame()
    chart["x_ticks"] = [(place(t, 0)[0], round(t * last)) for t in (0, 0.25, 0.5, 0.75, 1)]
    return chart | {"lines": drawn, "say": words}


def kinds(counted: Any) -> list[tuple[str, int, float]]:
    """Kinds of answers with their counts, and shares of the largest; what is right first."""
    counts = [(say.label(k), int(n)) for k, v in mapping(counted).items() if (n := say.number(v)) is not None]
    most = max((n for _, n in counts), default=0) or 1
    return [(k, n, n / most) for k, n in counts]


def place(x: float, y: float) -> tuple[float, float]:
    """Where a point of the unit square lies on a chart."""
    return (
        round(LEFT + x * (WIDTH - LEFT - RIGHT), 1),
        round(HEIGHT - BOTTOM - y * (HEIGHT - BOTTOM - TOP), 1),
    )


def frame() -> dict[str, Any]:
    """Axes from 0 to 1."""
    ticks = [0, 0.25, 0.5, 0.75, 1]
    return {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM,
        "x_ticks": [(place(t, 0)[0], t) for t in ticks], "y_ticks": [(place(0, t)[1], t) for t in ticks],
    }  # fmt: skip


def picture(path: Path, side_px: int) -> str:
    """A picture of the run as part of the page; "" where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.thumbnail((side_px, side_px))
            out = io.BytesIO()
            image.save(out, "WEBP", quality=82)
    except OSError:
        return ""
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is a mapping; an empty one otherwise."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """The value where it is a list; an empty one otherwise."""
    return value if isinstance(value, list) else []


def photos(folder: Path, rows: Sequence[Mapping[str, Any]], words: Callable[[Mapping[str, Any]], str]) -> list[Any]:
    """Photos of a run with what was found in them, each with `words` of its row; those that cannot be read are left
    out."""
    found = []
    for row in rows:
        if uri := picture(folder / str(row.get("file", "")), PHOTO_PX):
            found.append({"uri": uri, "name": say.label(row.get("picture", "")), "words": words(row)})
    return found
