"""A folder of class folders, with or without train, val and test above them, as users really have them."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from residua.data.dataset import Dataset, Skipped
from residua.data.decode import EXTENSIONS
from residua.data.files import dataset_of
from residua.data.listing import GrowingFiles, GrowingSkips, Listing
from residua.data.names import SPLITS, TABLES, entries, hidden, shown
from residua.data.splits import some
from residua.errors import DataError

#: Tiny ImageNet's labels of a split whose pictures lie in one folder: tab-separated file, class, box.
ANNOTATIONS = "val_annotations.txt"

#: Device and number of the folders that lie above something.
Places = frozenset[tuple[int, int]]


def open_folder(spec: str) -> Dataset:
    """The pictures of a folder, with the splits it comes in. Raises DataError where it holds no labelled pictures.

    The classes are the folders in it, or in its ``train``; whatever lies deeper belongs to the class above.
    """
    dataset = dataset_of(list_folder(spec))
    train = split_folders(root_of(spec))["train"]
    if empty := sorted(set(class_folders(train)) - set(dataset.classes)):
        return replace(dataset, notes=(*dataset.notes, f"no usable picture in {some(empty)}: not among the classes"))
    return dataset


def list_folder(spec: str) -> Listing:
    """The files of a folder as they lie, none of them opened. Raises DataError where it cannot be read at all."""
    root = root_of(spec)
    files, skipped, notes = GrowingFiles(), GrowingSkips(), []
    bases = split_folders(root)
    for split, base in bases.items():
        if split != "train" and unlabelled(base, bases["train"]):
            notes.append(f"{shown(base.name)}/ has no labels and is left out")
        elif (base / ANNOTATIONS).is_file():
            annotated(root, base, split, files, skipped)
            notes.append(f"the labels of {shown(base.name)}/ are read from {ANNOTATIONS}")
        else:
            in_class_folders(root, base, split, files, skipped)
    if bases["train"] != root and (beside := sorted(set(class_folders(root)) - {b.name for b in bases.values()})):
        notes.append(f"not used, since they are no splits: {some(beside)}")
    why = too_high(root, bases) or ("" if len(files) else advice(root, bases["train"]))
    return Listing(spec, root.resolve().name or "data", files.done(str(root)), skipped.done(), tuple(notes), why)


def root_of(spec: str) -> Path:
    """The folder that the user means, from the root of the file system."""
    return Path(spec).expanduser().absolute()


def split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; of a folder of class folders, the folder itself as "train".

    A folder named ``train`` without folders in it is a class (of vehicles), not a split.
    """
    found: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name in class_folders(root):
        if split := SPLITS.get(name.lower()):
            found[split].append(name)
    if not any(class_folders(root / name) for name in found["train"]):
        return {"train": root}
    for split, names in found.items():
        if len(names) > 1:
            raise DataError(f"{shown(str(root))}: both {names[0]}/ and {names[1]}/ could be the {split} split")
    return {split: root / names[0] for split, names in found.items() if names}


def too_high(root: Path, bases: dict[str, Path]) -> str:
    """What to say where the one folder in the folder is the data: archives often unpack like that. Else ""."""
    only = class_folders(root)
    if bases == {"train": root} and len(only) == 1 and len(class_folders(root / only[0])) > 1:
        return f"only one class ('{shown(only[0])}'): did you mean {shown(str(root / only[0]))}?"
    return ""


def class_folders(base: Path) -> list[str]:
    """The names of the folders in a folder, sorted, links to folders included."""
    return [name for name in entries(str(base)) if not hidden(name) and (base / name).is_dir()]


def unlabelled(base: Path, train: Path) -> bool:
    """Whether a split is one heap of pictures: a single folder ``images`` that is no class, and no annotations."""
    return (
        class_folders(base) == ["images"]
        and "images" not in class_folders(train)
        and not (base / ANNOTATIONS).is_file()
    )


def in_class_folders(root: Path, base: Path, split: str, files: GrowingFiles, skipped: GrowingSkips) -> None:
    """Add the pictures of each class folder, however deep; what lies beside the class folders is skipped."""
    for name in entries(str(base)):
        path = base / name
        if hidden(name):
            continue
        if path.is_dir():
            for found in walk(root, path):
                if isinstance(found, Skipped):
                    skipped.add(found.path, found.reason)
                else:
                    files.add(found, name, split)
        elif name.lower().endswith(EXTENSIONS):
            skipped.add(path.relative_to(root).as_posix(), "lies outside the class folders")


def annotated(root: Path, base: Path, split: str, files: GrowingFiles, skipped: GrowingSkips) -> None:
    """Add the pictures that a table of file, class, box labels, in ``images`` or beside the table."""
    labels = read_annotations(base / ANNOTATIONS)
    folder = base / "images" if (base / "images").is_dir() else base
    for found in walk(root, folder):
        if isinstance(found, Skipped):
            if not found.path.endswith(ANNOTATIONS):
                skipped.add(found.path, found.reason)
        elif label := labels.pop(found.rpartition("/")[2], ""):
            files.add(found, label, split)
        else:
            skipped.add(found, f"has no row in {ANNOTATIONS}")
    for file in sorted(labels):
        skipped.add((folder / file).relative_to(root).as_posix(), f"no such file, named in {ANNOTATIONS}")


def read_annotations(table: Path) -> dict[str, str]:
    """The label of each file that a table of file, class, box names. Raises DataError where it cannot be read."""
    labels: dict[str, str] = {}
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                file, _, rest = line.rstrip("\n").partition("\t")
                if label := rest.partition("\t")[0].strip():
                    labels[file] = sys.intern(label)
    except OSError as e:
        raise DataError(f"{shown(str(table))}: {e.strerror or e}") from e
    return labels


def walk(root: Path, folder: Path) -> Iterator[str | Skipped]:
    """The names (relative to `root`, POSIX, sorted) of the picture files below a folder, and what else lies there.

    Links are followed, except to a folder that lies above them: that would never end. Of the folders on the way to a
    picture the names of what lies in them are held, and no more.
    """
    place = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    above = frozenset(identity(f) for f in (folder, *folder.absolute().parents))
    levels = [iter([(str(folder), place, above)])]
    while levels:
        if (here := next(levels[-1], None)) is None:
            levels.pop()
            continue
        path, place, above = here
        try:
            names, folders = contents(path)
        except OSError as e:
            yield Skipped(place.rstrip("/"), f"a folder that cannot be read: {e.strerror}")
            continue
        circles = set()
        for name in names:
            if name in folders:
                if identity(os.path.join(path, name)) in above:
                    circles.add(name)
                    yield Skipped(place + name, "a link to a folder above it")
            elif name.lower().endswith(EXTENSIONS):
                yield place + name
            else:
                yield Skipped(place + name, f"not an image by its ending '{os.path.splitext(name)[1]}'")
        levels.append(below(path, place, sorted(folders - circles), above))


def contents(folder: str) -> tuple[list[str], set[str]]:
    """The names of what is not hidden in a folder, sorted, and which of them are folders or links to some."""
    with os.scandir(folder) as found:
        names, folders = [], set()
        for item in found:
            if not hidden(item.name):
                names.append(item.name)
                if is_folder(item):
                    folders.add(item.name)
    return sorted(names), folders


def below(path: str, place: str, names: list[str], above: Places) -> Iterator[tuple[str, str, Places]]:
    """The folders of those names in a folder: path, place and what lies above it, itself included."""
    for name in names:
        deeper = os.path.join(path, name)
        yield deeper, f"{place}{name}/", above | {identity(deeper)}


def is_folder(item: os.DirEntry[str]) -> bool:
    """Whether this is a folder or a link to one; a link that leads nowhere or to itself is none."""
    try:
        return item.is_dir()
    except OSError:
        return False


def identity(folder: str | Path) -> tuple[int, int]:
    """What stays the same whichever way a folder is reached; of one that is gone by now, what no folder has."""
    try:
        at = os.stat(folder)
    except OSError:
        return -1, -1
    return at.st_dev, at.st_ino


def advice(root: Path, train: Path) -> str:
    """Why a folder holds no labelled pictures, and what to do."""
    names = entries(str(root))
    if tables := [n for n in names if n.lower().endswith(TABLES)]:
        return f"no class folders with images, but a table: did you mean {shown(str(root / tables[0]))}?"
    if any(n.lower().endswith(EXTENSIONS) for n in entries(str(train))):
        return "images without class folders: put those of each class into a folder of its name, or give a table"
    return "no image in any class folder"
