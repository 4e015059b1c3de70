"""95 % intervals of what is no plain count: by bootstrap over the images, and of errors that come in groups."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from residua import seeds
from residua.evaluate.counts import Evaluation, Floats, Ints, wilson

#: How many times the images are drawn again.
RESAMPLES = 1000
BINS = 15

Interval = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """95 % intervals by bootstrap: `resamples` draws with replacement within each true class, always the same draws.

    For means over classes: the percentile interval. For the calibration error, which chance can only raise, each draw
    is reflected at the estimate (the basic interval) and cut at 0. Source: Efron & Tibshirani 1993, ch. 13.
    """

    macro_f1: Interval
    balanced_accuracy: Interval
    ece: Interval
    resamples: int

    def to_json(self) -> dict[str, Any]:
        """macro_f1, balanced_accuracy, ece: [low, high]; resamples; method."""
        return asdict(self) | {"method": "bootstrap, stratified by class"}


def intervals(found: Evaluation, resamples: int = RESAMPLES) -> Intervals:
    """The intervals of an evaluation; the draws depend on the labels alone."""
    k, labels, said = len(found.classes), found.labels, found.predictions
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=k)
    starts, sizes = np.repeat(np.cumsum(counts) - counts, counts), np.repeat(counts, counts)
    labels, said = labels[order], said[order]
    confidence = found.top5_probability[order, 0].astype(np.float64)
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    random = seeds.generator(0, "bootstrap")
    drawn = np.empty((resamples, 3))
    for row in drawn:
        chosen = starts + (random.random(len(labels)) * sizes).astype(np.int64)
        row[:] = (
            *rates(labels[chosen], said[chosen], k),
            gap(place[chosen], confidence[chosen], (labels == said)[chosen]),
        )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    here = gap(place, confidence, labels == said)
    reflected = (max(0.0, 2 * here - float(high[2])), max(0.0, 2 * here - float(low[2])))
    pairs = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return Intervals(pairs[0], pairs[1], reflected, resamples)


def in_groups(wrong: "np.typing.NDArray[np.bool_]", groups: Ints) -> Interval:
    """Wilson's interval of an error over images (N,) of which those of one group (N,) are wrong or right together.

    The number of images is divided by the design effect: the variance of the error where whole groups are drawn over
    that where single images are, 1 at least. Where all or none are wrong, a group counts as one image.
    Sources: Kish 1965, sec. 8.2; Korn & Graubard 1998, Survey Methodology 24(2).
    """
    _, member = np.unique(groups, return_inverse=True)
    size, bad = np.bincount(member), np.bincount(member, wrong)
    n, m, p = len(wrong), len(size), float(np.mean(wrong))
    if m == n:
        return wilson(int(bad.sum()), n)
    mixed = 0 < p < 1 and m > 1
    effect = m / (m - 1) * float(np.square(bad - p * size).sum()) / (n * p * (1 - p)) if mixed else n / m
    alike = n / max(1.0, effect)
    return wilson(n * p * alike / n, alike)


def rates(labels: Ints, said: Ints, k: int) -> tuple[float, float]:
    """Macro F1 and balanced accuracy, over the classes that are there, as `means` has them."""
    right = np.bincount(labels[labels == said], minlength=k)
    n, named = np.bincount(labels, minlength=k), np.bincount(said, minlength=k)
    some, true = n + named > 0, n > 0
    return float((2 * right[some] / (n + named)[some]).mean()), float((right[true] / n[true]).mean())


def gap(place: Ints, confidence: Floats, right: "np.typing.NDArray[np.bool_]") -> float:
    """The calibration error: the sum over bins of |right - confident|, divided by N."""
    return float(np.abs(np.bincount(place, right - confidence, minlength=BINS)).sum() / len(place))
