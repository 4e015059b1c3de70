"""data_check.html of pictures with boxes: what was found, with the boxes drawn on the pictures in question."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from residua.report import say
from residua.report.data_page import scatter
from residua.report.rendering import rendered

#: Thumbnails: their long side, and how many of a finding.
SIDE_PX, SHOWN = 320, 6
#: The box in question, and the others.
BAD, GOOD = (214, 72, 20), (0, 92, 200)

#: A picture by its position: the photo and its boxes (n, 4), or None where it cannot be read.
PhotoOf = Callable[[int], "tuple[Image.Image, Sequence[Sequence[float]]] | None"]


def boxes_page(
    out: Path, document: Mapping[str, Any], examples: Sequence[Sequence[Any]], sample: Sequence[Any], photo_of: PhotoOf
) -> Path:  # fmt: skip
    """Write the page of a check to `out` and return it; `examples` are those of each finding, `sample` some pictures.

    Raises DataError where it cannot be written.
    """
    return rendered(
        "boxes_check.html.j2", out, content(document, examples, photo_of) | {"sample": thumbs(sample, photo_of)},
        sheets=("sections.css", "data_check.css", "boxes_run.css"),
    )  # fmt: skip


def content(document: Mapping[str, Any], examples: Sequence[Sequence[Any]], photo_of: PhotoOf) -> dict[str, Any]:
    """Everything that the template says, by name."""
    findings = [
        {
            "severity": f["severity"], "sentence": say.label(f["sentence"]), "todo": say.label(f["todo"]),
            "thumbs": thumbs(of, photo_of), "count": f["count"],
            "files": [(say.label(e.name), say.label(e.remark)) for e in of if e.picture < 0][:12],
        }
        for f, of in zip(document["findings"], examples, strict=True)
    ]  # fmt: skip
    splits = document["splits"]
    classes = [{"name": say.label(c), "counts": [splits[s][c] for s in splits]} for c in document["classes"]]
    most = max((n for c in classes for n in c["counts"]), default=0) or 1
    sizes = document["box_sizes"]
    total = sum(sizes.values()) or 1
    return {
        "name": say.label(document["name"]), "spec": say.label(document["spec"]),
        "verbs": ("localize", "detect") if document.get("task") == "localization" else ("detect",),
        "kind": document["kind"],
        "pictures": sum(document["pictures"].values()), "boxes": document["boxes"], "splits": list(splits),
        "per_split": document["pictures"], "classes": classes, "most": most,
        "must": [f for f in findings if f["severity"] == "must"],
        "should": [f for f in findings if f["severity"] == "should"],
        "note": [f for f in findings if f["severity"] == "note"],
        "notes": [say.label(n) for n in document["notes"]],
        "sizes": [(k, n, n / total) for k, n in sizes.items()],
        "per_picture": document["boxes_per_picture"],
        "scatter": scatter({"sides": document["sides"]}),
    }  # fmt: skip


def thumbs(examples: Sequence[Any], photo_of: PhotoOf) -> list[dict[str, str]]:
    """Small pictures with their boxes, the ones in question in another colour."""
    found: list[dict[str, str]] = []
    for e in examples:
        if e.picture < 0 or len(found) == SHOWN:
            continue
        seen = photo_of(e.picture)
        if seen is not None:
            found.append({"uri": thumb(*seen, e.boxes), "name": say.label(e.name), "remark": say.label(e.remark)})
    return found


def thumb(photo: Image.Image, boxes: Sequence[Sequence[float]], bad: Sequence[Sequence[float]]) -> str:
    """A photo with boxes, small, as part of the page."""
    scale = SIDE_PX / max(photo.size)
    small = photo.convert("RGB").resize([max(1, round(n * scale)) for n in photo.size])
    pen = ImageDraw.Draw(small)
    for box in boxes:
        pen.rectangle([v * scale for v in box], outline=GOOD, width=2)
    for box in bad:
        left, top, right, bottom = (v * scale for v in box)
        left, right, top, bottom = min(left, right), max(left, right), min(top, bottom), max(top, bottom)
        if right - left < 6 or bottom - top < 6:  # what has no area is circled
            pen.ellipse((left - 9, top - 9, right + 9, bottom + 9), outline=BAD, width=3)
        else:
            pen.rectangle((left, top, right, bottom), outline=BAD, width=3)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
