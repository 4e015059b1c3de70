"""Samples dealt to sides (train and held out, or K folds): each class by its share, whole groups to one side."""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, eq=False)
class Groups:
    """How many samples of which classes each group has, without the classes that it lacks: a hundred thousand groups of
    a thousand classes would be a gigabyte.

    Group g has ``counts[a:b]`` samples of ``classes[a:b]``; ``a, b = starts[g : g + 2]``. Classes have `total` (K,).
    """  # fmt: skip

    starts: Indices
    classes: Indices
    counts: Counts
    total: Counts

    @staticmethod
    def of(member: Indices, row: Indices) -> "Groups":
        """Of the group and the class of each sample (N,), both numbered from 0 without gaps."""
        groups, classes = member.max() + 1, row.max() + 1
        pairs, counts = np.unique(member * classes + row, return_counts=True)
        starts = np.searchsorted(pairs, np.arange(groups + 1) * classes)
        return Groups(starts, pairs % classes, counts, np.bincount(row))

    def __len__(self) -> int:
        """How many groups."""
        return len(self.starts) - 1

    def __getitem__(self, g: int) -> tuple[Indices, Counts]:
        """The classes of a group, and its samples of each."""
        own = slice(self.starts[g], self.starts[g + 1])
        return self.classes[own], self.counts[own]

    def of_group(self) -> Indices:
        """The group of each of the `counts`."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def concentration(self) -> Counts:
        """How unevenly each group is spread over all classes (G,): the variance times the square of their number."""
        sums = np.bincount(self.of_group(), self.counts, len(self)).astype(np.int64)
        squares = np.bincount(self.of_group(), np.square(self.counts), len(self)).astype(np.int64)
        return len(self.total) * squares - np.square(sums)

    def placed(self, side: Indices, sides: int) -> Counts:
        """The samples of each class on each side (S, K), where each group is on its side (G,)."""
        k = len(self.total)
        where = side[self.of_group()] * k + self.classes
        return np.bincount(where, self.counts, sides * k).astype(np.int64).reshape(sides, k)


def grouped(labels: Indices, groups: Indices, shares: Sequence[float], *key: int | str) -> Indices:
    """The side, from 0, of each sample (N,): whole groups on one side, of every class about its share on each.

    The groups that are spread least evenly over the classes come first, each to the side where the classes then are
    filled most evenly (scikit-learn's StratifiedGroupKFold, here for sides of unequal shares). Then single groups move
    where that makes it more even, and sides that lack a class get one of its groups where that takes none from another.
    """
    member, row = (np.unique(values, return_inverse=True)[1] for values in (groups, labels))
    counted = Groups.of(member, row)
    mixed = seeds.generator(*key, "groups").permutation(len(counted))
    order = mixed[np.argsort(-counted.concentration()[mixed], kind="stable")]
    parts = np.asarray(shares, np.float64)
    side = completed(settled(filled(counted, order, parts), counted, order[::-1], parts), counted, parts)
    found: Indices = side[member]
    return found


def filled(groups: Groups, order: Indices, shares: Shares) -> Indices:
    """The side of each group (G,), placed in this order; `shares` (S,) are those of the sides."""
    side = np.empty(len(groups), np.int64)
    aim = shares[:, None] * groups.total
    placed, sizes = np.zeros(aim.shape, np.int64), np.zeros(len(shares), np.int64)
    for g in order.tolist():
        own, counts = groups[g]
        spread = unevenness(placed[:, own], counts, aim[:, own], shares).mean(1)
        full = (sizes + counts.sum()) / shares
        best = min(range(len(shares)), key=lambda s: (round(float(spread[s]), 12), full[s], s))
        side[g] = best
        placed[best, own] += counts
        sizes[best] += counts.sum()
    return side


def settled(side: Indices, groups: Groups, order: Indices, shares: Shares) -> Indices:
    """The sides after each group, in this order, has moved to where the classes are filled most evenly; again and again
    until none moves, or `PASSES` times.
    """  # fmt: skip
    side = side.copy()
    aim = shares[:, None] * groups.total
    placed = groups.placed(side, len(shares))
    for _ in range(PASSES):
        moved = False
        for g in order.tolist():
            own, counts = groups[g]
            placed[side[g], own] -= counts
            spread = unevenness(placed[:, own], counts, aim[:, own], shares).mean(1)
            if spread.min() < spread[side[g]] - 1e-12:
                side[g], moved = int(spread.argmin()), True
            placed[side[g], own] += counts
        if not moved:
            break
    return side


def unevenness(placed: Counts, group: Counts, aim: Shares, shares: Shares) -> Shares:
    """How unevenly some classes are filled over the sides if a group goes to each of them (S, K): the deviation over
    the sides of what each has, as a share of what it is to have. Classes that the group lacks stay as they are.
    """  # fmt: skip
    now, then = placed / aim, (placed + group) / aim
    mean = (placed.sum(0) + group) / aim.sum(0)
    old, new = shares[:, None] * np.square(now - mean), shares[:, None] * np.square(then - mean)
    spread: Shares = np.sqrt(np.maximum(old.sum(0) - old + new, 0))
    return spread


def completed(side: Indices, groups: Groups, shares: Shares) -> Indices:
    """The sides with a group of every class each, the largest sides first, as far as there are such groups to move."""
    side = side.copy()
    aim = shares[:, None] * groups.total
    placed = groups.placed(side, len(shares))
    of_group, by_class = groups.of_group(), np.argsort(groups.classes, kind="stable")
    starts = np.searchsorted(groups.classes[by_class], np.arange(len(groups.total) + 1))
    for to in np.argsort(-shares, kind="stable").tolist():
        for c in np.flatnonzero(placed[to] == 0).tolist():
            if placed[to, c]:  # came with another class
                continue
            having = of_group[by_class[starts[c] : starts[c + 1]]].tolist()
            able = [g for g in having if _spares(placed[side[g]], *groups[g])]
            if able:
                best = min(able, key=lambda g: _dearer(placed, aim, shares, int(side[g]), to, *groups[g]))
                own, counts = groups[best]
                placed[side[best], own] -= counts
                placed[to, own] += counts
                side[best] = to
    return side


def _spares(placed: Counts, own: Indices, counts: Counts) -> bool:
    """Whether a side keeps something of each of a group's classes without it."""
    return bool((placed[own] > counts).all())


def _dearer(
    placed: Counts, aim: Shares, shares: Shares, here: int, to: int, own: Indices, counts: Counts
) -> float:  # fmt: skip
    """How much less even the classes are filled once a group moves."""
    without = placed[:, own].copy()
    without[here] -= counts
    spread = unevenness(without, counts, aim[:, own], shares).sum(1)
    return float(spread[to] - spread[here])
