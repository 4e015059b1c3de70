"""The pictures behind the cells of the confusion matrix, as the page's script reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from residua.report import say
from residua.report.confusion import Matrix
from residua.report.files import RunFiles
from residua.report.pictures import Picture, picture


@dataclass(frozen=True)
class Mistakes:
    """A sheet of thumbnails, and for each cell ``"truth-prediction"`` (by position) how many images it has and
    which of them are on the sheet: place, name, probability in words."""

    sheet: Picture
    columns: int
    cell_px: int
    cells: dict[str, dict[str, Any]]
    wrong: int
    shown: int

    @property
    def tiny(self) -> bool:
        """Whether the thumbnails are so small that they are enlarged with hard pixels."""
        return self.cell_px <= 48

    def script(self) -> dict[str, Any]:
        """What the script reads."""
        return {"columns": self.columns, "px": self.cell_px, "tiny": self.tiny, "cells": self.cells}


def mistakes_of(files: RunFiles, matrix: Matrix | None) -> Mistakes | None:
    """The run's thumbnails of mistakes; None where it has none or they do not fit the confusion matrix."""
    found = files.mistakes
    columns, px = (say.number(found.get(k)) for k in ("columns", "cell_px"))
    items = found.get("items")
    if matrix is None or not columns or not px or columns < 1 or px < 1 or not isinstance(items, list):
        return None
    sheet = picture(files.folder, str(found.get("sheet", "")), sheet=True)
    if sheet is None:
        return None
    places = int(columns) * (sheet.height // int(px))
    cells: dict[str, dict[str, Any]] = {}
    for i, j, row in _placed(items[:places], matrix):
        n = int(matrix.counts[i, j])
        cells.setdefault(f"{i}-{j}", {"n": n, "items": []})["items"].append(row)
    shown = sum(len(c["items"]) for k, c in cells.items() if len(set(k.split("-"))) == 2)
    wrong = int(matrix.counts.sum() - matrix.counts.trace())
    return Mistakes(sheet, int(columns), int(px), cells, wrong, shown) if cells else None


def _placed(items: list[Any], matrix: Matrix) -> Iterator[tuple[int, int, list[Any]]]:
    """(truth, prediction, what the script reads) of every item of known classes in a cell that counts an image."""
    index = {name: i for i, name in enumerate(matrix.classes)}
    for place, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        i, j = (index.get(say.label(item.get(k))) for k in ("truth", "prediction"))
        if i is not None and j is not None and matrix.counts[i, j]:
            yield i, j, [place, say.label(item.get("name", "")), say.percent(item.get("probability"), 1)]
