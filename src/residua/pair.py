"""A model and a data set, brought together: labels that count in the model's classes, pictures by its view. Floor 1."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from residua.data.batches import Batch, in_order
from residua.data.cache import Decoding, opened
from residua.data.compact import joined
from residua.data.dataset import ArrayImages, Dataset, Split
from residua.data.sources import open_data
from residua.data.splits import Fold
from residua.data.view import View
from residua.engine import Engine, decide
from residua.errors import DataError, UsageError
from residua.nn import modelfile
from residua.nn.modelfile import Header
from residua.nn.resnet import Net


@dataclass(frozen=True, eq=False)
class Pair:
    """A net in evaluation mode on the CPU, and the pictures to show it; labels are positions in `classes`.

    `notes` says in words what was decided about classes and splits; pictures in files come from `cache`.
    """

    net: Net
    header: Header
    view: View
    dataset: Dataset
    splits: list[Split]
    classes: tuple[str, ...]
    notes: list[str]
    cache: Decoding = field(default_factory=Decoding)

    @property
    def n(self) -> int:
        """How many pictures."""
        return sum(map(len, self.splits))

    @property
    def names(self) -> Sequence[str]:
        """The name of every picture, in order."""
        return reduce(joined, (s.names for s in self.splits))

    def batches(self, batch_size: int, workers: int = 0, view: View | None = None) -> Iterator[Batch]:
        """Every picture of the splits once, as the model's view (or another) shows it, counted on over the splits."""
        first = 0
        for split in self.splits:
            for batch in in_order(split, view or self.view, batch_size, workers, self.cache):
                yield replace(batch, index=batch.index + first)
            first += len(split)

    def engine(self, **asked: Any) -> Engine:
        """The engine for pictures of this size, as `engine.decide` decides it."""
        return decide(side_px=self.view.side_px, in_memory=_in_memory(self.splits), **asked)


def pair(
    path: str | Path,
    data: str,
    *,
    split: str = "test",
    root: str | None = None,
    seed: int | None = None,
    limit: int | None = None,
    cache_size: int | None = 0,
) -> Pair:
    """The model of a file and one split of the data, or ``"all"``, divided as the training divided them.

    `cache_size` is in bytes, as `data.cache.opened` takes it; it changes how long pictures take, and nothing else.

    Raises DataError for a file that is no model, and for data without this split or with a class that the model lacks.
    """
    net, header = modelfile.load(path)
    recipe = header.recipe or {}
    dataset = open_data(
        data,
        root=root,
        seed=int(header.data.get("seed", 0)) if seed is None else seed,
        val_fraction=float(recipe.get("val_fraction", 0.1)) if split in ("train", "val") else 0.0,
        limit=limit,
        groups=header.data.get("groups"),
        fold=fold_of(header),
        only_for=header.data.get("fingerprint"),
    )
    notes = list(dataset.notes)
    classes, places = _classes(header, dataset, notes)
    splits = _splits(dataset, split, places)
    cache = Decoding() if _in_memory(splits) else opened(cache_size)
    return Pair(net, header, view_of(header, path), dataset, splits, classes, notes, cache)


def fold_of(header: Header) -> Fold | None:
    """The part of a cross-validation that the model of a file was tested on, if it was trained in one."""
    number, k = header.data.get("fold"), header.data.get("folds")
    return Fold(int(number), int(k)) if number is not None and k is not None else None


def view_of(header: Header, path: str | Path) -> View:
    """How the model of a file sees pictures. Raises DataError where the file does not say so, or not rightly."""
    try:
        view = View.from_json(header.view)
    except UsageError as e:
        raise DataError(f"{path} does not say how a picture becomes a tensor: {e}") from e
    if view.channels != header.row.channels:
        raise DataError(
            f"{path} does not fit together: its net takes {header.row.channels} channels, "
            f"its view makes {view.channels}: train or convert it again"
        )
    return view


def _in_memory(splits: Sequence[Split]) -> bool:
    return all(isinstance(s.images, ArrayImages) for s in splits)


def _classes(header: Header, dataset: Dataset, notes: list[str]) -> tuple[tuple[str, ...], list[int]]:
    """The names of the model's classes, and for each class of the data its place among them. Raises DataError."""
    ours, theirs = header.classes, dataset.classes
    if ours == theirs:
        return ours, list(range(len(ours)))
    unnamed = not header.data and ours == tuple(map(str, range(len(ours))))  # converted, not trained by us
    if unnamed and len(ours) == len(theirs):
        notes.append(f"the model's classes have no names: those of {dataset.name} are taken, by position")
        return theirs, list(range(len(theirs)))
    for name in theirs:
        if name not in ours:
            raise DataError(
                f"class '{name}' of {dataset.name} is none of the model's {len(ours)} classes ({_some(ours)}): "
                "take data with the model's classes"
            )
    if len(theirs) < len(ours):
        notes.append(f"{dataset.name} has {len(theirs)} of the model's {len(ours)} classes, found by name")
    return ours, [ours.index(name) for name in theirs]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _splits(dataset: Dataset, word: str, places: list[int]) -> list[Split]:
    """The split of that name, or all, with labels that count in the model's classes. Raises DataError."""
    chosen = (
        list(dataset.splits.values()) if word == "all" else [dataset.splits[word]] if word in dataset.splits else []
    )
    if not chosen:
        raise DataError(f"{dataset.name} has no {word} split: it has {', '.join(dataset.splits)}")
    table = np.asarray(places, dtype=np.int64)
    return [replace(s, labels=table[s.labels]) for s in chosen]
