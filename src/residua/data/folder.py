"""A folder of class folders, with or without train, val and test above them, as users really have them."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from residua.data.dataset import Dataset, Skipped
from residua.data.decode import EXTENSIONS
from residua.data.files import Record, dataset_of
from residua.data.names import SPLITS, TABLES, entries, hidden, shown
from residua.data.splits import some
from residua.errors import DataError

#: Tiny ImageNet's labels of a split whose pictures lie in one folder: tab-separated file, class, box.
ANNOTATIONS = "val_annotations.txt"


def open_folder(spec: str) -> Dataset:
    """The pictures of a folder, with the splits it comes in. Raises DataError where it holds no labelled pictures.

    The classes are the folders in it, or in its ``train``; whatever lies deeper belongs to the class above.
    """
    root = Path(spec).expanduser().absolute()
    found: list[Record | Skipped] = []
    notes = []
    bases = split_folders(root)
    check_depth(root, bases)
    for split, base in bases.items():
        if split != "train" and unlabelled(base, bases["train"]):
            notes.append(f"{base.name}/ has no labels and is left out")
        elif (base / ANNOTATIONS).is_file():
            found += annotated(root, base, split)
            notes.append(f"the labels of {base.name}/ are read from {ANNOTATIONS}")
        else:
            found += in_class_folders(root, base, split)
    records = [f for f in found if isinstance(f, Record)]
    if not records:
        raise DataError(f"{shown(spec)}: {advice(root, bases['train'])}")
    skipped = [f for f in found if isinstance(f, Skipped)]
    dataset = dataset_of(spec, root.resolve().name or "data", records, skipped)
    if empty := sorted(set(class_folders(bases["train"])) - set(dataset.classes)):
        notes.append(f"no usable picture in {some(empty)}: not among the classes")
    if bases["train"] != root and (beside := sorted(set(class_folders(root)) - {b.name for b in bases.values()})):
        notes.append(f"not used, since they are no splits: {some(beside)}")
    return replace(dataset, notes=(*dataset.notes, *notes))


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


def check_depth(root: Path, bases: dict[str, Path]) -> None:
    """Raise DataError where the one folder in the folder is the data: archives often unpack like that."""
    only = class_folders(root)
    if bases == {"train": root} and len(only) == 1 and len(class_folders(root / only[0])) > 1:
        raise DataError(
            f"{shown(str(root))}: only one class ('{shown(only[0])}'): did you mean {shown(str(root / only[0]))}?"
        )


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


def in_class_folders(root: Path, base: Path, split: str) -> Iterator[Record | Skipped]:
    """The pictures of each class folder, however deep; what lies beside the class folders is skipped."""
    for name in entries(str(base)):
        path = base / name
        if hidden(name):
            continue
        if path.is_dir():
            for found in walk(root, path):
                yield found if isinstance(found, Skipped) else Record(found, str(root / found), name, split)
        elif name.lower().endswith(EXTENSIONS):
            yield Skipped(path.relative_to(root).as_posix(), "lies outside the class folders")


def annotated(root: Path, base: Path, split: str) -> Iterator[Record | Skipped]:
    """The pictures that a table of file, class, box labels, in ``images`` or beside the table."""
    labels: dict[str, str] = {}
    try:
        lines = (base / ANNOTATIONS).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as e:
        raise DataError(f"{shown(str(base / ANNOTATIONS))}: {e.strerror or e}") from e
    for line in lines:
        file, _, rest = line.partition("\t")
        if label := rest.partition("\t")[0].strip():
            labels[file] = label
    folder = base / "images" if (base / "images").is_dir() else base
    for found in walk(root, folder):
        if isinstance(found, Skipped):
            if not found.path.endswith(ANNOTATIONS):
                yield found
        elif label := labels.pop(found.rpartition("/")[2], ""):
            yield Record(found, str(root / found), label, split)
        else:
            yield Skipped(found, f"has no row in {ANNOTATIONS}")
    for file in sorted(labels):
        yield Skipped((folder / file).relative_to(root).as_posix(), f"no such file, named in {ANNOTATIONS}")


def walk(root: Path, folder: Path) -> Iterator[str | Skipped]:
    """The names (relative to `root`, POSIX, sorted) of the picture files below a folder, and what else lies there.

    Links are followed, except to a folder that lies above them: that would never end.
    """
    pending = [(folder, {identity(f) for f in (folder, *folder.absolute().parents)})]
    while pending:
        here, above = pending.pop()
        place = "" if here == root else f"{here.relative_to(root).as_posix()}/"
        try:
            with os.scandir(here) as found:
                items = sorted((item for item in found if not hidden(item.name)), key=lambda item: item.name)
        except OSError as e:
            yield Skipped(place.rstrip("/"), f"a folder that cannot be read: {e.strerror}")
            continue
        deeper = []
        for item in items:
            ending = os.path.splitext(item.name)[1]
            if is_folder(item):
                path = here / item.name
                me = identity(path)
                if me in above:
                    yield Skipped(place + item.name, "a link to a folder above it")
                else:
                    deeper.append((path, above | {me}))
            elif ending.lower() in EXTENSIONS:
                yield place + item.name
            else:
                yield Skipped(place + item.name, f"not an image by its ending '{ending}'")
        pending += reversed(deeper)


def is_folder(item: os.DirEntry[str]) -> bool:
    """Whether this is a folder or a link to one; a link that leads nowhere or to itself is none."""
    try:
        return item.is_dir()
    except OSError:
        return False


def identity(folder: Path) -> tuple[int, int]:
    """What stays the same whichever way a folder is reached."""
    at = folder.stat()
    return at.st_dev, at.st_ino


def advice(root: Path, train: Path) -> str:
    """Why a folder holds no labelled pictures, and what to do."""
    names = entries(str(root))
    if tables := [n for n in names if n.lower().endswith(TABLES)]:
        return f"no class folders with images, but a table: did you mean {shown(str(root / tables[0]))}?"
    if any(n.lower().endswith(EXTENSIONS) for n in entries(str(train))):
        return "images without class folders: put those of each class into a folder of its name, or give a table"
    return "no image in any class folder"
