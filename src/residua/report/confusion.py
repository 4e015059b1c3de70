"""confusion.png, and what a confusion matrix says in words."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from residua.report import say, style
from residua.report.files import RunFiles, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Up to `ROOMY` classes cells are large; above `NAMED` there are colours only, no names and no counts.
ROOMY, NAMED = 30, 130

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Matrix:
    """`counts` (K, K): rows are the true classes, columns what the net said."""

    classes: tuple[str, ...]
    counts: Counts

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Each row divided by its number of images; a class without images is a row of zeros."""
        shares: npt.NDArray[np.float64] = self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1)
        return shares


@dataclass(frozen=True)
class Pair:
    """`wrong` of the `n` images of `truth` were taken for `said`; `key` is the cell, ``"row-column"``."""

    truth: str
    said: str
    wrong: int
    n: int
    key: str


def matrix_of(files: RunFiles) -> Matrix | None:
    """The test's confusion; None where there is none or it is not a square of counts."""
    try:
        counts = np.asarray(files.evaluation["confusion"], dtype=np.int64)
        classes = tuple(say.label(c) for c in files.evaluation["classes"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    fits = counts.shape == (len(classes), len(classes)) and classes and counts.min() >= 0
    return Matrix(classes, counts) if fits else None


def most_confused(matrix: Matrix, most: int = 8) -> list[Pair]:
    """The pairs with the most mistakes, the largest first; ties by their share of the true class."""
    wrong = matrix.counts.copy()
    np.fill_diagonal(wrong, 0)
    n = matrix.counts.sum(1)
    pairs = [
        Pair(matrix.classes[i], matrix.classes[j], int(wrong[i, j]), int(n[i]), f"{i}-{j}")
        for i, j in np.argwhere(wrong).tolist()
    ]
    return sorted(pairs, key=lambda p: (-p.wrong, p.n))[:most]


def confusion(run: Path, out: Path) -> Path | None:
    """Draw the test's confusion matrix to `out`, for 2 to some thousand classes; None where there is none yet.

    Blue is right, vermilion is wrong, by the share of the true class; empty cells stay white. The colour of mistakes
    follows the square root of their share, so that a single one is seen.
    """
    matrix = matrix_of(read(run))
    if matrix is None:
        return None
    k = len(matrix.classes)
    side = min(max(3.2, 0.42 * k), 7.5) if k <= ROOMY else min(7.5 + 0.09 * (k - ROOMY), 13.5)
    longest = max(map(len, _names(matrix))) if k <= NAMED else 0
    margin = 0.9 + 0.075 * longest * (1 if k <= ROOMY else 0.6)
    with style.style():
        made = style.figure(side + margin, side + margin)
        axes = made.add_subplot()
        _cells(axes, matrix)
        _labels(axes, matrix)
        if k <= NAMED:
            _counts(axes, matrix, side)
        total, wrong = int(matrix.counts.sum()), int(matrix.counts.sum() - np.trace(matrix.counts))
        axes.set_title(
            f"{say.plural(wrong, 'mistake')} in {say.plural(total, 'image')}", loc="left", fontsize=10, pad=10
        )
        return style.save(made, out)


def _cells(axes: "Axes", matrix: Matrix) -> None:
    k = len(matrix.classes)
    shares = matrix.shares
    colours = np.where(np.eye(k, dtype=bool)[..., None], style.RIGHT(shares), style.WRONG(np.sqrt(shares)))
    colours[matrix.counts == 0] = 1
    axes.imshow((255 * colours).round().astype(np.uint8), interpolation="nearest")
    style.bare(axes)
    if k <= NAMED:
        edges = np.arange(k + 1) - 0.5
        for lines in (axes.hlines, axes.vlines):
            made = lines(edges, -0.5, k - 0.5, colors=style.HAIRLINE, linewidths=0.6 if k <= ROOMY else 0.3)
            made.set_clip_on(False)


def _names(matrix: Matrix) -> list[str]:
    """The class names, cut where a long one would leave no room for the matrix."""
    most = 28
    return [c if len(c) <= most else f"{c[: most - 1]}…" for c in matrix.classes]


def _labels(axes: "Axes", matrix: Matrix) -> None:
    k = len(matrix.classes)
    axes.set_ylabel("true class")
    axes.set_xlabel("predicted class")
    if k > NAMED:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    names, places = _names(matrix), np.arange(k)
    size = 9 if k <= 12 else 8 if k <= ROOMY else 6.5 if k <= 60 else 5
    turned = k > 60 or max(map(len, names)) > max(2, 40 // k)
    axes.set_xticks(places, names, rotation=90 if turned else 0, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)


def _counts(axes: "Axes", matrix: Matrix, side_in: float) -> None:
    """The counts in their cells, in white on dark ones; with the share below where the cells are large."""
    k = len(matrix.classes)
    cell_pt = 72 * side_in / k
    size = min(13.0 if k <= 5 else 10.0, 0.45 * cell_pt, 1.3 * cell_pt / max(2, len(str(matrix.counts.max()))))
    shares = matrix.shares
    for i, j in np.argwhere(matrix.counts):
        dark = shares[i, j] > 0.8 if i == j else np.sqrt(shares[i, j]) > 0.62
        text = f"{matrix.counts[i, j]}" + (f"\n{say.percent(shares[i, j], 1)}" if k <= 5 else "")
        colour = "white" if dark else style.INK
        made = axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size, linespacing=1.5)
        made.set_in_layout(False)  # inside the axes already; measuring thousands of them is slow
