"""COCO: one JSON file a split, with pictures, boxes and categories (Lin et al. 2014)."""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residua.boxes.listing import MOST_PX, UNSTATED, Growing, Marked
from residua.data.names import SPLITS, entries, hidden, shown
from residua.errors import DataError
from residua.files import opened

#: How the files begin that have boxes, where a folder has others too (captions, key points).
INSTANCES = "instances"


def tables(root: Path) -> list[Path]:
    """The JSON files of a folder that may be COCO's: in it, in ``annotations``, or in the folder of each split."""
    folders = [root, *(root / n for n in entries(str(root)) if not hidden(n) and (root / n).is_dir())]
    found = [
        folder / name
        for folder in folders
        if folder == root or folder.name.lower() in ("annotations", *SPLITS)
        for name in entries(str(folder))
        if name.lower().endswith(".json") and not hidden(name)
    ]
    best = [path for path in found if path.name.startswith(INSTANCES)]
    return best or found


def is_coco(path: Path) -> bool:
    """Whether a JSON file is COCO's, by how it begins; decided by its keys when it is read."""
    try:
        with opened(path) as file:
            return b"{" in file.read(64)
    except OSError:
        return False


def list_coco(spec: str, files: list[Path]) -> Marked:
    """The pictures of some files, each a split by its name or its folder's. Raises DataError where one is no COCO file.

    The categories count in the order of their numbers.
    """
    read = [(path, contents(path)) for path in files]
    read = [(path, data) for path, data in read if data is not None] or [(files[0], contents(files[0], must=True))]
    numbers: dict[int, str] = {}
    for path, data in read:
        for category in data["categories"]:
            number, name = integer(category, "id", path), str(category.get("name", "")).strip()
            if numbers.setdefault(number, name) != name:
                raise DataError(f"{shown(str(path))}: category {number} is '{shown(name)}' here and another elsewhere")
    ids = [n for n in sorted(numbers) if numbers[n]]
    doubled = {name for name, times in Counter(numbers.values()).items() if times > 1}
    if doubled:
        raise DataError(f"{shown(str(files[0]))}: two categories are called '{shown(min(doubled))}'")
    growing = Growing([numbers[n] for n in ids])
    splits = {path: split_of(path) for path, _ in read}
    if len(read) == 1 and splits[read[0][0]] != "train":
        splits[read[0][0]] = "train" if os.path.isfile(spec) else splits[read[0][0]]
    for path, data in read:
        one(path, data, splits[path], numbers, growing)
    where = Path(spec).expanduser()
    name = where.stem if where.is_file() else where.resolve().name
    return growing.done(spec, name, "COCO", ordered=True, ids=ids)


def split_of(path: Path) -> str:
    """The split that a file's name or its folder's says; else train."""
    words = [w for text in (path.stem, path.parent.name) for w in re.findall("[a-z]+", text.lower())]
    return next((SPLITS[w] for w in words if w in SPLITS), "train")


def contents(path: Path, *, must: bool = False) -> Any:
    """What a COCO file holds; None for JSON that is something else. Raises DataError."""
    try:
        with opened(path) as file:
            data = json.load(file)
    except OSError as e:
        raise DataError(f"{shown(str(path))}: {e.strerror or e}") from e
    except (ValueError, RecursionError) as e:
        raise DataError(f"{shown(str(path))}: the JSON cannot be read: {e}") from e
    parts = ("images", "annotations", "categories")
    good = isinstance(data, dict) and all(isinstance(data.get(p), list) for p in parts)
    if good and all(isinstance(row, dict) for p in parts for row in data[p]):
        return data
    if must:
        raise DataError(f"{shown(str(path))}: no COCO file: it needs lists of images, annotations and categories")
    return None


def one(path: Path, data: Mapping[str, Any], split: str, names: Mapping[int, str], growing: Growing) -> None:
    """Add the pictures of one file, in the order of the file."""
    boxes: dict[int, list[tuple[int, Mapping[str, Any]]]] = {}
    for i, row in enumerate(data["annotations"]):
        boxes.setdefault(integer(row, "image_id", path), []).append((i, row))
    folder = folder_of(path, [str(row.get("file_name", "")) for row in data["images"][:16]])
    seen: set[int] = set()
    for row in data["images"]:
        number, file = integer(row, "id", path), str(row.get("file_name", ""))
        if not file or number in seen:
            growing.skip(f"{path.name}: image {number}", "no file_name" if not file else "its number is there twice")
            continue
        seen.add(number)
        size = row.get("width"), row.get("height")
        sides = [side for side in size if finite(side) and 0 < side < MOST_PX]
        stated = (int(sides[0]), int(sides[1])) if len(sides) == 2 else UNSTATED
        place = folder / file
        growing.picture(os.path.relpath(place, folder.parent).replace(os.sep, "/"), str(place), split, stated)
        for i, box in boxes.get(number, []):
            what = f"{path.name}: annotation {box.get('id', i)}"
            number_of = box.get("category_id")
            label = names.get(number_of, "") if isinstance(number_of, int) else ""
            edges = box.get("bbox")
            if not label:
                growing.skip(what, f"unknown category {box.get('category_id')}")
            elif not (isinstance(edges, list) and len(edges) == 4 and all(map(finite, edges))):
                growing.skip(what, "its bbox is not four numbers")
            else:
                left, top, width, height = edges
                growing.box(label, (left, top, left + width, top + height), crowd=bool(box.get("iscrowd")))
    for number in sorted(boxes.keys() - seen):
        growing.skip(f"{path.name}: image {number}", f"{len(boxes[number])} boxes of a picture that is not listed")


def finite(value: object) -> bool:
    """Whether this is a number with an end, as a float can hold it: JSON as Python reads it has others."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def integer(row: Mapping[str, Any], key: str, path: Path) -> int:
    """A number of a row. Raises DataError."""
    value = row.get(key)
    if not isinstance(value, int):
        raise DataError(f"{shown(str(path))}: a row has no whole number as '{key}': {json.dumps(row)[:80]}")
    return value


def folder_of(path: Path, some: list[str]) -> Path:
    """The folder in which the pictures of a file lie: where the first of them are."""
    base = path.parent
    above = base.parent if base.name.lower() == "annotations" else base
    stem = path.stem.removeprefix(INSTANCES).strip("_-.")
    named = [above / stem, above / "images" / stem, above / "images", above / split_of(path), above]
    candidates = [base, *named, *(above / n for n in entries(str(above)) if (above / n).is_dir())]
    best = max(candidates, key=lambda f: sum(os.path.isfile(f / name) for name in some))
    return best
