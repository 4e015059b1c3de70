"""Samples dealt to sides (train and held out, or K folds): each class by its share, whole groups to one side."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from residua import seeds
from residua.data.dataset import Indices

#: How often every group may move, at most.
PASSES = 5

Counts = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


def dealt(labels: Indices, k: int, *key: int | str) -> Indices:
    """The fold, from 0, of each sample (N,): classes and folds are divided as evenly as numbers allow.

    The choice within a class depends on `key` and the sizes of the classes alone.
    """
    folds, first = np.empty(len(labels), np.int64), 0
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        turn = seeds.generator(*key, int(c)).permutation(len(members))
        folds[members[turn]] = (first + np.arange(len(members))) % k
        first += len(members)  # so that what is left of the classes does not all go to the first folds
    return folds


def grouped(labels: Indices, groups: Indices, shares: Sequence[float], *key: int | str) -> Indices:
    """The side, from 0, of each sample (N,): whole groups on one side, of every class about its share on each.

    The groups that are spread least evenly over the classes come first, each to the side where the classes then are
    filled most evenly (scikit-learn's StratifiedGroupKFold, here for sides of unequal shares). Then single groups move
    where that makes it more even, and sides that lack a class get one of its groups where that takes none from another.
    """
    _, member = np.unique(groups, return_inverse=True)
    _, row = np.unique(labels, return_inverse=True)
    size, classes = member.max() + 1, row.max() + 1
    counts = np.bincount(member * classes + row, minlength=size * classes).reshape(size, classes)
    mixed = seeds.generator(*key, "groups").permutation(size)
    order = mixed[np.argsort(-counts[mixed].std(axis=1), kind="stable")]
    parts = np.asarray(shares, np.float64)
    side = completed(settled(filled(counts, order, parts), counts, order[::-1], parts), counts, parts)
    found: Indices = side[member]
    return found


def filled(counts: Counts, order: Indices, shares: Shares) -> Indices:
    """The side of each group (G,); `counts` (G, K) are its samples of each class, `shares` those of the sides."""
    side = np.empty(len(counts), np.int64)
    aim = shares[:, None] * counts.sum(0)
    placed = np.zeros((len(shares), counts.shape[1]), np.int64)
    for g in order:
        spread = unevenness(placed, counts[g], aim, shares)
        full = (placed.sum(1) + counts[g].sum()) / shares
        best = min(range(len(shares)), key=lambda s: (round(float(spread[s]), 12), full[s], s))
        side[g] = best
        placed[best] += counts[g]
    return side


def settled(side: Indices, counts: Counts, order: Indices, shares: Shares) -> Indices:
    """The sides after each group, in this order, has moved to where the classes are filled most evenly; again and again
    until none moves, or `PASSES` times.
    """  # fmt: skip
    side = side.copy()
    aim = shares[:, None] * counts.sum(0)
    placed = np.stack([counts[side == s].sum(0) for s in range(len(shares))])
    for _ in range(PASSES):
        moved = False
        for g in order:
            placed[side[g]] -= counts[g]
            spread = unevenness(placed, counts[g], aim, shares)
            if spread.min() < spread[side[g]] - 1e-12:
                side[g], moved = int(spread.argmin()), True
            placed[side[g]] += counts[g]
        if not moved:
            break
    return side


def unevenness(placed: Counts, group: Counts, aim: Shares, shares: Shares) -> Shares:
    """How unevenly the classes are filled over the sides if the group goes to each of them (S,): the mean over the
    classes of the standard deviation over the sides of what each has, as a share of what it is to have.
    """  # fmt: skip
    now, then = placed / aim, (placed + group) / aim
    mean = (placed.sum(0) + group) / aim.sum(0)
    old, new = shares[:, None] * np.square(now - mean), shares[:, None] * np.square(then - mean)
    spread: Shares = np.sqrt(np.maximum(old.sum(0) - old + new, 0)).mean(1)
    return spread


def completed(side: Indices, counts: Counts, shares: Shares) -> Indices:
    """The sides with a group of every class each, the largest sides first, as far as there are such groups to move."""
    side = side.copy()
    aim = shares[:, None] * counts.sum(0)
    for to in np.argsort(-shares, kind="stable"):
        for c in range(counts.shape[1]):
            placed = np.stack([counts[side == s].sum(0) for s in range(len(shares))])
            if placed[to, c]:
                continue
            able = [g for g in np.flatnonzero(counts[:, c]) if _spares(placed, side[g], counts[g], shares)]
            if able:
                costs = [unevenness(_without(placed, side[g], counts[g]), counts[g], aim, shares)[to] for g in able]
                side[able[int(np.argmin(costs))]] = to
    return side


def _spares(placed: Counts, own: int, group: Counts, shares: Shares) -> bool:
    """Whether its side keeps something of each of the group's classes without it."""
    return bool(((placed[own] > group) | (group == 0)).all())


def _without(placed: Counts, own: int, group: Counts) -> Counts:
    fewer = placed.copy()
    fewer[own] -= group
    return fewer
