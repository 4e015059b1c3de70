"""Precision, recall and F1 over all classes: macro and weighted means, and the balanced accuracy; by torchmetrics.

Importing torchmetrics takes seconds, so it waits for the end of an evaluation; epochs and `--help` do without.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

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
    from torchmetrics.functional.classification import multiclass_f1_score, multiclass_precision, multiclass_recall

    said, true = torch.from_numpy(found.predictions.copy()), torch.from_numpy(found.labels)
    k = len(found.classes)

    def mean(average: Literal["macro", "weighted"]) -> Mean:
        metrics = (multiclass_precision, multiclass_recall, multiclass_f1_score)
        return Mean(*(float(m(said, true, num_classes=max(2, k), average=average)) for m in metrics))

    recall = multiclass_recall(said, true, num_classes=max(2, k), average=None)
    there = torch.bincount(true, minlength=max(2, k)) > 0
    return Means(mean("macro"), mean("weighted"), float(recall[there].double().mean()))
