"""mistakes.json: pictures for the cells of the confusion matrix, as one sheet of thumbnails."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from residua.evaluate import Evaluation
from residua.evaluate.counts import Ints
from residua.training.run import Run

#: Pictures of mistakes, at most; of right answers in each class, and up to how many classes there are such.
MISTAKES, RIGHT, RIGHT_CLASSES = 400, 4, 30
#: The side of a thumbnail. Pictures up to HARD_PX stay as they are: enlarging is the page's.
CELL_PX, HARD_PX, COLUMNS = 96, 48, 20
#: The sheet grows no larger where a lower quality helps: the page holds it, and stays below 5 MB.
SHEET_BYTES, QUALITIES = 1_400_000, (80, 60, 40, 20)

SHEET = "gallery/mistakes.webp"


def mistakes(
    run: Run, evaluation: Evaluation, names: Sequence[str], *, picture_of: Callable[[int], Image.Image]
) -> None:
    """Write mistakes.json and gallery/mistakes.webp: for the cells of the confusion matrix some of their images.

    Up to 400 mistakes, spread over the cells, in each cell those with the highest loss first; and the four right
    answers with the highest loss of each class, where the classes are few enough for a table. `names` and `picture_of`
    know an image by its position in the split. Item i of the file is cell i of the sheet, row by row.
    """
    chosen = [*_spread(evaluation), *_barely_right(evaluation)]
    if not chosen:
        return
    samples = [int(evaluation.index[i]) for i in chosen]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # decoding files takes the time
        thumbs = list(pool.map(lambda sample: _thumb(picture_of(sample)), samples))
    cell = max(max(t.size) for t in thumbs)
    run.write_bytes(SHEET, sheet(thumbs, cell))
    classes = evaluation.classes
    items = [
        {
            "name": names[sample],
            "truth": classes[int(evaluation.labels[i])],
            "prediction": classes[int(evaluation.top5[i][0])],
            "probability": float(evaluation.top5_probability[i][0]),
        }
        for i, sample in zip(chosen, samples, strict=True)
    ]
    about: dict[str, Any] = {"sheet": SHEET, "cell_px": cell, "columns": COLUMNS, "wrong": evaluation.wrong}
    run.write_json("mistakes.json", about | {"items": items})


def _spread(found: Evaluation) -> list[int]:
    """Rows of mistakes: the worst of every cell, then the second of every cell, ...; large cells first."""
    k = len(found.classes)
    cells = found.labels * k + found.predictions
    wrong = np.flatnonzero(found.labels != found.predictions)
    ranked = wrong[np.lexsort((wrong, -_losses(found)[wrong], cells[wrong]))]
    rank = _within(cells[ranked])
    order = np.lexsort((-_losses(found)[ranked], -_sizes(cells[ranked]), rank))
    return [int(i) for i in ranked[order][:MISTAKES]]


def _barely_right(found: Evaluation) -> Iterator[int]:
    """Rows of right answers: of every class those with the highest loss."""
    if len(found.classes) > RIGHT_CLASSES:
        return
    right = np.flatnonzero(found.labels == found.predictions)
    ranked = right[np.lexsort((right, -_losses(found)[right], found.labels[right]))]
    yield from (int(i) for i in ranked[_within(found.labels[ranked]) < RIGHT])


def _losses(found: Evaluation) -> "np.typing.NDArray[np.float64]":
    return np.nan_to_num(found.losses.astype(np.float64), nan=np.inf)


def _within(groups: Ints) -> Ints:
    """The place of each entry in its own group; equal entries stand together."""
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]]) if len(groups) else np.zeros(0, np.int64)
    lengths = np.diff(np.r_[starts, len(groups)])
    return np.arange(len(groups)) - np.repeat(starts, lengths)


def _sizes(groups: Ints) -> Ints:
    """How many entries each entry's group has."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sizes: Ints = counts[inverse]
    return sizes


def _thumb(image: Image.Image) -> Image.Image:
    if max(image.size) > HARD_PX:
        image.thumbnail((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
    return image.convert("RGBA")


def sheet(thumbs: Sequence[Image.Image], cell: int) -> bytes:
    """The thumbnails in rows of 20, each in the middle of its cell on a clear ground, as WebP.

    Small pictures keep every pixel where that stays small enough.
    """
    rows = -(-len(thumbs) // COLUMNS)
    page = Image.new("RGBA", (min(COLUMNS, len(thumbs)) * cell, rows * cell), (0, 0, 0, 0))
    for i, thumb in enumerate(thumbs):
        left, top = i % COLUMNS * cell, i // COLUMNS * cell
        page.paste(thumb, (left + (cell - thumb.width) // 2, top + (cell - thumb.height) // 2))
    ways: list[dict[str, Any]] = [{"lossless": True}] if cell <= HARD_PX else []
    made = b""
    for way in (*ways, *({"quality": q} for q in QUALITIES)):
        out = io.BytesIO()
        page.save(out, "WEBP", **way)
        made = out.getvalue()
        if len(made) <= SHEET_BYTES:
            break
    return made
