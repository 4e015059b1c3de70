"""Pascal VOC: one XML file a picture, with lists of the splits or without (Everingham et al. 2010)."""

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from residua.boxes.listing import MOST_PX, UNSTATED, Growing, Marked
from residua.data.decode import EXTENSIONS
from residua.data.names import SPLITS, entries, hidden, shown
from residua.errors import DataError
from residua.files import contents, opened

ANNOTATIONS, IMAGES, SETS = "Annotations", "JPEGImages", "ImageSets"

#: Edges as the format names them.
EDGES = ("xmin", "ymin", "xmax", "ymax")


def is_voc(root: Path) -> bool:
    """Whether a folder is laid out as Pascal VOC, or holds XML files beside pictures."""
    if (root / ANNOTATIONS).is_dir():
        return True
    return any(name.lower().endswith(".xml") for name in entries(str(root)) if not hidden(name))


def list_voc(spec: str, root: Path) -> Marked:
    """The pictures of a folder with an XML file each.

    Where ``ImageSets/Main`` has lists of train, val and test, they say the split. Pixels count from 1 there, as in the
    development kit; in a set in which an edge is 0 they count from 0. Raises DataError where nothing can be listed.
    """
    notes: list[str] = []
    marks = root / ANNOTATIONS if (root / ANNOTATIONS).is_dir() else root
    images = root / IMAGES if (root / IMAGES).is_dir() else root / "images" if (root / "images").is_dir() else marks
    splits, listed = lists(root, notes)
    growing = Growing()
    files = {name: name for name in entries(str(images)) if name.lower().endswith(EXTENSIONS) and not hidden(name)}
    stems = {os.path.splitext(name)[0]: name for name in sorted(files, reverse=True)}
    used = set()
    for mark in sorted(name for name in entries(str(marks)) if name.lower().endswith(".xml") and not hidden(name)):
        stem = os.path.splitext(mark)[0]
        if listed and stem not in splits:
            growing.skip(f"{marks.name}/{mark}", f"in no list of {SETS}/Main")
            used.add(stems.get(stem))
            continue
        used.add(one(marks / mark, images, files, stems, splits.get(stem, "train"), growing))
    for name in sorted(files.keys() - used):
        growing.skip(f"{images.name}/{name}", "no annotation")
    for stem in sorted(listed - {os.path.splitext(m)[0] for m in entries(str(marks))}):
        if stem not in stems:
            growing.skip(f"{images.name}/{stem}", f"named in {SETS}/Main: neither picture nor annotation")
    made = growing.done(spec, root.resolve().name, "VOC", ordered=False, notes=notes)
    return from_one(made)


def lists(root: Path, notes: list[str]) -> tuple[dict[str, str], set[str]]:
    """The split of each picture that ``ImageSets/Main`` names, and all that it names."""
    folder = root / SETS / "Main" if (root / SETS / "Main").is_dir() else root / SETS
    if not folder.is_dir():
        return {}, set()
    splits: dict[str, str] = {}
    twice = 0
    for name in entries(str(folder)):
        split = SPLITS.get(os.path.splitext(name)[0].lower())
        if split is None or not name.endswith(".txt"):  # trainval is both of them, aeroplane_train a class of them
            continue
        for line in lines_of(folder / name):
            if line.split():
                stem = line.split()[0]
                twice += splits.setdefault(stem, split) != split
    if twice:
        notes.append(f"{twice:,} pictures are in two lists of {SETS}/Main: the first counts")
    return splits, set(splits)


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text. Raises DataError."""
    try:
        with io.TextIOWrapper(opened(path), encoding="utf-8-sig") as file:
            yield from (line.rstrip("\n") for line in file)
    except (OSError, UnicodeError) as e:
        raise DataError(f"{shown(str(path))}: {getattr(e, 'strerror', None) or 'not a text in UTF-8'}") from e


def one(
    mark: Path, images: Path, files: dict[str, str], stems: dict[str, str], split: str, growing: Growing
) -> str | None:  # fmt: skip
    """Add the picture of one XML file; the name of the picture, or None where there is none."""
    name = f"{mark.parent.name}/{mark.name}"
    try:
        tree = parsed(contents(mark))
    except (expat.ExpatError, LookupError, OSError, ValueError) as e:
        growing.skip(name, f"no readable annotation: {shown(str(getattr(e, 'strerror', None) or e))}")
        return stems.get(mark.stem)
    said = os.path.basename((tree.findtext("filename") or "").replace("\\", "/"))
    picture = stems.get(mark.stem) or files.get(said)
    if picture is None:
        growing.skip(name, f"its picture {shown(said) or mark.stem} is not in {images.name}/")
        return None
    size = (number(tree.findtext("size/width")), number(tree.findtext("size/height")))
    stated = (int(size[0]), int(size[1])) if all(0 < side < MOST_PX for side in size) else UNSTATED
    growing.picture(f"{images.name}/{picture}", str(images / picture), split, stated)
    for i, thing in enumerate(tree.iter("object"), 1):
        label = (thing.findtext("name") or "").strip()
        edges = [number(thing.findtext(f"bndbox/{edge}")) for edge in EDGES]
        if not label or np.isnan(edges).any():
            growing.skip(name, f"box {i}: " + ("no name" if not label else "edges that are no numbers"))
            continue
        growing.box(label, edges, difficult=(thing.findtext("difficult") or "0").strip() == "1")
    return picture


def parsed(data: bytes) -> Element:
    """The XML of these bytes. Entities are refused: of a few lines they can make gigabytes. Raises ValueError and more.

    ElementTree's own parser would take them, and says nothing of them while it does.
    """
    parser, tree = expat.ParserCreate(), TreeBuilder()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = tree.start, tree.end
    parser.CharacterDataHandler, parser.EntityDeclHandler = tree.data, _refused
    parser.Parse(data, True)
    return tree.close()


def _refused(*_: object) -> NoReturn:
    raise ValueError("it declares entities, which annotations have no use for")


def number(text: str | None) -> float:
    """The number that a text is; NaN for none."""
    try:
        found = float(text or "nan")
    except ValueError:
        return float("nan")
    return found if np.isfinite(found) else float("nan")


def from_one(marked: Marked) -> Marked:
    """The boxes of a set whose pixels count from 1, or as they are where one of them is 0."""
    if not len(marked.boxes) or marked.boxes[:, :2].min() < 1:
        note = "an edge is 0: pixels count from 0" if len(marked.boxes) else "no boxes"
        return replace(marked, notes=(*marked.notes, note))
    moved = marked.boxes - np.array([1.0, 1.0, 0.0, 0.0])  # the last pixel belongs to the box
    flat = ~(marked.boxes[:, 2:] > marked.boxes[:, :2]).all(1)  # a click without a drag, not a box of one pixel
    moved[flat] = marked.boxes[flat]
    return replace(marked, boxes=moved, notes=(*marked.notes, "pixels count from 1, and the last belongs to its box"))
