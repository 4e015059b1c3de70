"""From a list of labelled files to a data set: every file looked at, the bad ones named and left out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import torch

from residua.data.compact import Rows
from residua.data.dataset import ArrayImages, Dataset, FileImages, Skipped, Split, fingerprint
from residua.data.decode import BadPicture
from residua.data.inspection import Looks, looked_at
from residua.data.listing import Files, GrowingSkips, Listing, Skips
from residua.data.names import KNOWN, shown
from residua.data.splits import some
from residua.data.view import SMALL_SIDE_PX
from residua.errors import DataError

#: Sets of small equal squares are decoded once and kept, if they fit into this many bytes.
IN_MEMORY_BYTES = 2**29


def dataset_of(listing: Listing) -> Dataset:
    """The data set of some files, with the splits they name. The classes are those of train, sorted by name.

    Raises DataError if nothing is left, there is one class only, or a split holds a class that train lacks.
    """
    if listing.advice:
        raise DataError(f"{shown(listing.where)}: {listing.advice}")
    if listing.facts is None:
        looks, bad = looked_at(listing.files)
    else:
        looks, bad = Looks(np.arange(len(listing.files)), listing.facts), Skips.of(())
    files = listing.files if len(looks.rows) == len(listing.files) else listing.files.take(looks.rows)
    skipped = Skips.of(chain(listing.skipped, bad)) if bad else listing.skipped
    classes = check_classes(listing.where, files, skipped, listing.classes)
    mode = "L" if looks.grey else "RGB"
    notes = [f"{len(bad)} of {len(listing.files)} pictures cannot be used and are left out"] if bad else []
    if mode == "L":
        notes.append("all pictures are grey: one channel")
    return Dataset(
        name=f"{listing.name}-files" if listing.name in KNOWN and files.members is None else listing.name,
        classes=classes,
        splits=splits_of(files, classes, mode),
        channels=1 if mode == "L" else 3,
        side_px=looks.median_side(),
        same_size=looks.same_size,
        skipped=skipped,
        fingerprint=listing.fingerprint or fingerprint(lines(files, looks)),
        notes=(*notes, *stray_gifs(files), *listing.notes),
    )


def lines(files: Files, looks: Looks) -> Iterator[str]:
    """What the fingerprint of files is made of: a text for each, of split, name, label and bytes."""
    for file, length in zip(files, map(int, looks.facts["bytes"]), strict=True):
        yield f"{file.split}\n{file.name}\n{file.label}\n{length}"


def check_classes(where: str, files: Files, skipped: Sequence[Skipped], order: Sequence[str] = ()) -> tuple[str, ...]:
    """The classes of train, in `order` or, without one, sorted by name. Raises DataError."""
    if not len(files):
        first = (
            f"; the first of {len(skipped)} skipped: {shown(skipped[0].path)}: {skipped[0].reason}" if skipped else ""
        )
        raise DataError(f"{shown(where)}: no usable image{first}")
    train = files.labels.codes[in_split(files, "train")]
    if not len(train):
        there = sorted(w for w, n in zip(files.splits.words, files.splits.counts(), strict=True) if n)
        raise DataError(f"{shown(where)}: no usable image to train on, only {some(there)}")
    strange = np.flatnonzero(~np.isin(files.labels.codes, train))
    if len(strange):
        r = files[int(strange[0])]
        raise DataError(f"{shown(where)}: class '{shown(r.label)}' is in {r.split} but not in train")
    labels = {files.labels.words[c] for c in np.unique(train).tolist()}
    if len(labels) < 2:
        raise DataError(f"{shown(where)}: only one class ('{shown(min(labels))}'), and a classifier needs two")
    return tuple(c for c in order if c in labels) if order else tuple(sorted(labels))


def in_split(files: Files, split: str) -> Rows:
    """The positions of the files of a split."""
    (codes,) = np.nonzero([word == split for word in files.splits.words])
    return np.flatnonzero(np.isin(files.splits.codes, codes))


def splits_of(files: Files, classes: Sequence[str], mode: str) -> dict[str, Split]:
    """The splits of some files: labels are positions in `classes`, groups are numbered over all splits."""
    index = {c: i for i, c in enumerate(classes)}
    labels = np.array([index.get(word, -1) for word in files.labels.words], dtype=np.int64)[files.labels.codes]
    groups = files.group_codes()
    splits = {}
    for name in ("train", "val", "test"):
        rows = in_split(files, name)
        if len(rows):
            own = files if len(rows) == len(files) else files.take(rows)
            splits[name] = Split(
                FileImages(own.paths, mode), labels[rows], own.names, None if groups is None else groups[rows]
            )
    return splits


def stray_gifs(files: Files) -> list[str]:
    """A note on GIFs that are rare in a set: they are often placeholders that a web page showed for a lost photo."""
    found = np.flatnonzero(files.names.ends.ends_with(".gif"))
    if not len(found) or len(found) * 20 > len(files):
        return []
    gifs = [shown(name) for name in files.names.take(found)]
    return [f"{len(gifs)} GIF among {len(files)} pictures is used by its first frame, look at it: {some(gifs)}"]


def in_memory(dataset: Dataset) -> Dataset:
    """The set with files of small equal squares decoded once and for all; those that turn out broken are left out."""
    files = all(isinstance(split.images, FileImages) for split in dataset.splits.values())
    count = sum(len(s) for s in dataset.splits.values())
    size = count * dataset.channels * dataset.side_px**2
    if not files or not dataset.same_size or dataset.side_px > SMALL_SIDE_PX or size > IN_MEMORY_BYTES:
        return dataset
    bad = GrowingSkips()
    splits = {name: decoded(split, dataset, bad) for name, split in dataset.splits.items()}
    skipped = bad.done()
    if empty := [name for name, split in splits.items() if not len(split)]:
        first = skipped[0]
        raise DataError(
            f"{dataset.name}: no image of {some(empty)} can be decoded; {shown(first.path)}: {first.reason}"
        )
    notes = [f"{count:,} pictures of {dataset.side_px} x {dataset.side_px} are held in memory"]
    if skipped:
        notes.append(f"{len(skipped)} more pictures cannot be decoded and are left out")
        skipped = Skips.of(chain(dataset.skipped, skipped))
    return replace(dataset, splits=splits, skipped=skipped or dataset.skipped, notes=(*dataset.notes, *notes))


def decoded(split: Split, dataset: Dataset, skipped: GrowingSkips) -> Split:
    """The split of a set of equal squares in memory; what cannot be decoded is added to `skipped`."""
    pixels = torch.empty(len(split), dataset.channels, dataset.side_px, dataset.side_px, dtype=torch.uint8)
    good = np.zeros(len(split), np.bool_)
    for i in range(len(split)):
        try:
            pixels[i] = split.images[i]
            good[i] = True
        except BadPicture as e:
            skipped.add(split.names[i], e.reason)
    if good.all():
        return replace(split, images=ArrayImages(pixels))
    kept = np.flatnonzero(good)
    return replace(split.take(kept), images=ArrayImages(pixels).take(kept))
