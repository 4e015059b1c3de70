"""Errors with counts, over images that are each counted once, and everything that follows from them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from residua.evaluate.calibration import Calibration
    from residua.evaluate.intervals import Intervals
    from residua.evaluate.means import Means

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

#: The two-sided 95 % quantile of the normal distribution.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class ClassResult:
    """One class: `n` images of it, of which `wrong`; rates are fractions, 0 where nothing is there to divide."""

    name: str
    n: int
    wrong: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Errors over N images of K classes, each counted once. Errors are fractions; `interval` is Wilson's, 95 %.

    confusion: (K, K), rows true, columns predicted. Of each image, in the order of their positions `index` (N,) in
    the split: `labels` (N,), `top5` classes and `top5_probability` (N, min(5, K)), best first, `losses` (N,).
    `loss` is their mean cross-entropy; an image for which the net's output is not finite makes it NaN and counts as
    wrong, under the class after its own.

    Probabilities and losses are those after the `temperature` (None: there is none). `squares` (N,) is the sum of each
    image's squared probabilities; `raw` (N, 3) its largest probability, cross-entropy and sum of squares without the
    temperature. `means`, `calibration` and `intervals` are worked out when they are first asked for: they take seconds.
    """

    n: int
    wrong: int
    top1_error: float
    top5_error: float
    loss: float
    interval: tuple[float, float]
    per_class: tuple[ClassResult, ...]
    confusion: Ints
    index: Ints
    labels: Ints
    top5: Ints
    top5_probability: Floats
    losses: Floats
    squares: Floats
    raw: Floats
    temperature: float | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return tuple(c.name for c in self.per_class)

    @property
    def headline(self) -> tuple[float, str]:
        """The error, and how many of how many that are."""
        return self.top1_error, f"{self.wrong:,} of {self.n:,}"

    @property
    def predictions(self) -> Ints:
        """The most probable class of each image: (N,)."""
        return self.top5[:, 0]

    @cached_property
    def means(self) -> "Means":
        """Macro and weighted means over the classes."""
        from residua.evaluate.means import means

        return means(self)

    @cached_property
    def calibration(self) -> "Calibration":
        """What the probabilities are worth."""
        from residua.evaluate.calibration import calibration

        return calibration(self)

    @cached_property
    def intervals(self) -> "Intervals":
        """95 % intervals."""
        from residua.evaluate.intervals import intervals

        return intervals(self)

    def worst(self, n: int) -> Ints:
        """The rows of the `n` images with the highest loss, silent ones first; ties in the order of the images."""
        order: Ints = np.argsort(-np.nan_to_num(self.losses, nan=np.inf), kind="stable")[:n]
        return order

    def to_json(self) -> dict[str, Any]:
        """n, wrong, top1_error, top5_error, loss (null unless finite), interval, classes, per_class, confusion.

        Also macro, weighted, balanced_accuracy, calibration and intervals.
        """
        return {
            "n": self.n,
            "wrong": self.wrong,
            "top1_error": self.top1_error,
            "top5_error": self.top5_error,
            "loss": self.loss if math.isfinite(self.loss) else None,
            "interval": list(self.interval),
            "classes": list(self.classes),
            "per_class": [asdict(c) for c in self.per_class],
            "confusion": self.confusion.tolist(),
            **self.means.to_json(),
            "calibration": self.calibration.to_json(),
            "intervals": self.intervals.to_json(),
        }


def evaluation(
    index: Ints,
    labels: Ints,
    top5: Ints,
    top5_probability: Floats,
    losses: Floats,
    classes: Sequence[str],
    *,
    squares: Floats,
    raw: Floats,
    temperature: float | None = None,
) -> Evaluation:
    """The counts over N predictions, brought into the order of `index`. Raises ValueError if a position repeats."""
    order = np.argsort(index, kind="stable")
    index, labels, losses = index[order].astype(np.int64), labels[order].astype(np.int64), losses[order]
    top5, top5_probability = top5[order].astype(np.int64), top5_probability[order]
    n, k = len(index), len(classes)
    if n == 0 or (np.diff(index) == 0).any():
        raise ValueError("every image is counted once" if n else "there are no images to count")
    silent = ~np.isfinite(losses)
    top5[silent] = (labels[silent, None] + 1 + np.arange(top5.shape[1])) % k
    top5_probability[silent] = 0
    raw = raw[order]
    raw[silent, 0] = 0
    confusion = np.bincount(labels * k + top5[:, 0], minlength=k * k).reshape(k, k)
    wrong = int(n - np.trace(confusion))
    missed = ~(top5 == labels[:, None]).any(1) | silent
    return Evaluation(
        n=n,
        wrong=wrong,
        top1_error=wrong / n,
        top5_error=int(missed.sum()) / n,
        loss=math.nan if silent.any() else float(losses.mean(dtype=np.float64)),
        interval=wilson(wrong, n),
        per_class=tuple(class_results(confusion, classes)),
        confusion=confusion,
        index=index,
        labels=labels,
        top5=top5,
        top5_probability=top5_probability,
        losses=losses,
        squares=squares[order],
        raw=raw,
        temperature=temperature,
    )


def wilson(wrong: float, n: float, z: float = Z95) -> tuple[float, float]:
    """The interval of the error that `wrong` of `n` leaves plausible; (0, 1) for n = 0.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953. It stays within [0, 1] and is not empty at 0 errors.
    """
    if n == 0:
        return 0.0, 1.0
    p = wrong / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (max(0.0, middle - half) if wrong else 0.0), (min(1.0, middle + half) if wrong < n else 1.0)


def class_results(confusion: Ints, classes: Sequence[str]) -> Iterator[ClassResult]:
    """The results of each class, from counts (K, K), rows true, columns predicted."""
    right, n, said = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    for name, r, true, predicted in zip(classes, right.tolist(), n.tolist(), said.tolist(), strict=True):
        yield ClassResult(
            name=name,
            n=true,
            wrong=true - r,
            precision=r / predicted if predicted else 0.0,
            recall=r / true if true else 0.0,
            f1=2 * r / (true + predicted) if true + predicted else 0.0,
        )
