"""YOLO: a text file a picture, a row a box: class, middle and sides as shares of the picture."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from residua.boxes.listing import Growing, Marked
from residua.boxes.voc import lines_of
from residua.data.decode import EXTENSIONS
from residua.data.names import SPLITS, entries, hidden, shown
from residua.errors import DataError, UsageError
from residua.files import contents

IMAGES, LABELS = "images", "labels"
NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "classes.txt", "obj.names")


def is_yolo(root: Path) -> bool:
    """Whether a folder has ``images`` and ``labels``, or a folder of a split that has them."""
    return bool(pairs(root))


def pairs(root: Path) -> list[tuple[str, Path, Path]]:
    """Split, pictures and labels of each split: ``images/train`` with ``labels/train``, or ``train/images`` with
    ``train/labels``; or ``images`` and ``labels`` alone, which are for training."""
    found: dict[str, tuple[Path, Path]] = {}
    folders = [n for n in entries(str(root)) if not hidden(n) and (root / n).is_dir()]
    for name in folders:
        if (split := SPLITS.get(name.lower())) and (root / name / IMAGES).is_dir() and (root / name / LABELS).is_dir():
            found.setdefault(split, (root / name / IMAGES, root / name / LABELS))
    if not found and IMAGES in folders and LABELS in folders:
        for name in entries(str(root / LABELS)):
            if (split := SPLITS.get(name.lower())) and (root / IMAGES / name).is_dir():
                found.setdefault(split, (root / IMAGES / name, root / LABELS / name))
        if not found:
            found["train"] = (root / IMAGES, root / LABELS)
    return [(s, *found[s]) for s in ("train", "val", "test") if s in found]


def list_yolo(spec: str, root: Path) -> Marked:
    """The pictures of a folder with a text file each; one without is background. Raises DataError."""
    names, notes = names_of(root)
    growing = Growing(names)
    bare = 0
    for split, images, labels in pairs(root):
        marks = {os.path.splitext(n)[0]: n for n in walk(labels) if n.lower().endswith(".txt")}
        for file in walk(images):
            stem, ending = os.path.splitext(file)
            name = f"{images.relative_to(root).as_posix()}/{file}"
            if ending.lower() not in EXTENSIONS:
                growing.skip(name, f"not an image by its ending '{ending}'")
                continue
            growing.picture(name, str(images / file), split)
            mark = marks.pop(stem, None)
            bare += mark is None
            if mark is not None:
                one(labels / mark, f"{labels.relative_to(root).as_posix()}/{mark}", names, growing)
        for mark in sorted(marks.values()):
            if os.path.basename(mark) not in NAMES:
                growing.skip(f"{labels.relative_to(root).as_posix()}/{mark}", "its picture is not there")
    if bare:
        notes.append(f"{bare:,} pictures without a text file are background")
    return growing.done(spec, root.resolve().name, "YOLO", ordered=True, relative=True, notes=notes)


def walk(folder: Path) -> list[str]:
    """The files below a folder, sorted, by their names from there."""
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(n for n in folders if not hidden(n))
        found += [(Path(here) / n).relative_to(folder).as_posix() for n in files if not hidden(n)]
    return sorted(found)


def one(mark: Path, name: str, names: list[str], growing: Growing) -> None:
    """Add the boxes of a text; outlines (more than four numbers) count as the boxes around them."""
    for i, line in enumerate(lines_of(mark), 1):
        words = line.split()
        if not words:
            continue
        try:
            label, numbers = int(float(words[0])), np.array(words[1:], np.float64)
            if not np.isfinite(numbers).all():
                raise ValueError
        except (ValueError, OverflowError):
            growing.skip(name, f"row {i}: not numbers: {shown(line[:40])}")
            continue
        if not 0 <= label < len(names):
            growing.skip(name, f"row {i}: unknown class {label}: there are names for 0 to {len(names) - 1}")
        elif len(numbers) == 4:
            x, y, width, height = numbers
            growing.box(names[label], (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        elif len(numbers) >= 6 and len(numbers) % 2 == 0:
            corners = numbers.reshape(-1, 2)
            growing.box(names[label], (*corners.min(0), *corners.max(0)))
        else:
            growing.skip(name, f"row {i}: a class and four numbers are needed, not {len(words)} words")


def names_of(root: Path) -> tuple[list[str], list[str]]:
    """The names of the classes, and a note of where they are from. Raises DataError where none are there."""
    for folder in (root, root / LABELS):
        for name in NAMES:
            path = folder / name
            if not path.is_file():
                continue
            found = (
                from_yaml(path) if name.endswith(("yaml", "yml")) else [w for w in map(str.strip, lines_of(path)) if w]
            )
            if not found:
                raise DataError(f"{shown(str(path))}: no names of classes")
            if len(set(found)) < len(found):
                raise DataError(f"{shown(str(path))}: two classes have one name")
            return found, [f"{len(found)} classes are named in {name}"]
    raise DataError(f"{shown(str(root))}: no names of classes: put them into data.yaml or classes.txt, a line each")


def from_yaml(path: Path) -> list[str]:
    """The list or table ``names`` of a YAML file. Raises DataError, and UsageError without PyYAML."""
    try:
        import yaml
    except ImportError:
        raise UsageError("reading data.yaml needs PyYAML: pip install 'residua[detect]'") from None
    try:
        text = contents(path).decode("utf-8-sig")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.SafeLoader)):
            raise ValueError("it refers to parts of itself, from which a few lines can make gigabytes")
        data: Any = yaml.safe_load(text)
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as e:
        reason = getattr(e, "strerror", None) or str(e).partition("\n")[0] or type(e).__name__
        raise DataError(f"{shown(str(path))}: the YAML cannot be read: {shown(reason)}") from e
    names = data.get("names") if isinstance(data, Mapping) else None
    rest = names.values() if isinstance(names, Mapping) else names if isinstance(names, list) else ()
    if any(isinstance(name, Mapping | list | set | bytes) for name in rest):
        raise DataError(f"{shown(str(path))}: names of classes are words")
    if isinstance(names, Mapping):
        try:
            rows = sorted((int(k), str(v)) for k, v in names.items())
        except (ValueError, TypeError, OverflowError) as e:
            raise DataError(f"{shown(str(path))}: names need numbers from 0") from e
        if [k for k, _ in rows] != list(range(len(rows))):
            raise DataError(f"{shown(str(path))}: names need the numbers 0 to {len(rows) - 1}, each once")
        return [v for _, v in rows]
    return [str(v) for v in names] if isinstance(names, list) else []
