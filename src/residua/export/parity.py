"""Whether an export says what the model says: differences with their limits, answers, accuracy. Numbers only."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from residua.errors import NumericError

Floats = npt.NDArray[np.floating[Any]]

#: The largest difference between a logit of the model and of its export in fp32; where the largest logit of a batch is
#: above 1, so many times that one. fp32 keeps 24 bits, so 1e-4 leaves a factor of a thousand for other orders of sums.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Row:
    """One batch: how many pictures, their sides, the largest difference and its limit (None: nothing is asked of it),
    how many of the answers are the same; and the largest difference of probabilities, where the file gives them."""

    batch: int
    height: int
    width: int
    difference: float
    limit: float | None
    scale: float
    same: int
    answers: int
    probability: float = 0.0
    probability_limit: float | None = None

    @property
    def probabilities(self) -> str:
        """What is wrong with the probabilities, if anything."""
        limit = self.probability_limit
        wrong = limit is not None and not self.probability <= limit
        return f", probabilities differ by {self.probability:.3g}" if wrong else ""

    @property
    def agrees(self) -> bool:
        """Whether the difference is a number within the limit and, where there is one, all answers are the same."""
        if not np.isfinite(self.difference):
            return False
        if self.probability_limit is not None and not self.probability <= self.probability_limit:
            return False
        return self.limit is None or (self.difference <= self.limit and self.same == self.answers)


@dataclass(frozen=True)
class Accuracy:
    """Of n labelled pictures: how many the model gets right, how many its export, how many answers are the same, and
    how many points (of 100) may be lost."""

    n: int
    model: int
    exported: int
    same: int
    tolerance: float

    @property
    def lost(self) -> float:
        """Points of accuracy that the export loses; negative where it gains."""
        return 100 * (self.model - self.exported) / max(1, self.n)

    @property
    def agrees(self) -> bool:
        """Whether no more is lost than may be."""
        return self.n > 0 and self.lost <= self.tolerance


@dataclass(frozen=True)
class Parity:
    """What came of asking both: a row for each batch, and the accuracy where pictures have labels.

    `of` says what was asked about, `unit` what the differences are of.
    """

    of: str
    rows: tuple[Row, ...]
    accuracy: Accuracy | None = None
    unit: str = "logits"

    @property
    def difference(self) -> float:
        """The largest difference of all."""
        return float(np.max([r.difference for r in self.rows]))

    @property
    def agrees(self) -> bool:
        """Whether everything does."""
        return bool(self.rows) and all(r.agrees for r in self.rows) and (self.accuracy is None or self.accuracy.agrees)

    def demand(self, what: str) -> None:
        """Raise NumericError, in one line with the numbers, unless everything agrees."""
        for r in self.rows:
            if not r.agrees:
                limit = "" if r.limit is None else f", at most {r.limit:.1e} is rounding"
                raise NumericError(
                    f"{what} does not say what the model says: {self.unit} differ by {r.difference:.3g}{limit}; "
                    f"{r.same} of {r.answers} answers are the same{r.probabilities} "
                    f"(batch of {r.batch}, {r.height} x {r.width} px)"
                )
        a = self.accuracy
        if a is not None and not a.agrees:
            raise NumericError(
                f"{what} is right on {a.exported:,} of {a.n:,} pictures, the model on {a.model:,}: {a.lost:.2f} points "
                f"are lost, at most {a.tolerance:g} may be"
            )
        if not self.rows:
            raise NumericError(f"{what} could not be compared with the model: there was nothing to compare")

    def to_json(self) -> dict[str, Any]:
        """Plain words and numbers."""
        rows = [asdict(r) | {"agrees": r.agrees} for r in self.rows]
        accuracy = None
        if self.accuracy is not None:
            accuracy = asdict(self.accuracy) | {"lost_points": self.accuracy.lost, "agrees": self.accuracy.agrees}
        return {"pictures": self.of, "unit": self.unit, "batches": rows, "accuracy": accuracy, "agrees": self.agrees}


def row(model: Floats, exported: Floats, sides: tuple[int, int], *, exact: bool) -> Row:
    """One batch of logits (N, K) beside each other; `exact`: they must be the same to rounding.

    Answers count as the same where the model's own two best are closer to each other than the limit.
    """
    if model.shape != exported.shape:
        return Row(len(model), *sides, float("inf"), TOLERANCE if exact else None, 0.0, 0, len(model))
    with np.errstate(invalid="ignore"):
        difference = float(np.abs(model.astype(np.float64) - exported).max(initial=0.0))
    scale = float(np.abs(model).max(initial=0.0))
    limit = TOLERANCE * max(1.0, scale)
    return Row(
        len(model),
        *sides,
        difference,
        limit if exact else None,
        scale,
        int(same(model, exported, limit).sum()),
        len(model),
    )


def same(model: Floats, exported: Floats, limit: float = 0.0) -> npt.NDArray[np.bool_]:
    """Of logits (N, K) twice, whether the best class is the same, or one that the model puts within `limit` of it."""
    best = exported.argmax(1)
    return np.asarray(model.max(1) - model[np.arange(len(model)), best] <= limit)


def accuracy(
    model: Sequence[Floats], exported: Sequence[Floats], labels: npt.NDArray[np.int64], tolerance: float | None
) -> Accuracy:  # fmt: skip
    """The accuracy of both over logits in batches, and labels (N,).

    `tolerance` in points; None: not one may be lost, but what the model itself cannot tell apart counts as it has it.
    """
    a, b = np.concatenate(model), np.concatenate(exported)
    limit = TOLERANCE * max(1.0, float(np.abs(a).max(initial=0.0))) if tolerance is None else 0.0
    alike, own = same(a, b, limit), a.argmax(1)
    theirs = np.where(alike, own, b.argmax(1))
    right = [int((found == labels).sum()) for found in (own, theirs)]
    return Accuracy(len(a), right[0], right[1], int(alike.sum()), tolerance or 0.0)
