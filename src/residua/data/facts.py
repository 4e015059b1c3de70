"""A data set in numbers: sizes, how unequal the classes are, what a centre crop hides. From labels and sides alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from residua.data.dataset import Dataset, Split
from residua.data.decode import Header, inspect
from residua.data.view import View

#: Of a large set so many files of each split, spread evenly, tell the sizes.
QUICK = 2000

Numbers = npt.NDArray[np.integer[Any]]
Shares = npt.NDArray[np.float64]

#: A picture of which a crop hides more than this share of the area is counted: of a photo of 4 : 3 it hides 43 %.
MUCH = 0.4

#: Classes are called unequal where the largest has more than this many times the pictures of the smallest.
UNEQUAL = 3.0


def sizes(widths: Numbers, heights: Numbers) -> dict[str, dict[str, int]]:
    """The smallest, median (the lower of two) and largest of width, height and short side in pixels; {} for none."""
    if not len(widths):
        return {}
    sides = {"width": widths, "height": heights, "short_side": np.minimum(widths, heights)}
    ordered = {name: np.sort(side) for name, side in sides.items()}
    return {
        name: {"min": int(s[0]), "median": int(s[(len(s) - 1) // 2]), "max": int(s[-1])} for name, s in ordered.items()
    }


def imbalance(counts: Mapping[str, int]) -> dict[str, Any]:
    """The class with most pictures, the one with fewest (of those that have any), and the ratio; {} for none."""
    there = {c: n for c, n in counts.items() if n}
    if not there:
        return {}
    most, least = max(there, key=lambda c: there[c]), min(there, key=lambda c: there[c])
    return {
        "ratio": there[most] / there[least],
        "largest": {"class": most, "pictures": there[most]},
        "smallest": {"class": least, "pictures": there[least]},
    }


def hidden(view: View, widths: Numbers, heights: Numbers) -> Shares:
    """The share (N,) of each picture's area that lies outside what a centre crop shows the net.

    The short side becomes `resize_px`, of which `side_px` by `side_px` stay.
    """
    w, h = widths.astype(np.float64), heights.astype(np.float64)
    short = np.minimum(w, h)
    kept = short * view.side_px / view.resize_px
    return 1 - kept**2 / (w * h)


def hidden_by_crop(
    view: View, sides: tuple[Numbers, Numbers], labels: Numbers, *, classes: Sequence[str]
) -> dict[str, Any]:
    """Of pictures of these widths and heights, the mean share of the area hidden, and how many lose much (over 40 %):
    of all and of each class; with the sides of the view. {} for a view that does not crop, which hides nothing.
    """
    if view.fit != "crop" or not len(labels):
        return {}
    shares = hidden(view, *sides)
    n = np.bincount(labels, minlength=len(classes))
    total, over = np.bincount(labels, shares), np.bincount(labels, shares > MUCH)
    each = {
        c: {"mean": float(total[i] / n[i]), "over_40": int(over[i]), "pictures": int(n[i])}
        for i, c in enumerate(classes)
        if n[i]
    }
    return {
        "mean": float(shares.mean()), "over_40": int((shares > MUCH).sum()), "pictures": len(shares), "classes": each,
        "side_px": view.side_px, "resize_px": view.resize_px,
    }  # fmt: skip


def quick(dataset: Dataset, view: View) -> dict[str, Any]:
    """`sizes`, `imbalance` and `hidden_by_crop` of a data set, from the headers of up to some thousand of its files."""
    parts = [sides(split, dataset.side_px) for split in dataset.splits.values()]
    labels, widths, heights = (np.concatenate(column) for column in zip(*parts, strict=True))
    train = np.bincount(dataset.splits["train"].labels, minlength=len(dataset.classes))
    return {
        "sizes": sizes(widths, heights),
        "imbalance": imbalance(dict(zip(dataset.classes, train.tolist(), strict=True))),
        "hidden_by_crop": hidden_by_crop(view, (widths, heights), labels, classes=dataset.classes),
    }


def sides(split: Split, side_px: int) -> tuple[Numbers, Numbers, Numbers]:
    """Labels, widths and heights of some pictures of a split, as their files say; in memory all have one side."""
    paths = getattr(split.images, "paths", None)
    if paths is None:
        same = np.full(len(split), side_px, np.int64)
        return split.labels, same, same
    rows = np.unique(np.linspace(0, len(split) - 1, min(QUICK, len(split))).astype(np.int64))
    found = inspect([paths[i] for i in rows.tolist()])
    told = [(split.labels[i], h.width, h.height) for i, h in zip(rows, found, strict=True) if isinstance(h, Header)]
    labels, widths, heights = np.array(told, np.int64).reshape(-1, 3).T
    return labels, widths, heights
