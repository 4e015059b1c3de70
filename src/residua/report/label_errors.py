"""label_errors.csv and label_errors.html: the labels that are likely wrong, for a person to look at and decide."""

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from residua.report import say
from residua.report.rendering import rendered

if TYPE_CHECKING:
    from residua.evaluate.labels import Suspect

#: Pictures on the page, at most: with thumbnails of this side it stays below about 4 MB. The CSV has all.
MOST, THUMB_PX = 300, 160


def label_errors(
    folder: Path, rows: Iterable[Mapping[str, Any]], picture_of: Callable[[str], Image.Image | None]
) -> list["Suspect"]:
    """Write ``label_errors.csv`` and ``label_errors.html`` into `folder` and return the suspects, worst first.

    `rows` are those of one or more predictions.csv (`evaluate.labels.read_predictions`), out of fold: of images that
    the nets were not trained on. `picture_of` gives the upright picture of a row's path, or None where there is none.
    Raises DataError for rows that are none, and where the folder cannot be written.
    """
    from residua.evaluate.labels import label_errors_csv, suspects  # brings torch, which no other page needs

    table = list(rows)
    found = suspects(table)
    label_errors_csv(found, folder / "label_errors.csv")
    said = {
        "folder": folder.resolve().name,
        "images": len(table),
        "count": len(found),
        "items": [_item(s, picture_of(s.path)) for s in found[:MOST]],
    }
    rendered(
        "label_errors.html.j2",
        folder / "label_errors.html",
        said,
        sheets=("label_errors.css",),
        scripts=("label_errors.js",),
    )
    return found


def _item(suspect: "Suspect", image: Image.Image | None) -> dict[str, Any]:
    """What the page shows of a suspect; `raw` names are for the table that the page gives back."""
    return {
        "path": say.label(suspect.path),
        "truth": say.label(suspect.truth),
        "likely": say.label(suspect.likely),
        "p_truth": suspect.probability_truth,
        "p_likely": suspect.probability_likely,
        "raw": [_text(v) for v in (suspect.path, suspect.truth, suspect.likely)],
        "picture": None if image is None else _thumbnail(image),
        "tiny": image is not None and max(image.size) <= 48,
    }


def _text(name: str) -> str:
    """What is no text in a name as an escape: a page holds text."""
    return name.encode("utf-8", "backslashreplace").decode()


def _thumbnail(image: Image.Image) -> str:
    """A small WebP as a data URI."""
    shown = image.convert("RGB")
    shown.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    shown.save(out, "WEBP", quality=80, lossless=max(shown.size) <= 48)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
