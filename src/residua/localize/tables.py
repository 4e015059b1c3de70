"""Answers of a localizer as tables, and its classes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from residua.boxes.found import Floats, Found
from residua.boxes.tables import COLUMNS as FOUND
from residua.boxes.tables import rows as found_rows
from residua.files import write_csv
from residua.localize.counts import LocalizationEvaluation, Places

COLUMNS = (*FOUND, "overlap")


def rows(name: str, found: Found, overlaps: Floats, classes: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    """A row an answer, the likeliest first: class, probability, edges in pixels of the file, the expected overlap."""
    for row, overlap in zip(found_rows(name, found, classes), overlaps, strict=True):
        yield (*row, round(float(overlap), 4))


def localizations_csv(path: Path, names: Sequence[str], found: Places, classes: Sequence[str]) -> None:
    """All answers to some pictures as a table."""
    write_csv(path, COLUMNS, (
        row for i, name in enumerate(names)
        for row in rows(name, Found(found.boxes[i], found.labels[i], found.scores[i]), found.overlaps[i], classes)
    ))  # fmt: skip


def per_class_csv(path: Path, of: LocalizationEvaluation) -> None:
    """A row a class: its pictures, and how many are wrong in which way."""
    columns = ("class", "n", "wrong", "class_wrong", "given_wrong", "mean_box_wrong")
    write_csv(
        path, columns, ((c.name, c.n, c.wrong, c.class_wrong, c.given_wrong, c.mean_box_wrong) for c in of.classes)
    )
