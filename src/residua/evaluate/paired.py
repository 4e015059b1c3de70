"""Two nets on the same images: which of them is better, and whether chance alone would give such a difference."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Paired:
    """Two nets, a and b, on the same `n` images: both right, only one of them right, both wrong.

    `p` is how often nets of equal error would differ at least so much on as many images that tell them apart: the
    exact two-sided McNemar test. Sources: McNemar 1947, doi:10.1007/BF02295996; Dietterich 1998,
    doi:10.1162/089976698300017197 (for classifiers that were trained once each).
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float

    @property
    def n(self) -> int:
        """How many images."""
        return self.both + self.only_a + self.only_b + self.neither


def paired(a: Sequence[bool], b: Sequence[bool]) -> Paired:
    """The comparison of what two nets got right, image by image in the same order. Raises ValueError unless paired."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} answers cannot be paired with {len(b)}")
    pairs = [(bool(x), bool(y)) for x, y in zip(a, b, strict=True)]
    both, only_a, only_b = (pairs.count(kind) for kind in ((True, True), (True, False), (False, True)))
    return Paired(both, only_a, only_b, len(pairs) - both - only_a - only_b, mcnemar(only_a, only_b))


def mcnemar(only_a: int, only_b: int) -> float:
    """The probability that `only_a + only_b` throws of a fair coin fall at least so unevenly; 1 without a throw.

    In whole numbers until the last division, so that it is exact however many there are.
    """
    n, least = only_a + only_b, min(only_a, only_b)
    if only_a == only_b:
        return 1.0
    ways = choose = 1
    for k in range(least):
        choose = choose * (n - k) // (k + 1)
        ways += choose
    return ways / (1 << (n - 1))


def holm(p: Sequence[float]) -> list[float]:
    """The values of several tests as they count together: the chance of a single false alarm stays below the least.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", https://www.jstor.org/stable/4615733.
    """
    adjusted, floor = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        floor = max(floor, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = floor
    return adjusted
