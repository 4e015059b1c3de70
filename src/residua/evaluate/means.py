"""Precision, recall and F1 over all classes: macro and weighted means, and the balanced accuracy.

scikit-learn's numbers, from three counts a class: importing it, or torchmetrics, would take longer than they do.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from residua.evaluate.counts import Evaluation


@dataclass(frozen=True)
class Mean:
    """A mean over classes, each a fraction."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Means:
    """Means over the classes that are there.

    `macro` weighs the classes that are true or predicted alike (one of both is enough); `weighted` weighs by the
    number of true images; `balanced_accuracy` is the mean recall of the classes that have images. All three are
    scikit-learn's.
    """

    macro: Mean
    weighted: Mean
    balanced_accuracy: float

    def to_json(self) -> dict[str, Any]:
        """macro, weighted, balanced_accuracy."""
        return asdict(self)


def means(found: Evaluation) -> Means:
    """The means over the classes of an evaluation."""
    k = len(found.classes)
    true = np.bincount(found.labels, minlength=k)
    said = np.bincount(found.predictions, minlength=k)
    right = np.bincount(found.labels[found.predictions == found.labels], minlength=k)
    each = np.stack([share(right, said), share(right, true), share(2 * right, said + true)])  # (3, K)
    there = true > 0
    return Means(
        macro=Mean(*each[:, there | (said > 0)].mean(1).tolist()),
        weighted=Mean(*(each @ (true / true.sum())).tolist()),
        balanced_accuracy=float(each[1, there].mean()),
    )


def share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The parts of the wholes (K,); 0 of nothing."""
    return np.asarray(part / np.maximum(whole, 1))
