"""What was found, as tables and as COCO's results, for people and programs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from residua.boxes.found import Found
from residua.files import write_csv

COLUMNS = ("path", "label", "score", "left", "top", "right", "bottom")


def rows(name: str, found: Found, classes: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    """A row a detection, the surest first: edges in pixels of the file."""
    for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
        yield (name, classes[int(label)], round(float(score), 6), *(round(float(v), 2) for v in box))


def detections_csv(path: Path, names: Sequence[str], found: Sequence[Found], classes: Sequence[str]) -> None:
    """All detections of some pictures as a table."""
    write_csv(path, COLUMNS, (row for name, of in zip(names, found, strict=True) for row in rows(name, of, classes)))


def coco_results(
    names: Sequence[str], sizes: Sequence[tuple[int, int]], found: Sequence[Found], classes: Sequence[str],
    ids: Sequence[int] = (),
) -> dict[str, Any]:  # fmt: skip
    """Pictures, categories and detections as a COCO document; its ``annotations`` carry scores."""
    numbers = list(ids) or list(range(1, len(classes) + 1))
    images = [
        {"id": i, "file_name": name, "height": int(h), "width": int(w)}
        for i, (name, (h, w)) in enumerate(zip(names, sizes, strict=True), 1)
    ]
    annotations: list[dict[str, Any]] = []
    for i, of in enumerate(found, 1):
        for box, label, score in zip(of.boxes, of.labels, of.scores, strict=True):
            left, top, right, bottom = (round(float(v), 2) for v in box)
            annotations.append({
                "id": len(annotations) + 1, "image_id": i, "category_id": numbers[int(label)],
                "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
                "area": round((right - left) * (bottom - top), 2), "iscrowd": 0, "score": round(float(score), 6),
            })  # fmt: skip
    categories = [{"id": n, "name": name} for n, name in zip(numbers, classes, strict=True)]
    return {"images": images, "categories": categories, "annotations": annotations}
