"""Pictures that show things of one class each: what localization learns from and is judged by."""

from dataclasses import replace

import numpy as np

from residua.boxes.dataset import BoxDataset, BoxSplit
from residua.data.dataset import Indices
from residua.data.names import shown
from residua.data.splits import some
from residua.errors import DataError


def one_class(dataset: BoxDataset, *, train: bool = True) -> BoxDataset:
    """The set without the pictures that show nothing, or things of several classes; crowds of a class are no box of it.

    Raises DataError where a split has nothing left, or, unless it is not to `train` on, where a class of other pictures
    has none of its own to learn from.
    """
    splits, empty, several = {}, 0, 0
    for name, split in dataset.splits.items():
        targets = tuple(t.take(~t.crowd) for t in split.targets)
        kinds = np.array([len(np.unique(t.labels)) for t in targets], np.int64)
        empty, several = empty + int((kinds == 0).sum()), several + int((kinds > 1).sum())
        good = np.flatnonzero(kinds == 1)
        if not len(good):
            raise DataError(
                f"{dataset.name}: no picture of {name} shows things of one class alone, so nothing can be localized; "
                f"things of several classes in a picture are for `residua detect`"
            )
        splits[name] = replace(split, targets=targets).take(good)
    notes = list(dataset.notes)
    if empty:
        notes.append(f"{empty:,} pictures without a box are left out: localization has no background")
    if several:
        notes.append(f"{several:,} pictures show several classes and are left out: they are for `residua detect`")
    if train and "train" in splits:
        known, asked = (set(np.concatenate([labels(s) for s in of])) for of in ([splits["train"]], splits.values()))
        if lost := [shown(dataset.classes[i]) for i in sorted(asked - known)]:
            raise DataError(
                f"{dataset.name}: no picture of train shows {some(lost)} alone, so it cannot be learned; "
                f"things of several classes in a picture are for `residua detect`"
            )
    return replace(dataset, splits=splits, notes=tuple(notes))


def labels(split: BoxSplit) -> Indices:
    """The class of each picture (N,), all of whose boxes have one class."""
    return np.array([int(t.labels[0]) for t in split.targets], np.int64)


def mean_boxes(split: BoxSplit, classes: int) -> "np.typing.NDArray[np.float64]":
    """The mean box of each class (K, 4), edges as shares of their pictures' sides; the whole picture for none.

    Of a picture with several boxes the largest counts. It is what an answer without looking would be.
    """
    sums, counts = np.zeros((classes, 4)), np.zeros(classes)
    for size, target in zip(split.sizes.tolist(), split.targets, strict=True):
        largest = int((target.boxes[:, 2:] - target.boxes[:, :2]).prod(1).argmax())
        sums[target.labels[0]] += target.boxes[largest] / np.array([size[1], size[0], size[1], size[0]], np.float64)
        counts[target.labels[0]] += 1
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], np.array([0.0, 0, 1, 1]))
