"""From what the user wrote to pictures with boxes: the format is recognised by its files."""

import os
from pathlib import Path

from residua.boxes import coco, table, voc, yolo
from residua.boxes.dataset import BoxDataset, arranged, dataset_of
from residua.boxes.listing import Marked
from residua.boxes.one_class import one_class
from residua.data.names import shown
from residua.data.table import read_csv
from residua.errors import DataError

#: What is read.
FORMATS = "Pascal VOC XML, COCO JSON, YOLO text files, a CSV table of boxes, or Tiny ImageNet's boxes"


def listed(spec: str) -> Marked:
    """The pictures and boxes of a folder, a JSON file or a CSV table, no picture opened yet. Raises DataError."""
    path = Path(spec).expanduser().absolute()
    if path.is_file():
        if path.suffix.lower() == ".json":
            return coco.list_coco(spec, [path])
        if path.suffix.lower() in (".csv", ".tsv"):
            return table.list_table(spec)
        raise DataError(f"{shown(spec)}: no annotations of boxes that are read: give {FORMATS}")
    if not path.is_dir():
        raise DataError(f"{shown(spec)}: no such folder or file")
    if voc.is_voc(path):
        return voc.list_voc(spec, path)
    if yolo.is_yolo(path):
        return yolo.list_yolo(spec, path)
    if found := [f for f in coco.tables(path) if coco.is_coco(f)]:
        return coco.list_coco(spec, found)
    if table.is_tiny(path):
        return table.list_tiny(spec, path)
    tables = [n for n in sorted(os.listdir(path)) if n.lower().endswith((".csv", ".tsv"))]
    if len(tables) == 1:
        return table.list_table(str(path / tables[0]))
    raise DataError(f"{shown(spec)}: no annotations of boxes found: {FORMATS}")


def open_boxes(
    spec: str, *, seed: int = 0, val_fraction: float = 0.1, limit: int | None = None, alone: bool = False
) -> BoxDataset:  # fmt: skip
    """The pictures with boxes of a folder, a JSON file or a CSV table, with train, val and test.

    `alone`: those that show things of one class alone. Raises DataError or UsageError, in one line.
    """
    dataset = dataset_of(listed(spec))
    return arranged(one_class(dataset) if alone else dataset, seed=seed, val_fraction=val_fraction, limit=limit)


def recognised(spec: str) -> bool:
    """Whether this holds boxes rather than folders of classes: VOC's, COCO's or YOLO's files, a table with edges.

    Tiny ImageNet's folders are folders of classes first. Raises nothing: what cannot be read holds no boxes.
    """
    path = Path(spec).expanduser().absolute()
    try:
        if path.is_file():
            if path.suffix.lower() == ".json":
                return True
            if path.suffix.lower() not in (".csv", ".tsv"):
                return False
            table.columns_of(spec, read_csv(path)[0])
            return True
        if not path.is_dir():
            return False
        return voc.is_voc(path) or yolo.is_yolo(path) or any(map(coco.is_coco, coco.tables(path)))
    except (DataError, OSError):
        return False
