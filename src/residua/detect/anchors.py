"""Anchors fitted to the boxes of a data set: sizes for each map, ratios for all, by k-means on logarithms."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from residua.boxes.anchors import means, overlaps
from residua.detect.row import DetectorRow

Floats = npt.NDArray[np.float64]


def fitted(row: DetectorRow, sides: Floats) -> DetectorRow:
    """The row with anchors for boxes of these widths and heights (n, 2) in pixels, as the net sees them."""
    sides = sides[(sides > 0).all(1)]
    count = sum(map(len, row.anchor_sizes))
    if len(sides) < max(count, len(row.anchor_ratios)):
        return row
    sizes = np.exp(means(0.5 * np.log(sides).sum(1), count))
    ratios = np.exp(means(np.log(sides[:, 1] / sides[:, 0]), len(row.anchor_ratios)))
    each = len(row.anchor_sizes[0])
    grouped = tuple(tuple(round(float(s), 1) for s in sizes[i : i + each]) for i in range(0, count, each))
    return replace(row, anchor_sizes=grouped, anchor_ratios=tuple(round(float(r), 3) for r in ratios))


def mean_overlap(row: DetectorRow, sides: Floats) -> float:
    """How well the best anchor overlaps each box with the same middle, on average."""
    sizes = np.array([s for of in row.anchor_sizes for s in of])[:, None]
    ratios = np.sqrt(np.array(row.anchor_ratios))[None]
    anchors = np.stack([(sizes / ratios).ravel(), (sizes * ratios).ravel()], axis=1)
    return float(overlaps(sides, anchors).max(1).mean())
