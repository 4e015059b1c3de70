"""What belongs together (pictures of one patient, one plant, one film): from names, by folder or by an expression."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from residua.data.dataset import Dataset, Split
from residua.data.names import UNGROUPED, expression
from residua.errors import DataError, UsageError


def with_groups(dataset: Dataset, word: str | None) -> Dataset:
    """The set with the groups that `word` asks for, and a note: ``folder``, an expression, ``none``; None leaves those
    of the data themselves. A picture that the expression does not fit is a group of its own.

    Raises UsageError where it fits no name, DataError where everything is one group.
    """  # fmt: skip
    if word is None:
        return told(dataset, "the column of the table")
    if word == UNGROUPED:
        return replace(dataset, splits={k: replace(s, groups=None) for k, s in dataset.splits.items()})
    fits = expression(word)
    code: dict[str, int] = {}
    splits: dict[str, Split] = {}
    alone = 0
    for name, split in dataset.splits.items():
        named = ((n, dataset.classes[c]) for n, c in zip(split.names, split.labels.tolist(), strict=True))
        words = [folder_of(n, label) if fits is None else match_of(n, fits) for n, label in named]
        alone += sum(word is None for word in words)
        splits[name] = numbered(split, words, code, first=sum(len(s) for s in splits.values()))
    total = sum(map(len, splits.values()))
    if alone == total:
        what = "no picture lies in a folder below its class folder" if fits is None else "it fits no picture's name"
        raise UsageError(f"--groups {word}: {what}, such as '{_first(dataset)}'")
    made = replace(dataset, splits=splits)
    rest = f"; {alone:,} of {total:,} pictures belong to none and stand alone" if alone else ""
    return told(made, "folders below the class folders" if fits is None else f"by {word} in their names", rest)


def folder_of(name: str, label: str) -> str | None:
    """The folders between the class folder and the picture, or all above it where no folder has the class's name; the
    same below two classes is the same. None for a picture in the class folder itself.
    """  # fmt: skip
    above = name.split("/")[:-1]
    below = above[above.index(label) + 1 :] if label in above else above
    return "/".join(below) or None


def match_of(name: str, fits: re.Pattern[str]) -> str | None:
    """What the expression's first group holds, or all that it fits where it has no group; None where it does not."""
    found = fits.search(name)
    return None if found is None else found[1] if fits.groups else found[0]


def numbered(split: Split, words: list[str | None], code: dict[str, int], *, first: int) -> Split:
    """The split with a number for each word, the same in every split; pictures without a word get one below 0 each."""
    groups = [code.setdefault(w, len(code)) if w is not None else -1 - first - i for i, w in enumerate(words)]
    return replace(split, groups=np.array(groups, np.int64))


def told(dataset: Dataset, whence: str, rest: str = "") -> Dataset:
    """The set with a note on its groups, if it has any. Raises DataError for a single one."""
    parts = {name: s.groups for name, s in dataset.splits.items() if s.groups is not None}
    if not parts:
        return dataset
    sizes = np.unique(np.concatenate(list(parts.values())), return_counts=True)[1]
    if len(sizes) == 1:
        raise DataError(f"{dataset.name}: all pictures are one group ({whence}): nothing can be held out")
    notes = [f"{len(sizes):,} groups ({whence}), the largest of {sizes.max():,} pictures{rest}"]
    return replace(dataset, notes=(*dataset.notes, *notes, *across(parts)))


def across(parts: dict[str, "np.typing.NDArray[np.int64]"]) -> Iterator[str]:
    """Notes on groups that the splits that came with the data tear apart."""
    names = list(parts)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            if n := len(np.intersect1d(parts[a], parts[b])):
                yield f"{n:,} groups are in {a} and in {b}, as these splits came: errors there may look too good"


def _first(dataset: Dataset) -> str:
    return next((n for s in dataset.splits.values() for n in s.names), "")
