"""How often is a net wrong, with counts: the one path that training, `eval` and every report share. Floor 1."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from residua.data.batches import Batch
from residua.engine import Engine
from residua.errors import DataError
from residua.files import cell, write_csv

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

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return tuple(c.name for c in self.per_class)

    @property
    def predictions(self) -> Ints:
        """The most probable class of each image: (N,)."""
        return self.top5[:, 0]

    def to_json(self) -> dict[str, Any]:
        """n, wrong, top1_error, top5_error, loss (null unless finite), interval, classes, per_class, confusion."""
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
        }


def evaluate(net: nn.Module, batches: Iterable[Batch], classes: Sequence[str], engine: Engine) -> Evaluation:
    """The net's errors over the batches of `data.batches.in_order`; `net` is where the engine placed it.

    Runs in evaluation mode and restores each module's own; nothing is read from the device before the end.
    Raises DataError if there are no images, or labels or logits that are not of these classes.
    """
    index, labels, outputs = [], [], []
    with evaluating(net), torch.no_grad():
        for batch in batches:
            check_labels(batch.targets, len(classes))
            index.append(np.asarray(batch.index))
            labels.append(batch.targets.cpu().numpy())
            with engine.autocast():
                logits = net(engine.move(batch.images))
            outputs.append(summary(logits.float(), engine.move(batch.targets), len(classes)))
    if not outputs:
        raise DataError("there are no images to evaluate")
    top5, probability, losses = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
    return evaluation(np.concatenate(index), np.concatenate(labels), top5, probability, losses, classes)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """The net in evaluation mode; afterwards every module is in the mode it was in."""
    training = [m for m in net.modules() if m.training]
    net.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


def check_labels(targets: Tensor, k: int) -> None:
    """Raise DataError for a label that is none of `k` classes."""
    if targets.ndim != 1 or targets.is_floating_point():
        raise ValueError(f"evaluation needs one class an image, got targets of shape {tuple(targets.shape)}")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < k:
        raise DataError(f"the data have class {int(targets.max())}, the model has classes 0 to {k - 1}")


def summary(logits: Tensor, targets: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """What is kept of logits (N, K): best classes (N, 5), their probabilities (N, 5), cross-entropies (N,)."""
    if logits.shape[1] != k:
        raise DataError(f"the net tells {logits.shape[1]} classes apart, the data have {k}")
    losses = functional.cross_entropy(logits, targets, reduction="none")
    probability, best = logits.softmax(1).topk(min(5, k), dim=1)
    return best, probability, losses


def evaluation(
    index: Ints, labels: Ints, top5: Ints, top5_probability: Floats, losses: Floats, classes: Sequence[str]
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
        per_class=tuple(_per_class(confusion, classes)),
        confusion=confusion,
        index=index,
        labels=labels,
        top5=top5,
        top5_probability=top5_probability,
        losses=losses,
    )


def wilson(wrong: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The interval of the error that `wrong` of `n` leaves plausible; (0, 1) for n = 0.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953. It stays within [0, 1] and is not empty at 0 errors.
    """
    if n == 0:
        return 0.0, 1.0
    p = wrong / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (max(0.0, middle - half) if wrong else 0.0), (min(1.0, middle + half) if wrong < n else 1.0)


def _per_class(confusion: Ints, classes: Sequence[str]) -> Iterator[ClassResult]:
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


# -- tables ---------------------------------------------------------------------------------------------------------


def per_class_csv(evaluation: Evaluation, path: str | Path) -> None:
    """Write one row a class: class, n, wrong, precision, recall, f1. Names are safe (`cell`). Raises DataError."""
    rows = ((cell(c.name), c.n, c.wrong, c.precision, c.recall, c.f1) for c in evaluation.per_class)
    write_csv(path, ("class", "n", "wrong", "precision", "recall", "f1"), rows)


def predictions_csv(evaluation: Evaluation, names: Sequence[str], path: str | Path) -> None:
    """Write one row an image: path, truth, prediction, correct (0 or 1), loss, class_1, probability_1, class_2, ...

    `names` are those of the whole split. The up to five classes come best first. Names are safe (`cell`).
    Raises DataError.
    """
    e = evaluation
    words = [cell(c) for c in e.classes]
    ranked = [f"{word}_{rank}" for rank in range(1, e.top5.shape[1] + 1) for word in ("class", "probability")]

    def rows() -> Iterator[list[Any]]:
        numbers = (e.index, e.labels, e.top5, e.top5_probability, e.losses)
        for i, label, best, probability, loss in zip(*(a.tolist() for a in numbers), strict=True):
            pairs = zip(best, probability, strict=True)
            ranked = [v for c, p in pairs for v in (words[c], f"{p:.6g}")]
            yield [cell(names[i]), words[label], words[best[0]], int(label == best[0]), f"{loss:.6g}", *ranked]

    write_csv(path, ("path", "truth", "prediction", "correct", "loss", *ranked), rows())
