"""From a list of labelled files to a data set: every file looked at, the bad ones named and left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median_low

import numpy as np
import torch

from residua.data.dataset import ArrayImages, Dataset, FileImages, Skipped, Split, fingerprint
from residua.data.decode import BadPicture, Header, inspect
from residua.data.names import KNOWN, shown
from residua.data.splits import some
from residua.data.view import SMALL_SIDE_PX
from residua.errors import DataError

#: Sets of small equal squares are decoded once and kept, if they fit into this many bytes.
IN_MEMORY_BYTES = 2**29


@dataclass(frozen=True)
class Record:
    """A labelled file: its name within the data, where it lies, its class, its split."""

    name: str
    path: str
    label: str
    split: str


def dataset_of(where: str, name: str, records: Sequence[Record], skipped: Sequence[Skipped] = ()) -> Dataset:
    """The data set of some files, with the splits they name. The classes are those of train, sorted by name.

    Raises DataError if nothing is left, there is one class only, or a split holds a class that train lacks.
    """
    found = inspect([r.path for r in records])
    bad = [Skipped(r.name, f.reason) for r, f in zip(records, found, strict=True) if isinstance(f, BadPicture)]
    good = [(r, f) for r, f in zip(records, found, strict=True) if isinstance(f, Header)]
    skipped = (*skipped, *bad)
    classes = check_classes(where, [r for r, _ in good], skipped)
    headers = [h for _, h in good]
    mode = "L" if all(h.grey for h in headers) else "RGB"
    sizes = {(h.width, h.height) for h in headers}
    same = len(sizes) == 1 and headers[0].width == headers[0].height
    sample = headers[:: max(1, len(headers) // 200)]
    notes = [f"{len(bad)} of {len(records)} pictures cannot be used and are left out"] if bad else []
    if mode == "L":
        notes.append("all pictures are grey: one channel")
    return Dataset(
        name=f"{name}-files" if name in KNOWN else name,
        classes=classes,
        splits={s: split_of([r for r, _ in good if r.split == s], classes, mode) for s in {r.split for r, _ in good}},
        channels=1 if mode == "L" else 3,
        side_px=median_low(min(h.width, h.height) for h in sample),
        same_size=same,
        skipped=tuple(skipped),
        fingerprint=fingerprint(f"{r.split}\n{r.name}\n{r.label}\n{h.bytes}" for r, h in good),
        notes=(*notes, *stray_gifs([r for r, _ in good])),
    )


def check_classes(where: str, records: Sequence[Record], skipped: Sequence[Skipped]) -> tuple[str, ...]:
    """The classes of train, sorted by name. Raises DataError."""
    if not records:
        first = (
            f"; the first of {len(skipped)} skipped: {shown(skipped[0].path)}: {skipped[0].reason}" if skipped else ""
        )
        raise DataError(f"{shown(where)}: no usable image{first}")
    labels = {r.label for r in records if r.split == "train"}
    if not labels:
        raise DataError(f"{shown(where)}: no usable image to train on, only {some(sorted({r.split for r in records}))}")
    for r in records:
        if r.label not in labels:
            raise DataError(f"{shown(where)}: class '{shown(r.label)}' is in {r.split} but not in train")
    if len(labels) < 2:
        raise DataError(f"{shown(where)}: only one class ('{shown(min(labels))}'), and a classifier needs two")
    return tuple(sorted(labels))


def split_of(records: Sequence[Record], classes: Sequence[str], mode: str) -> Split:
    """The split of some files."""
    index = {c: i for i, c in enumerate(classes)}
    labels = np.array([index[r.label] for r in records], dtype=np.int64)
    return Split(FileImages(tuple(r.path for r in records), mode), labels, tuple(r.name for r in records))


def stray_gifs(records: Sequence[Record]) -> list[str]:
    """A note on GIFs that are rare in a set: they are often placeholders that a web page showed for a lost photo."""
    gifs = [shown(r.name) for r in records if r.name.lower().endswith(".gif")]
    if not gifs or len(gifs) * 20 > len(records):
        return []
    return [f"{len(gifs)} GIF among {len(records)} pictures is used by its first frame, look at it: {some(gifs)}"]


def in_memory(dataset: Dataset) -> Dataset:
    """The set with files of small equal squares decoded once and for all; those that turn out broken are left out."""
    files = all(isinstance(split.images, FileImages) for split in dataset.splits.values())
    count = sum(len(s) for s in dataset.splits.values())
    size = count * dataset.channels * dataset.side_px**2
    if not files or not dataset.same_size or dataset.side_px > SMALL_SIDE_PX or size > IN_MEMORY_BYTES:
        return dataset
    skipped: list[Skipped] = []
    splits = {name: decoded(split, skipped) for name, split in dataset.splits.items()}
    if empty := [name for name, split in splits.items() if not len(split)]:
        raise DataError(
            f"{dataset.name}: no image of {some(empty)} can be decoded; {skipped[0].path}: {skipped[0].reason}"
        )
    notes = [f"{count:,} pictures of {dataset.side_px} x {dataset.side_px} are held in memory"]
    if skipped:
        notes.append(f"{len(skipped)} more pictures cannot be decoded and are left out")
    return replace(dataset, splits=splits, skipped=(*dataset.skipped, *skipped), notes=(*dataset.notes, *notes))


def decoded(split: Split, skipped: list[Skipped]) -> Split:
    """The split in memory; what cannot be decoded is appended to `skipped`."""
    pictures, kept = [], []
    for i in range(len(split)):
        try:
            pictures.append(split.images[i])
            kept.append(i)
        except BadPicture as e:
            skipped.append(Skipped(split.names[i], e.reason))
    rows = split if len(kept) == len(split) else split.take(kept)
    return Split(ArrayImages(torch.stack(pictures) if pictures else torch.empty(0)), rows.labels, rows.names, rows.groups)
