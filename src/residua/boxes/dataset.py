"""Pictures with boxes, in splits: every picture looked at, every box checked, in the frame of the upright picture."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from residua import seeds
from residua.boxes.listing import Boxes, Flags, Indices, Marked
from residua.data.dataset import FileImages, Skipped, fingerprint
from residua.data.decode import BadPicture, inspect, orientation
from residua.data.names import shown
from residua.data.splits import TEST_FRACTION, VAL_AT_MOST, by_turns, some
from residua.errors import DataError, UsageError

#: A box that is thinner than this many pixels within its picture holds nothing.
THIN_PX = 1.0
#: An edge this far outside its picture, in pixels, is an inexactness: it is cut without a word.
LOOSE_PX = 2.0

#: Why boxes are left out or changed, in the words of messages.
NO_AREA, OUTSIDE, TWICE, CUT = "no area", "outside the picture", "there twice", "cut at the picture's edge"


@dataclass(frozen=True, eq=False)
class Target:
    """The boxes of one picture: float32 (n, 4) as left, top, right, bottom in pixels, and what is in each (n,)."""

    boxes: npt.NDArray[np.float32]
    labels: Indices
    difficult: Flags
    crowd: Flags

    def take(self, which: npt.NDArray[np.bool_] | Indices) -> "Target":
        """Some of the boxes."""
        return Target(self.boxes[which], self.labels[which], self.difficult[which], self.crowd[which])


@dataclass(frozen=True, eq=False)
class BoxSplit:
    """Pictures with their names, upright sizes (N, 2) as height and width, and targets."""

    images: FileImages
    names: tuple[str, ...]
    sizes: Indices
    targets: tuple[Target, ...]

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.names)

    @property
    def boxes(self) -> int:
        """How many boxes."""
        return sum(len(t.labels) for t in self.targets)

    def take(self, indices: npt.ArrayLike) -> "BoxSplit":
        """The pictures at `indices`, in that order."""
        rows = np.asarray(indices, dtype=np.int64)
        names, targets = (tuple(v[i] for i in rows.tolist()) for v in (self.names, self.targets))
        return BoxSplit(self.images.take(rows), names, self.sizes[rows], targets)

    def counts(self, classes: int) -> Indices:
        """Boxes of each class (K,)."""
        every = [t.labels for t in self.targets]
        return np.bincount(np.concatenate(every) if every else np.zeros(0, np.int64), minlength=classes)


@dataclass(frozen=True)
class BadBox:
    """A box that is left out, or that was changed: of which picture, the how-manieth, its edges, and why."""

    picture: str
    number: int
    edges: tuple[float, ...]
    label: str
    reason: str


@dataclass(frozen=True, eq=False)
class BoxDataset:
    """Splits "train", "val" and "test", those that exist, over the same classes.

    `skipped` are pictures, rows and files that are not used, `bad` the boxes that are not, `cut` those that were cut.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    splits: Mapping[str, BoxSplit]
    channels: int
    skipped: tuple[Skipped, ...]
    bad: tuple[BadBox, ...]
    cut: tuple[BadBox, ...]
    fingerprint: str
    notes: tuple[str, ...]
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Framed:
    """Marked pictures that can be used, their boxes in the frame of the upright picture; the others, and why."""

    marked: Marked
    sizes: Indices  # (N, 2): height and width, upright
    boxes: Boxes
    grey: bool
    rows: Indices  # of the pictures that can be used
    bytes: Indices
    unusable: dict[int, str]
    turned: tuple[int, ...]  # pictures whose boxes were in the stored frame of a turned picture
    misfit: tuple[int, ...]  # pictures of another size than their annotation says


def framed(marked: Marked) -> Framed:
    """Look at every picture, and bring its boxes into the upright frame.

    An annotation that states the size which the picture has before it is turned means the stored frame; every other
    one means the picture as it is seen.
    """
    found = inspect(marked.paths)
    with ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(orientation, marked.paths, chunksize=64))
    sizes = np.zeros((len(marked), 2), np.int64)
    boxes, unusable, turned, misfit = marked.boxes.copy(), {}, [], []
    grey, lengths = True, np.zeros(len(marked), np.int64)
    for i, (header, turn) in enumerate(zip(found, turns, strict=True)):
        if isinstance(header, BadPicture):
            unusable[i] = header.reason
            continue
        grey, lengths[i] = grey and header.grey, header.bytes
        stored = (header.width, header.height)
        upright = stored[::-1] if turn >= 5 else stored
        sizes[i] = upright[::-1]
        own = slice(marked.starts[i], marked.starts[i + 1])
        stated = tuple(int(n) for n in marked.stated[i])
        if marked.relative:
            boxes[own] *= np.array([*upright, *upright], np.float64)
        elif stated == stored != upright:
            boxes[own] = uprighted(boxes[own], stored, turn)
            turned.append(i)
        elif stated not in (upright, (0, 0)):
            misfit.append(i)
    rows = np.array([i for i in range(len(marked)) if i not in unusable], np.int64)
    return Framed(marked, sizes, boxes, grey, rows, lengths, unusable, tuple(turned), tuple(misfit))


def uprighted(boxes: Boxes, stored: tuple[int, int], turn: int) -> Boxes:
    """Boxes in the stored frame (width, height) as they lie once the picture is upright (EXIF 2.32, orientations)."""
    width, height = stored
    left, top, right, bottom = boxes.T
    if turn in (5, 6, 7, 8):  # rows become columns
        mirrored_x, mirrored_y = turn in (6, 7), turn in (7, 8)
        left, top, right, bottom, width, height = top, left, bottom, right, height, width
    else:
        mirrored_x, mirrored_y = turn in (2, 3), turn in (3, 4)
    if mirrored_x:
        left, right = width - right, width - left
    if mirrored_y:
        top, bottom = height - bottom, height - top
    return np.stack([left, top, right, bottom], axis=1)


@dataclass(frozen=True, eq=False)
class Sound:
    """Which boxes are used (M,), as they are used, and what is wrong with the others."""

    keep: Flags
    boxes: Boxes
    bad: tuple[BadBox, ...]
    cut: tuple[BadBox, ...]


def sound(of: Framed) -> Sound:
    """Every box cut to its picture; those that are without area, outside of it or there twice are left out."""
    marked, owner = of.marked, of.marked.owner()
    limits = of.sizes[owner][:, [1, 0, 1, 0]].astype(np.float64)
    boxes = of.boxes
    usable = np.isin(owner, of.rows)
    empty = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    inside = np.clip(boxes, 0, limits)
    thin: Flags = np.any(inside[:, 2:] - inside[:, :2] < np.minimum(THIN_PX, boxes[:, 2:] - boxes[:, :2]), axis=1)
    twice = repeated(owner, marked.labels, boxes)
    loose = np.abs(inside - boxes).max(1, initial=0) > LOOSE_PX
    bad: list[BadBox] = []
    cut: list[BadBox] = []
    for i in np.flatnonzero(usable & (empty | thin | twice | loose)).tolist():
        reason = NO_AREA if empty[i] else OUTSIDE if thin[i] else TWICE if twice[i] else CUT
        told = BadBox(
            marked.names[owner[i]], i - int(marked.starts[owner[i]]) + 1, tuple(boxes[i].tolist()),
            marked.classes[marked.labels[i]], reason,
        )  # fmt: skip
        (cut if reason == CUT else bad).append(told)
    return Sound(usable & ~(empty | thin | twice), inside, tuple(bad), tuple(cut))


def repeated(owner: Indices, labels: Indices, boxes: Boxes) -> Flags:
    """Which boxes say what an earlier one of the same picture says: the same class in the same place."""
    rows = np.column_stack([owner, labels, boxes])
    _, first = np.unique(rows, axis=0, return_index=True)
    again = np.ones(len(rows), np.bool_)
    again[first] = False
    return again


def dataset_of(marked: Marked, *, train: bool = True) -> BoxDataset:
    """The data set of marked pictures, every one looked at. Raises DataError where nothing is there; and, unless it is
    not to `train` on, where nothing can be learned from it.
    """  # fmt: skip
    of = framed(marked)
    good = sound(of)
    where = shown(marked.where)
    if not len(of.rows):
        why = next((f"; the first: {shown(marked.names[i])}: {r}" for i, r in of.unusable.items()), "")
        why = why or next(
            (f"; the first of {len(marked.skipped)} skipped: {s.path}: {s.reason}" for s in marked.skipped), ""
        )
        raise DataError(f"{where}: no usable picture with an annotation{why}")
    mode = "L" if of.grey else "RGB"
    splits = {}
    for split in ("train", "val", "test"):
        rows = np.array([i for i in of.rows.tolist() if marked.splits[i] == split], np.int64)
        if len(rows):
            splits[split] = BoxSplit(
                FileImages(tuple(marked.paths[i] for i in rows.tolist()), mode),
                tuple(marked.names[i] for i in rows.tolist()),
                of.sizes[rows],
                tuple(target(marked, good, int(i)) for i in rows),
            )
    if train:
        check_trainable(marked, good, of, splits)
    notes = list(marked.notes)
    notes += [f"{n:,} {what}" for n, what in counted(of, good, splits) if n]
    if mode == "L":
        notes.append("all pictures are grey: one channel")
    return BoxDataset(
        name=marked.name, kind=marked.kind, classes=marked.classes, splits=splits,
        channels=1 if mode == "L" else 3,
        skipped=(*marked.skipped, *(Skipped(marked.names[i], r) for i, r in of.unusable.items())),
        bad=good.bad, cut=good.cut, fingerprint=fingerprint(lines(of, good)), notes=tuple(notes), ids=marked.ids,
    )  # fmt: skip


def check_trainable(marked: Marked, good: Sound, of: Framed, splits: Mapping[str, BoxSplit]) -> None:
    """Raise DataError where nothing can be learned, or not everything."""
    where = shown(marked.where)
    if "train" not in splits:
        raise DataError(f"{where}: no usable picture to train on, only {some(sorted(splits))}")
    train = splits["train"].counts(len(marked.classes))
    if not train.sum():
        raise DataError(f"{where}: no usable box to train on")
    if strange := [c for c, n in zip(marked.classes, train, strict=True) if not n]:
        there = np.unique(marked.labels[good.keep & np.isin(marked.owner(), of.rows)])
        if lost := [c for c in strange if marked.classes.index(c) in there]:
            raise DataError(f"{where}: class '{shown(lost[0])}' has boxes, but none in train")


def target(marked: Marked, good: Sound, i: int) -> Target:
    """The boxes of picture i that are used."""
    own = np.arange(marked.starts[i], marked.starts[i + 1])
    own = own[good.keep[own]]
    return Target(good.boxes[own].astype(np.float32), marked.labels[own], marked.difficult[own], marked.crowd[own])


def counted(of: Framed, good: Sound, splits: Mapping[str, BoxSplit]) -> list[tuple[int, str]]:
    """What a note says how often."""
    reasons = [b.reason for b in good.bad]
    return [
        (len(of.unusable), "pictures cannot be used and are left out"),
        (sum(not len(t.labels) for s in splits.values() for t in s.targets), "pictures have no box and are background"),
        *((reasons.count(r), f"boxes are left out: {r}") for r in (NO_AREA, OUTSIDE, TWICE)),
        (len(good.cut), "boxes reach beyond their pictures and are cut at the edge"),
        (len(of.turned), "pictures are stored turned, with boxes in the stored frame: both are set upright"),
        (len(of.misfit), "pictures have another size than their annotations say: boxes are taken as pixels of them"),
    ]


def lines(of: Framed, good: Sound) -> list[str | npt.NDArray[np.generic]]:
    """What the fingerprint is made of."""
    marked = of.marked
    told: list[str | npt.NDArray[np.generic]] = [
        f"{marked.splits[i]}\n{marked.names[i]}\n{of.bytes[i]}" for i in of.rows.tolist()
    ]
    return [*told, *marked.classes, good.boxes[good.keep], marked.labels[good.keep], marked.owner()[good.keep]]


# -- splits ---------------------------------------------------------------------------------------------------------


def arranged(
    dataset: BoxDataset, *, seed: int, val_fraction: float, limit: int | None = None, strict: bool = True
) -> BoxDataset:  # fmt: skip
    """The set with "train", "val" and "test": what it lacks is held out of train, as for classification.

    Raises UsageError for numbers that make no sense, and DataError, where it is `strict`, for a class that train lacks.
    """
    if not 0 <= val_fraction < 1:
        raise UsageError(f"the share of validation pictures must be in [0, 1), got {val_fraction:g}")
    splits, notes = dict(dataset.splits), []
    before = absent(splits["train"], dataset.classes) if "train" in splits else []
    if before:
        notes.append(f"train has no box of {some(before)}")
    if "test" not in splits and "val" in splits:
        splits["test"] = splits.pop("val")
        notes.append("the set's val split serves as the test, touched once at the end")
    elif "test" not in splits:
        splits["train"], splits["test"] = divided(splits["train"], TEST_FRACTION, seed, "test")
        notes.append(f"one set: {len(splits['test'])} pictures held out for the test, by seed {seed}")
    if "val" not in splits and val_fraction > 0:
        share = min(val_fraction, VAL_AT_MOST / len(splits["train"]))
        splits["train"], splits["val"] = divided(splits["train"], share, seed, "val")
        notes.append(f"{len(splits['val'])} training pictures held out for validation, by seed {seed}")
    if limit is not None:
        if limit < 1:
            raise UsageError(f"the limit must be at least one picture, got {limit}")
        splits = {name: s.take(by_turns(first_labels(s), limit)) for name, s in splits.items()}
        notes.append(f"limited to {limit} pictures of each split")
    for name in ("train", "val", "test"):
        none = [c for c in absent(splits[name], dataset.classes) if c not in before] if name in splits else []
        if none:
            if name == "train" and strict:
                raise DataError(f"{dataset.name}: train has no box of {some(none)} once pictures are held out")
            notes.append(f"{name} has no box of {some(none)}")
    ordered: dict[str, BoxSplit] = {
        name: splits[name] for name in ("train", "val", "test") if name in splits and len(splits[name])
    }
    return replace(dataset, splits=ordered, notes=(*dataset.notes, *notes))


def absent(split: BoxSplit, classes: Sequence[str]) -> list[str]:
    """The classes that a split has no box of."""
    return [c for c, n in zip(classes, split.counts(len(classes)), strict=True) if not n]


def first_labels(split: BoxSplit) -> Indices:
    """The class of each picture's first box; -1 for background."""
    return np.array([int(t.labels[0]) if len(t.labels) else -1 for t in split.targets], np.int64)


def divided(split: BoxSplit, share: float, *key: int | str) -> tuple[BoxSplit, BoxSplit]:
    """The pictures that stay, and a share of them held out: of the pictures of each rarest class that they show, in
    turn, so that rare things are on both sides. Both in their old order."""
    counts = split.counts(1 + max((int(t.labels.max()) for t in split.targets if len(t.labels)), default=0))
    rarest = np.array([min(t.labels, key=lambda c: (counts[c], c)) if len(t.labels) else -1 for t in split.targets])
    out: list[int] = []
    for c in np.unique(rarest):
        members = np.flatnonzero(rarest == c)
        mixed = members[seeds.generator(*key, int(c)).permutation(len(members))]
        out += mixed[: round(len(members) * share)].tolist()
    if not out and len(split) > 1:
        out = [int(seeds.generator(*key).integers(len(split)))]
    held = np.sort(np.array(out, np.int64))
    return split.take(np.setdiff1d(np.arange(len(split)), held)), split.take(held)
