"""A model and data brought together: boxes that count in the model's classes."""

from dataclasses import replace

import numpy as np

from residua.boxes.dataset import BoxDataset, BoxSplit, Target, arranged, dataset_of
from residua.boxes.one_class import one_class
from residua.boxes.sources import listed
from residua.data.dataset import FileImages
from residua.data.names import shown
from residua.data.splits import some
from residua.errors import DataError

#: The seed by which trainings hold out a test where the data bring none.
SEED = 0


def matched(
    classes: tuple[str, ...], mode: str, spec: str, split: str, *, alone: bool = False
) -> tuple[BoxDataset, str]:
    """The data with labels in the order of a model's classes, and the name of the split that was asked for.

    `mode` is that of the model's view; "all" is every picture; `alone` leaves out what does not show one class alone.
    Raises DataError for a class that the model does not have, or a split that is not there.
    """
    dataset = dataset_of(listed(spec), train=False)
    if alone:
        dataset = one_class(dataset, train=False)
    if strange := [c for c in used(dataset) if c not in classes]:
        theirs = some(list(classes), 4)
        raise DataError(f"class '{shown(strange[0])}' of {spec} is none of the model's {len(classes)} ({theirs})")
    place = np.array([classes.index(c) if c in classes else -1 for c in dataset.classes], np.int64)
    splits = {name: renamed(s, place, mode) for name, s in dataset.splits.items()}
    dataset = replace(dataset, classes=classes, splits=splits)
    if split == "all":
        return replace(dataset, splits={"all": joined(list(splits.values()))}), "all"
    if split not in splits and "train" in splits:
        dataset = arranged(dataset, seed=SEED, val_fraction=0.1, strict=False)
    if split not in dataset.splits:
        raise DataError(f"{spec} has no {split} pictures, only {some(list(dataset.splits))}: try --split all")
    return replace(dataset, splits={split: dataset.splits[split]}), split


def used(dataset: BoxDataset) -> list[str]:
    """The classes that have a box."""
    counts = np.sum([s.counts(len(dataset.classes)) for s in dataset.splits.values()], axis=0)
    return [c for c, n in zip(dataset.classes, counts, strict=True) if n]


def renamed(split: BoxSplit, place: "np.typing.NDArray[np.int64]", mode: str) -> BoxSplit:
    """The split with labels moved to their places."""
    targets = tuple(Target(t.boxes, place[t.labels], t.difficult, t.crowd) for t in split.targets)
    return BoxSplit(FileImages(split.images.paths, mode), split.names, split.sizes, targets)


def joined(splits: list[BoxSplit]) -> BoxSplit:
    """All pictures of some splits."""
    paths = tuple(p for s in splits for p in s.images.paths)
    return BoxSplit(
        FileImages(paths, splits[0].images.mode), tuple(n for s in splits for n in s.names),
        np.concatenate([s.sizes for s in splits]), tuple(t for s in splits for t in s.targets),
    )  # fmt: skip
