"""Which pictures are for training, for choosing and for testing: stratified, by whole groups, seeded, said aloud."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from residua import seeds
from residua.data.compact import joined
from residua.data.dataset import ArrayImages, Dataset, FileImages, Indices, Split
from residua.data.dealing import dealt, grouped
from residua.data.decode import Place
from residua.data.shards.members import Members
from residua.errors import UsageError

#: Of a set that comes in one piece, the share held out for the test.
TEST_FRACTION = 0.2

#: Of a large set no more is held out to choose the epoch by: 2,000 pictures tell errors of 10 and 12 % apart.
VAL_AT_MOST = 2000


def held_out(labels: Indices, count: int, *key: int | str) -> Indices:
    """Positions (sorted) of about `count` samples to hold out, of each class its share.

    Of a class with three samples or more at least one is held out, of smaller ones none, and never all.
    The choice within a class depends on `key` and the number of its samples alone.
    """
    sizes = np.bincount(labels)
    exact = sizes * count / len(labels)
    take = np.floor(exact).astype(np.int64)
    take[np.argsort(take - exact, kind="stable")[: count - take.sum()]] += 1  # the largest remainders round up
    take = np.where(sizes >= 3, np.clip(take, 1, np.maximum(sizes - 1, 1)), 0)
    chosen = [
        np.flatnonzero(labels == c)[seeds.generator(*key, c).permutation(sizes[c])[:n]] for c, n in enumerate(take)
    ]
    return np.sort(np.concatenate(chosen))


def divided(split: Split, count: int, *key: int | str) -> tuple[Split, Split]:
    """The samples that stay and about `count` held out, both in their old order; whole groups where there are any."""
    if split.groups is None:
        out = held_out(split.labels, count, *key)
    else:
        out = groups_held_out(split.labels, split.groups, count, *key)
    return split.take(np.setdiff1d(np.arange(len(split)), out)), split.take(out)


def groups_held_out(labels: Indices, groups: Indices, count: int, *key: int | str) -> Indices:
    """Positions (sorted) of whole groups to hold out, about `count` samples, of each class as near its share as groups
    allow. A class of a single group is not held out, nor is one of fewer than three samples, with all of their groups.
    """  # fmt: skip
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    few = (np.bincount(pairs[0]) < 2) | (np.bincount(labels) < 3)
    stays = np.isin(groups, groups[few[labels]])
    free = np.flatnonzero(~stays)
    if len(free) == 0 or count <= 0:
        return free[:0]
    share = min(count / len(free), 0.5)
    chosen: Indices = free[grouped(labels[free], groups[free], (1 - share, share), *key) == 1]
    return chosen


@dataclass(frozen=True)
class Fold:
    """Part `number`, from 1, of a cross-validation of `k`."""

    number: int
    k: int


def arranged(dataset: Dataset, *, seed: int, val_fraction: float, fold: Fold | None = None) -> Dataset:
    """The set with "train", "val" and "test" from the splits it came with, and notes that say how.

    train and val alone: val becomes the test, which is touched once; train alone: a test is held out first.
    Where there is no val by then, `val_fraction` of train, but at most VAL_AT_MOST, is held out for it.
    With `fold`, train and val are one pool, of which the fold is the test; a test that the set came with is left alone.
    """
    if not 0 <= val_fraction < 1:
        raise UsageError(f"the share of validation pictures must be in [0, 1), got {val_fraction:g}")
    splits, notes = (dict(dataset.splits), list[str]()) if fold is None else folded(dataset, fold, seed)
    how = ", whole groups" if splits["train"].groups is not None else ""
    if small := [c for c, n in zip(dataset.classes, counts(splits["train"], dataset), strict=True) if n < 3]:
        notes.append(f"fewer than three training pictures of {some(small)}: none of them is held out")
    if "test" not in splits and "val" in splits:
        splits["test"] = splits.pop("val")
        notes.append("the set's val split serves as the test, touched once at the end")
    elif "test" not in splits:
        count = round(len(splits["train"]) * TEST_FRACTION)
        splits["train"], splits["test"] = divided(splits["train"], count, seed, "test")
        notes.append(f"one set: {len(splits['test'])} pictures held out for the test, stratified{how}, by seed {seed}")
    if "val" not in splits and val_fraction > 0:
        count = min(round(len(splits["train"]) * val_fraction), VAL_AT_MOST)
        splits["train"], splits["val"] = divided(splits["train"], count, seed, "val")
        held = f"{len(splits['val'])} training pictures held out for validation"
        notes.append(f"{held}, stratified{how}, by seed {seed}")
    for name in ("val", "test"):
        if name in splits and (none := absent(splits[name], dataset)):
            notes.append(f"{name} has no picture of {some(none)}")
    return replace(dataset, splits=in_order(splits), notes=(*dataset.notes, *notes))


def folded(dataset: Dataset, fold: Fold, seed: int) -> tuple[dict[str, Split], list[str]]:
    """Training part and test of a fold, and notes. Raises UsageError for more folds than a class has pictures or
    groups.
    """  # fmt: skip
    pool = pooled(dataset)
    sides = folds_of(pool, dataset.classes, fold.k, seed)
    ours = sides == fold.number - 1
    splits = {"train": pool.take(np.flatnonzero(~ours)), "test": pool.take(np.flatnonzero(ours))}
    how = ", whole groups" if pool.groups is not None else ""
    notes = [f"fold {fold.number} of {fold.k}: {ours.sum()} of {len(pool)} pictures are its test, stratified{how}, "
             f"by seed {seed}"]  # fmt: skip
    if "test" in dataset.splits:
        notes.append(f"the set's own test of {len(dataset.splits['test'])} pictures is left alone")
    return splits, notes


def pooled(dataset: Dataset) -> Split:
    """What a cross-validation divides: train, and val where the set came with one."""
    train, val = dataset.splits["train"], dataset.splits.get("val")
    if val is None:
        return train
    a, b = train.images, val.images
    if isinstance(a, ArrayImages) and isinstance(b, ArrayImages):
        images: ArrayImages | FileImages = ArrayImages.joined([a, b])
    else:
        assert isinstance(a, FileImages) and isinstance(b, FileImages)
        images = FileImages(places(a.paths, b.paths), a.mode)
    groups = None if train.groups is None or val.groups is None else np.concatenate([train.groups, val.groups])
    return Split(images, np.concatenate([train.labels, val.labels]), joined(train.names, val.names), groups)


def places(first: Sequence[Place], second: Sequence[Place]) -> Sequence[Place]:
    """Where the pictures of two parts of one set are, those of the first first."""
    if isinstance(first, Members) and isinstance(second, Members):
        return first.followed_by(second)
    return joined(cast(Sequence[str], first), cast(Sequence[str], second))


def folds_of(pool: Split, classes: tuple[str, ...], k: int, seed: int) -> Indices:
    """The fold, from 0, of each sample of a pool (N,). Raises UsageError for more folds than it allows."""
    what, each = "pictures", np.bincount(pool.labels, minlength=len(classes))
    if pool.groups is not None:
        pairs = np.unique(np.stack([pool.labels, pool.groups]), axis=1)
        what, each = "groups", np.bincount(pairs[0], minlength=len(classes))
    most, where = int(each.min()), classes[int(each.argmin())]
    if k > most:
        few = f"the class {where} has {most} {what if most != 1 else what[:-1]}"
        raise UsageError(f"--folds {k}: {few}, so " + (f"{most} is the most" if most > 1 else "it cannot be divided"))
    if pool.groups is None:
        return dealt(pool.labels, k, seed, "folds")
    folds = grouped(pool.labels, pool.groups, [1 / k] * k, seed, "folds")
    if lost := [c for i, c in enumerate(classes) if len(np.unique(folds[pool.labels == i])) < 2]:
        raise UsageError(f"--folds {k}: a fold would hold all groups of {some(lost)} and train without it: try fewer")
    return folds


def limited(dataset: Dataset, limit: int | None, *, turns: bool) -> Dataset:
    """The set with the first `limit` pictures of each split; with `turns`, taken from each class in turn.

    Folders have no order but their names': their first pictures would all be of one class.
    """
    if limit is None:
        return dataset
    if limit < 1:
        raise UsageError(f"the limit must be at least one picture, got {limit}")
    splits = {
        name: split.take(by_turns(split.labels, limit) if turns else np.arange(min(limit, len(split))))
        for name, split in dataset.splits.items()
    }
    return replace(dataset, splits=splits, notes=(*dataset.notes, f"limited to {limit} pictures of each split"))


def by_turns(labels: Indices, count: int) -> Indices:
    """Positions (sorted) of `count` samples, taken from each class in turn."""
    turn = np.empty(len(labels), np.int64)
    for c in np.unique(labels):
        turn[labels == c] = np.arange((labels == c).sum())
    return np.sort(np.lexsort((labels, turn))[:count])


def in_order(splits: Mapping[str, Split]) -> dict[str, Split]:
    """The splits that hold anything: train, val, test."""
    return {name: splits[name] for name in ("train", "val", "test") if name in splits and len(splits[name])}


def counts(split: Split, dataset: Dataset) -> npt.NDArray[np.int64]:
    """Pictures of each class (K,)."""
    return np.bincount(split.labels, minlength=len(dataset.classes))


def absent(split: Split, dataset: Dataset) -> list[str]:
    """The classes that a split has no picture of."""
    return [c for c, n in zip(dataset.classes, counts(split, dataset), strict=True) if n == 0]


def some(names: list[str], n: int = 5) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")
