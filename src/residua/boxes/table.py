"""One CSV table of boxes, a row each: file, class and four edges; and Tiny ImageNet's one box a picture."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from residua.boxes.listing import Growing, Marked
from residua.boxes.voc import lines_of
from residua.data.decode import EXTENSIONS
from residua.data.folder import ANNOTATIONS, class_folders, split_folders
from residua.data.names import SPLITS, entries, hidden, shown
from residua.data.table import read_csv
from residua.errors import DataError

#: What a column may be called, in any case. All but the split are needed.
COLUMNS = {
    "path": ("path", "file", "filename", "image", "image_path", "img_file"),
    "label": ("label", "class", "target", "category", "class_name"),
    "left": ("xmin", "x0", "x1", "left", "x_min"),
    "top": ("ymin", "y0", "y1", "top", "y_min"),
    "right": ("xmax", "x1", "x2", "right", "x_max"),
    "bottom": ("ymax", "y1", "y2", "bottom", "y_max"),
    "split": ("split",),
}

#: How Tiny ImageNet's files of boxes end.
BOXES = "_boxes.txt"


def list_table(spec: str) -> Marked:
    """The pictures of a table, a row a box; a row whose class and edges are empty says that a picture has none.

    Raises DataError where it cannot be read or lacks a column.
    """
    path = Path(spec).expanduser().absolute()
    header, read = read_csv(path)
    columns = columns_of(spec, header)
    growing = Growing()
    rows: dict[str, tuple[str, list[tuple[int, str, list[str]]]]] = {}
    for number, row in enumerate(read(columns), 2):
        file, label, *edges = (v.strip() for v in row[:6])
        word = row[6].strip().lower()
        split = SPLITS.get(word, "train")
        name = os.path.normpath(file).replace(os.sep, "/") if file else ""
        if not file:
            growing.skip(f"row {number}", "no path")
        elif columns[6] and word not in SPLITS:
            growing.skip(f"row {number}", f"unknown split '{shown(word)}': use train, val or test")
        elif rows.setdefault(name, (split, []))[0] != split:
            growing.skip(f"row {number}", f"{name} is in {rows[name][0]} already")
        elif label or any(edges):
            rows[name][1].append((number, label, edges))
    for name, (split, boxes) in rows.items():
        growing.picture(name, os.path.join(path.parent, name), split)
        for number, label, edges in boxes:
            box = numbers(edges)
            if not label or box is None:
                why = "no class" if not label else f"edges that are no numbers: {', '.join(edges)}"
                growing.skip(f"row {number}", why)
            else:
                growing.box(label, box)
    notes = [f"columns not used: {', '.join(other)}"] if (other := [h for h in header if h not in columns]) else []
    return growing.done(spec, path.stem, "table", ordered=False, notes=notes)


def columns_of(spec: str, header: Sequence[str]) -> list[str]:
    """The table's columns for path, label, left, top, right, bottom and split ("" for none). Raises DataError."""
    names = {h.strip().lower(): h for h in header}
    found = {what: next((names[w] for w in words if w in names), "") for what, words in COLUMNS.items()}
    if found["left"] == found["right"] and found["left"]:  # x1 begins where there is x2, and ends where there is x0
        two = "x2" in names
        found["left"], found["right"] = (names["x1"], names["x2"]) if two else ("", found["right"])
    if found["top"] == found["bottom"] and found["top"]:
        two = "y2" in names
        found["top"], found["bottom"] = (names["y1"], names["y2"]) if two else ("", found["bottom"])
    for what, words in COLUMNS.items():
        if not found[what] and what != "split":
            has = ", ".join(map(shown, header)) or "none"
            raise DataError(f"{shown(spec)}: no column for the {what} (named {' or '.join(words)}); it has: {has}")
    return list(found.values())


def numbers(words: Sequence[str]) -> list[float] | None:
    """The numbers that words are; None where one is none."""
    try:
        found = [float(w) for w in words]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None


# -- Tiny ImageNet --------------------------------------------------------------------------------------------------


def is_tiny(root: Path) -> bool:
    """Whether a folder has boxes as Tiny ImageNet has them: a file ``n02124075_boxes.txt`` in a class folder."""
    train = split_folders(root)["train"]
    return any((train / name / f"{name}{BOXES}").is_file() for name in class_folders(train)[:3])


def list_tiny(spec: str, root: Path) -> Marked:
    """The pictures of Tiny ImageNet's folders, each with its one box; the last pixel belongs to it."""
    growing, bases = Growing(), split_folders(root)
    for name in class_folders(bases["train"]):
        folder = bases["train"] / name
        if (folder / f"{name}{BOXES}").is_file():
            rows = [(words[0], name, words[1:5]) for words in table(folder / f"{name}{BOXES}")]
            add(root, folder, "train", rows, growing)
        else:
            growing.skip(folder.relative_to(root).as_posix(), f"no {name}{BOXES}")
    for split, base in bases.items():
        if split != "train" and (base / ANNOTATIONS).is_file():
            rows = [(words[0], words[1] if len(words) > 1 else "", words[2:6]) for words in table(base / ANNOTATIONS)]
            add(root, base, split, rows, growing)
    return growing.done(spec, root.resolve().name, "Tiny ImageNet", ordered=False)


def table(path: Path) -> list[list[str]]:
    """The rows of a table of tabs."""
    return [line.split("\t") for line in lines_of(path) if line.strip()]


def add(root: Path, folder: Path, split: str, rows: Sequence[tuple[str, str, Sequence[str]]], growing: Growing) -> None:
    """Add the pictures of one table: file, class and edges a row."""
    images = folder / "images" if (folder / "images").is_dir() else folder
    there = {n for n in entries(str(images)) if n.lower().endswith(EXTENSIONS) and not hidden(n)}
    place = images.relative_to(root).as_posix()
    for file, label, edges in rows:
        name = f"{place}/{file}"
        box = numbers(edges)
        if file not in there:
            growing.skip(name, "no such file, or named twice")
        elif not label or box is None or len(box) != 4:
            growing.skip(name, "no class" if not label else "edges that are no numbers")
        else:
            growing.picture(name, str(images / file), split)
            growing.box(label, (box[0], box[1], box[2] + 1, box[3] + 1))
        there.discard(file)
    for file in sorted(there):
        growing.skip(f"{place}/{file}", "no annotation")
