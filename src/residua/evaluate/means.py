"""Precision, recall and F1 over all classes: macro and weighted means, and the balanced accuracy; by scikit-learn.

Importing it takes a second or two, so it waits for the end of an evaluation; epochs and `--help` do without.
"""

import warnings
from dataclasses import asdict, dataclass
from typing import Any

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
    """The means over the classes of an evaluation: of those that are there or were said; for recall, that are there."""
    from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support

    true, said = found.labels, found.predictions

    def mean(average: str) -> Mean:
        *values, _ = precision_recall_fscore_support(true, said, average=average, zero_division=0)
        return Mean(*map(float, values))

    with warnings.catch_warnings(action="ignore"):  # of classes that were said and are not there
        balanced = float(balanced_accuracy_score(true, said))
    return Means(mean("macro"), mean("weighted"), balanced)
