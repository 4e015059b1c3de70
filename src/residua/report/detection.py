"""report.html of a detector: how good it is, where it errs, what it found, how it learned, what was decided."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from residua.report import say
from residua.report.files import RunFiles, read, read_list
from residua.report.rendering import rendered

#: A chart's sides and margins in its own units.
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 520, 340, 56, 40, 14, 28
#: The long side of a photo on the page, and how many classes have a curve and a name.
PHOTO_PX, CURVES = 560, 8

COCO = {
    "ap": ("AP", "mean over overlaps 0.5 to 0.95"), "ap50": ("AP50", "at overlap 0.5"),
    "ap75": ("AP75", "at overlap 0.75"), "ap_small": ("AP small", "boxes below 32 x 32 px"),
    "ap_medium": ("AP medium", "32 x 32 to 96 x 96 px"), "ap_large": ("AP large", "above 96 x 96 px"),
    "ar1": ("AR1", "recall of the surest detection a picture"), "ar10": ("AR10", "of ten"),
    "ar100": ("AR100", "of a hundred"), "ar_small": ("AR small", ""), "ar_medium": ("AR medium", ""),
    "ar_large": ("AR large", ""),
}  # fmt: skip


def detection_page(folder: Path) -> Path:
    """Write ``report.html`` into the run folder of a detector and return its path. Raises DataError."""
    return rendered(
        "detection.html.j2", folder / "report.html", content(read(folder)),
        sheets=("sections.css", "compare.css", "data_check.css", "detection.css"),
    )  # fmt: skip


def content(run: RunFiles) -> dict[str, Any]:
    """Everything that the template says, by name."""
    found, summary = run.evaluation, run.summary
    coco = _mapping(found.get("coco"))
    return {
        "run": run.folder.resolve().name,
        "arch": say.label(summary.get("arch", "")),
        "form": say.label(_mapping(summary.get("detector")).get("form", "")),
        "data": say.label(summary.get("data", "")),
        "lead": lead(run),
        "ap50": say.number(coco.get("ap50")), "ap": say.number(coco.get("ap")),
        "n": say.number(found.get("n")), "boxes": say.number(found.get("boxes")),
        "voc": [say.number(found.get(k)) for k in ("voc07", "voc12")],
        "coco": [(name, words, say.number(coco.get(k))) for k, (name, words) in COCO.items() if k in coco],
        "classes": [_class(c) for c in _list(found.get("classes"))],
        "curves": curves(read_list(run.folder / "precision_recall.json")),
        "errors": errors(found),
        "threshold": say.number(found.get("threshold")), "f1": say.number(found.get("f1")),
        "learning": learning(run),
        "photos": photos(run.folder, read_list(run.folder / "detected.json")),
        "first": picture(run.folder / "batches" / "step-0.png", 1200),
        "facts": facts(run),
        "decisions": run.decisions,
        "skipped": [(say.label(s.get("path", "")), say.label(s.get("reason", "")))
                    for s in _list(run.data_check.get("skipped"))[:50]],
        "bad": [(say.label(b.get("picture", "")), b.get("number"), say.label(b.get("reason", "")))
                for b in _list(run.data_check.get("bad_boxes"))[:50]],
        "damaged": list(run.damaged),
    }  # fmt: skip


def lead(run: RunFiles) -> str:
    """A sentence on what was trained on what."""
    images, boxes = _mapping(run.summary.get("images")), _mapping(run.summary.get("boxes"))
    layers = say.number(run.summary.get("layers"))
    words = f"Faster R-CNN on a net of {layers:.0f} layers" if layers else "Faster R-CNN"
    n, m = say.number(images.get("train")), say.number(boxes.get("train"))
    if n and m:
        words += f", trained on {n:,.0f} images with {m:,.0f} boxes"
    seconds = say.number(run.summary.get("seconds"))
    return words + (f" in {say.duration(seconds)}." if seconds else ".")


def facts(run: RunFiles) -> list[tuple[str, str]]:
    """What was trained on what, in pairs."""
    summary, detector = run.summary, _mapping(run.summary.get("detector"))
    view, recipe = _mapping(summary.get("view")), _mapping(summary.get("recipe"))
    params = say.number(summary.get("params"))
    rate = say.number(summary.get("train_images_per_second"))
    rows = [
        ("annotations", summary.get("kind")),
        ("image", f"short side {view.get('short_px')} px, long side at most {view.get('long_px')} px"),
        ("form", "a pyramid of all stages" if detector.get("form") == "fpn" else "conv5 on each region"),
        ("norms", detector.get("norm")),
        ("anchors", "; ".join(", ".join(f"{s:g}" for s in of) for of in _list(detector.get("anchor_sizes"))) + " px"),
        ("parameters", f"{params:,.0f}" if params else None),
        ("recipe", recipe.get("name")), ("source", recipe.get("source")),
        ("batch", f"{recipe.get('batch_size')} images"), ("learning rate", recipe.get("lr")),
        ("augmentation", ", ".join(map(str, _list(summary.get("augment"))))),
        ("kept", f"epoch {summary.get('best_epoch')}" if summary.get("best_epoch") else None),
        ("pace", f"{rate:.1f} images/s" if rate else None),
    ]  # fmt: skip
    return [(k, say.label(v)) for k, v in rows if v not in (None, "", " px")]


def _class(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": say.label(row.get("name", "")), "boxes": say.number(row.get("boxes")),
            **{k: say.number(row.get(k)) for k in ("ap", "ap50", "voc07", "voc12")}}  # fmt: skip


def errors(found: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """The kinds of errors with their counts, and shares of the largest; what is right first."""
    counts = [
        (say.label(k), int(n)) for k, v in _mapping(found.get("errors")).items() if (n := say.number(v)) is not None
    ]
    most = max((n for _, n in counts), default=0) or 1
    return [(k, n, n / most) for k, n in counts]


def place(x: float, y: float) -> tuple[float, float]:
    """Where a point of the unit square lies on a chart."""
    return (
        round(LEFT + x * (WIDTH - LEFT - RIGHT), 1),
        round(HEIGHT - BOTTOM - y * (HEIGHT - BOTTOM - TOP), 1),
    )


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Precision over recall of each class, as lines; None where there are none."""
    lines = []
    for row in sorted(rows, key=lambda r: -(say.number(r.get("boxes")) or 0))[:CURVES]:
        recall, precision = (
            [v for v in _list(row.get(k)) if say.number(v) is not None] for k in ("recall", "precision")
        )
        points = [place(min(x, 1.0), min(y, 1.0)) for x, y in zip(recall, precision, strict=False)]
        if points:
            lines.append((say.label(row.get("name", "")), "M" + "L".join(f"{x} {y}" for x, y in points)))
    return frame() | {"lines": lines} if lines else None


def frame() -> dict[str, Any]:
    """Axes from 0 to 1."""
    ticks = [0, 0.25, 0.5, 0.75, 1]
    return {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM,
        "x_ticks": [(place(t, 0)[0], t) for t in ticks], "y_ticks": [(place(0, t)[1], t) for t in ticks],
    }  # fmt: skip


def learning(run: RunFiles) -> dict[str, Any] | None:
    """AP50 and AP of the held-out images by epoch; None before there are two epochs."""
    rows = [r for r in run.epochs if say.number(r.get("val_ap50")) is not None]
    if len(rows) < 2:
        return None
    last = max(say.number(r.get("epoch")) or 0 for r in rows) or 1
    lines = []
    for name, key in (("AP50", "val_ap50"), ("AP", "val_ap")):
        points = [place((say.number(r["epoch"]) or 0) / last, say.number(r.get(key)) or 0) for r in rows]
        lines.append((name, "M" + "L".join(f"{x} {y}" for x, y in points), points[-1]))
    chart = frame()
    steps = [t for t in (0, 0.25, 0.5, 0.75, 1)]
    chart["x_ticks"] = [(place(t, 0)[0], round(t * last)) for t in steps]
    return chart | {"lines": lines}


def photos(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Photos with what was found in them, the most wrong first."""
    found = []
    for row in rows:
        uri = picture(folder / str(row.get("file", "")), PHOTO_PX)
        kinds = {k: v for k, v in _mapping(row.get("kinds")).items() if say.number(v)}
        if uri:
            words = ", ".join(f"{n} {k}" for k, n in kinds.items())
            found.append({"uri": uri, "name": say.label(row.get("picture", "")), "words": words,
                          "wrong": bool(row.get("wrong"))})  # fmt: skip
    return found


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


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
