"""Groups of boxes by their sides: what anchors are fitted to."""

import numpy as np
import numpy.typing as npt

from residua import seeds

Floats = npt.NDArray[np.float64]

#: Rounds of k-means, which settles long before.
ROUNDS = 100


def means(values: Floats, k: int) -> Floats:
    """The middles of k groups of numbers, rising (k-means in one dimension, begun at quantiles)."""
    middles = np.quantile(values, (np.arange(k) + 0.5) / k)
    middles += 1e-6 * np.sort(seeds.generator("anchors").random(k))  # equal ones would stay equal
    for _ in range(ROUNDS):
        nearest = np.abs(values[:, None] - middles[None]).argmin(1)
        moved = np.array([values[nearest == i].mean() if (nearest == i).any() else middles[i] for i in range(k)])
        if np.allclose(moved, middles):
            break
        middles = moved
    return np.sort(middles)


def shapes(sides: Floats, k: int) -> Floats:
    """Widths and heights (k, 2) that overlap boxes of these sides (n, 2) well, the largest first: the medians of k
    groups, each box with the shape that it overlaps best (Redmon & Farhadi 2016, arXiv:1612.08242, sec. 2)."""
    area = sides.prod(1)
    first = np.argsort(area, kind="stable")[np.linspace(0, len(sides) - 1, k).round().astype(int)]
    middles = sides[first]
    for _ in range(ROUNDS):
        nearest = overlaps(sides, middles).argmax(1)
        groups = [sides[nearest == i] for i in range(k)]
        moved = np.stack([np.median(g, 0) if len(g) else middles[i] for i, g in enumerate(groups)])
        if np.allclose(moved, middles):
            break
        middles = moved
    largest_first: Floats = middles[np.argsort(-middles.prod(1), kind="stable")]
    return largest_first


def overlaps(sides: Floats, shapes: Floats) -> Floats:
    """Intersection over union (n, k) of boxes of sides (n, 2) and (k, 2) with the same middle."""
    inside = np.minimum(sides[:, None], shapes[None]).prod(2)
    union = sides.prod(1)[:, None] + shapes.prod(1)[None] - inside
    found: Floats = inside / union
    return found
