"""report.html of a detector: how good it is, where it errs, what it found, how it learned, what was decided."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from residua.report import say
from residua.report.boxes_run import (
    boxes_page,
    frame,
    kinds,
    learning,
    listed,
    mapping,
    photos,
    place,
    recipe_facts,
    trained_on,
)
from residua.report.files import RunFiles, read_list

#: How many classes have a curve and a name.
CURVES = 8

COCO = {
    "ap": ("AP", "mean over overlaps 0.5 to 0.95"), "ap50": ("AP50", "at overlap 0.5"),
    "ap75": ("AP75", "at overlap 0.75"), "ap_small": ("AP small", "boxes below 32 x 32 px"),
    "ap_medium": ("AP medium", "32 x 32 to 96 x 96 px"), "ap_large": ("AP large", "above 96 x 96 px"),
    "ar1": ("AR1", "recall of the surest detection a picture"), "ar10": ("AR10", "of ten"),
    "ar100": ("AR100", "of a hundred"), "ar_small": ("AR small", ""), "ar_medium": ("AR medium", ""),
    "ar_large": ("AR large", ""),
}  # fmt: skip


def detection_page(run: RunFiles) -> Path:
    """Write ``report.html`` into the run folder of a detector and return its path. Raises DataError."""
    return boxes_page("detection.html.j2", run, content(run))


def content(run: RunFiles) -> dict[str, Any]:
    """What the template says of a detector, by name."""
    found, summary = run.evaluation, run.summary
    coco = mapping(found.get("coco"))
    n, boxes, ap = say.number(found.get("n")), say.number(found.get("boxes")), say.number(coco.get("ap"))
    layers = say.number(summary.get("layers"))
    return {
        "verb": "detect", "does": "finds in", "metric": "AP50", "headline": say.number(coco.get("ap50")),
        "beside": [
            *([f"{n:,.0f} images, {boxes:,.0f} boxes"] if n and boxes else []),
            *([f"AP {say.percent(ap)} over overlaps 0.5 to 0.95"] if ap is not None else []),
        ],
        "lead": (f"Faster R-CNN on a net of {layers:.0f} layers" if layers else "Faster R-CNN") + trained_on(run),
        "voc": [say.number(found.get(k)) for k in ("voc07", "voc12")],
        "coco": [(name, words, say.number(coco.get(k))) for k, (name, words) in COCO.items() if k in coco],
        "classes": [_class(c) for c in listed(found.get("classes"))],
        "curves": curves(read_list(run.folder / "precision_recall.json")),
        "errors": kinds(found.get("errors")),
        "threshold": say.number(found.get("threshold")), "f1": say.number(found.get("f1")),
        "learning": learning(
            run, (("AP50", "val_ap50"), ("AP", "val_ap")), "Average precision on held-out images"
        ),
        "photos": photos(run.folder, read_list(run.folder / "detected.json"), _counted),
        "photos_say": "Test images, those with most errors first, then the busiest without any.",
        "facts": facts(run),
    }  # fmt: skip


def facts(run: RunFiles) -> list[tuple[str, str]]:
    """What was trained on what, in pairs."""
    summary, detector = run.summary, mapping(run.summary.get("detector"))
    view = mapping(summary.get("view"))
    rows = [
        ("annotations", summary.get("kind")),
        ("image", f"short side {view.get('short_px')} px, long side at most {view.get('long_px')} px"),
        ("form", "a pyramid of all stages" if detector.get("form") == "fpn" else "conv5 on each region"),
        ("norms", detector.get("norm")),
        ("anchors", "; ".join(", ".join(f"{s:g}" for s in of) for of in listed(detector.get("anchor_sizes"))) + " px"),
        *recipe_facts(run),
    ]  # fmt: skip
    return [(k, say.label(v)) for k, v in rows if v not in (None, "", " px")]


def _class(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": say.label(row.get("name", "")), "boxes": say.number(row.get("boxes")),
            **{k: say.number(row.get(k)) for k in ("ap", "ap50", "voc07", "voc12")}}  # fmt: skip


def _counted(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{n:,.0f} {say.label(k)}" for k, v in mapping(row.get("kinds")).items() if (n := say.number(v)))


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Precision over recall of each class, as lines; None where there are none."""
    lines = []
    for row in sorted(rows, key=lambda r: -(say.number(r.get("boxes")) or 0))[:CURVES]:
        recall, precision = (
            [v for v in listed(row.get(k)) if say.number(v) is not None] for k in ("recall", "precision")
        )
        points = [place(min(x, 1.0), min(y, 1.0)) for x, y in zip(recall, precision, strict=False)]
        if points:
            lines.append((say.label(row.get("name", "")), "M" + "L".join(f"{x} {y}" for x, y in points)))
    return frame() | {"lines": lines} if lines else None
