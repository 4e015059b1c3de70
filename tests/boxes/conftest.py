"""Small sets of boxes in every format, with the flaws that users' sets have."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

#: The same four pictures in every format: name -> (width, height), boxes as class, left, top, right, bottom.
PICTURES: dict[str, tuple[tuple[int, int], list[tuple[str, float, float, float, float]]]] = {
    "a": ((64, 48), [("cat", 4, 6, 30, 40), ("dog", 32, 10, 60, 44)]),
    "b": ((48, 64), [("dog", 10, 10, 40, 60)]),
    "c": ((64, 48), []),
    "d": ((80, 60), [("cat", 0, 0, 80, 60), ("cat", 20, 20, 50, 50)]),
}


def photo(path: Path, size: tuple[int, int], seed: int = 0, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def xml(size, boxes, *, one: int = 0, extra: str = "") -> str:
    """An annotation; `one` is what the first pixel is called."""
    things = "".join(
        f"<object><name>{c}</name><difficult>0</difficult><bndbox><xmin>{x0 + one:g}</xmin><ymin>{y0 + one:g}</ymin>"
        f"<xmax>{x1:g}</xmax><ymax>{y1:g}</ymax></bndbox></object>"
        for c, x0, y0, x1, y1 in boxes
    )
    width, height = size
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{things}{extra}</annotation>"


def voc(root: Path, one: int = 1) -> Path:
    for i, (name, (size, boxes)) in enumerate(PICTURES.items()):
        photo(root / "JPEGImages" / f"{name}.jpg", size, i)
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(xml(size, boxes, one=one))
    sets = root / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a\nb\n")
    (sets / "test.txt").write_text("c\nd\n")
    (sets / "trainval.txt").write_text("a\nb\n")
    return root


def coco_document(names, prefix: str = "") -> dict:
    numbers = {"dog": 7, "cat": 3}
    images, annotations = [], []
    for i, name in enumerate(names):
        (width, height), boxes = PICTURES[name]
        images.append({"id": 10 + i, "file_name": f"{prefix}{name}.jpg", "width": width, "height": height})
        for c, x0, y0, x1, y1 in boxes:
            annotations.append(
                {"id": len(annotations), "image_id": 10 + i, "category_id": numbers[c], "iscrowd": 0,
                 "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
            )  # fmt: skip
    categories = [{"id": n, "name": c} for c, n in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco(root: Path) -> Path:
    for split, names in (("train", "ab"), ("val", "cd")):
        for i, name in enumerate(names):
            photo(root / split / f"{name}.jpg", PICTURES[name][0], i)
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(coco_document(names)))
    return root


def yolo(root: Path) -> Path:
    for split, names in (("train", "ab"), ("valid", "cd")):
        for i, name in enumerate(names):
            (width, height), boxes = PICTURES[name]
            photo(root / split / "images" / f"{name}.jpg", (width, height), i)
            (root / split / "labels").mkdir(exist_ok=True)
            rows = [
                f"{('cat', 'dog').index(c)} {(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height} "
                f"{(x1 - x0) / width} {(y1 - y0) / height}"
                for c, x0, y0, x1, y1 in boxes
            ]
            (root / split / "labels" / f"{name}.txt").write_text("\n".join(rows))
    (root / "data.yaml").write_text("names: ['cat', 'dog']\nnc: 2\n")
    return root


def table(root: Path) -> Path:
    rows = ["path,class,xmin,ymin,xmax,ymax,split"]
    for i, (name, (size, boxes)) in enumerate(PICTURES.items()):
        photo(root / "photos" / f"{name}.jpg", size, i)
        split = "train" if name in "ab" else "test"
        rows += [f"photos/{name}.jpg,{c},{x0},{y0},{x1},{y1},{split}" for c, x0, y0, x1, y1 in boxes]
        rows += [] if boxes else [f"photos/{name}.jpg,,,,,,{split}"]
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return root / "boxes.csv"


MAKERS = {"voc": voc, "coco": coco, "yolo": yolo, "table": table}


@pytest.fixture(params=list(MAKERS))
def source(request, tmp_path) -> Path:
    """The four pictures in each format."""
    return MAKERS[request.param](tmp_path / "data" if request.param != "table" else tmp_path)
