"""What is to be written as shards: the pictures of a folder, a table, shards or a known set, in its own splits."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from PIL import Image

from residua.data.compact import Coded, FileNames, GrowingNames, Rows, Texts
from residua.data.dataset import ArrayImages, Dataset, FileImages, Images, Indices, Skipped
from residua.data.decode import EXTENSIONS, FORMATS, BadPicture, as_image, contents
from residua.data.files import check_classes, in_split
from residua.data.inspection import FACTS, Facts, looked_at
from residua.data.known import open_known
from residua.data.listing import Listing, Skips
from residua.data.names import KNOWN, shown
from residua.data.sources import listed
from residua.errors import DataError

#: Endings of formats that are not their names.
ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}

#: How a picture in memory is written: without loss.
PNG = "png"


@dataclass(frozen=True, eq=False)
class Samples:
    """N pictures with names, labels (N,) that count in `classes`, facts (N,), groups; the positions of each split."""

    name: str
    classes: tuple[str, ...]
    images: Images
    names: FileNames
    labels: Indices
    facts: Facts
    groups: Coded
    splits: Mapping[str, Rows]
    skipped: Sequence[Skipped]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many."""
        return len(self.labels)

    def encoded(self, i: int) -> tuple[bytes, str]:
        """The bytes of picture i as a file, and its ending; those of a file as they are. Raises BadPicture."""
        if not isinstance(self.images, FileImages):
            file = io.BytesIO()
            as_image(self.images[i]).save(file, "PNG")
            return file.getvalue(), PNG
        place = self.images.paths[i]
        data = contents(place)
        if len(data) != int(self.facts["bytes"][i]):
            raise BadPicture(str(place), "it changed while it was read")
        return data, ending_of(self.names[i], data)


def ending_of(name: str, data: bytes) -> str:
    """The ending of a picture's file in lower case; where it has none that is a picture's, that of its format."""
    ending = name.rpartition(".")[2].lower()
    if f".{ending}" in EXTENSIONS:
        return ending
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        kind = image.format or "JPEG"
    return ENDINGS.get(kind, kind.lower())


def gathered(spec: str, root: str | None = None) -> Samples:
    """The pictures of DATA that can be used. Raises UsageError or DataError, as opening them for a training would."""
    return of_known(open_known(spec, root=root)) if spec in KNOWN else of_listing(listed(spec))


def of_listing(listing: Listing) -> Samples:
    """The pictures of some files that can be used, each looked at."""
    if listing.advice:
        raise DataError(f"{shown(listing.where)}: {listing.advice}")
    files, facts, skipped = listing.files, listing.facts, listing.skipped
    if facts is None:
        looks, bad = looked_at(files)
        files, facts = files.take(looks.rows), looks.facts
        skipped = Skips.of(chain(skipped, bad))
    classes = check_classes(listing.where, files, skipped, listing.classes)
    index = {c: i for i, c in enumerate(classes)}
    labels = np.array([index.get(word, -1) for word in files.labels.words], np.int64)[files.labels.codes]
    splits = {split: rows for split in ("train", "val", "test") if len(rows := in_split(files, split))}
    return Samples(
        listing.name,
        classes,
        FileImages(files.paths),
        files.names,
        labels,
        facts,
        files.groups,
        splits,
        skipped,
        listing.notes,
    )


def of_known(dataset: Dataset) -> Samples:
    """The pictures of a known set, which lie in memory."""
    parts = [split for split in dataset.splits.values() if isinstance(split.images, ArrayImages)]
    images = ArrayImages.joined([part.images for part in parts if isinstance(part.images, ArrayImages)])
    names = GrowingNames()
    for part in parts:
        for name in part.names:
            names.append(name)
    facts = np.zeros(len(images), FACTS)
    facts["height"], facts["width"] = images.array.shape[2:]
    facts["grey"], facts["usable"] = dataset.channels == 1, True
    ends = np.cumsum([0, *map(len, parts)])
    splits = {split: np.arange(a, b) for split, a, b in zip(dataset.splits, ends[:-1], ends[1:], strict=True)}
    labels = np.concatenate([part.labels for part in parts])
    none = Coded(Texts.of([""]), np.zeros(len(labels), np.int32))
    return Samples(dataset.name, dataset.classes, images, names.done(), labels, facts, none, splits, ())
