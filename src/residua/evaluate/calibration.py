"""Are the probabilities what they say? The calibration error, and one temperature that makes it smaller."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from residua.evaluate.counts import Evaluation

#: Bins of the confidence, of equal width (Guo et al. 2017, sec. 4).
BINS = 15
#: With fewer images a temperature would follow chance.
LEAST = 50
#: Where the temperature is looked for.
COLDEST, HOTTEST = 1 / 64, 64.0


@dataclass(frozen=True)
class Bin:
    """The images whose confidence lies in [low, high): how many, their mean confidence, the share that is right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy are apart, with the temperature and (`_uncalibrated`) without.

    `ece` is the expected calibration error in 15 bins, `nll` the mean cross-entropy, `brier` the mean squared
    distance of the probabilities from the truth, summed over classes (0 to 2); the last two are NaN where the net
    was silent. Sources: Guo et al. 2017, arXiv:1706.04599, eq. 3; Brier 1950.
    """

    temperature: float | None
    ece: float
    ece_uncalibrated: float
    nll: float
    nll_uncalibrated: float
    brier: float
    brier_uncalibrated: float
    bins: tuple[Bin, ...]
    bins_uncalibrated: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """All fields; numbers that are not finite are null."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def calibration(found: Evaluation) -> Calibration:
    """The calibration of an evaluation's probabilities."""
    right = found.predictions == found.labels
    plain = replace(found, top5_probability=found.raw[:, :1], losses=found.raw[:, 1], squares=found.raw[:, 2])
    (error, nll, brier), (error_raw, nll_raw, brier_raw) = _errors(found, right), _errors(plain, right)
    return Calibration(
        temperature=found.temperature,
        ece=error,
        ece_uncalibrated=error_raw,
        nll=nll,
        nll_uncalibrated=nll_raw,
        brier=brier,
        brier_uncalibrated=brier_raw,
        bins=bins_of(found.top5_probability[:, 0], right),
        bins_uncalibrated=bins_of(plain.top5_probability[:, 0], right),
    )


def _errors(found: Evaluation, right: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """ECE, cross-entropy, Brier."""
    losses = found.losses.astype(np.float64)
    brier = float(np.mean(1 - 2 * np.exp(-losses) + found.squares))
    return ece(found.top5_probability[:, 0], right), float(losses.mean()), brier


def ece(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """The expected calibration error (Guo et al. 2017, eq. 3). A confidence of exactly 1 belongs to the last bin."""
    parts = bins_of(confidence, right, bins)
    return float(sum(b.n * abs(b.accuracy - b.confidence) for b in parts) / max(1, len(confidence)))


def _below_one(confidence: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Bins are [a, b): a confidence of 1 would have one of its own."""
    return np.minimum(confidence.astype(np.float32), np.nextafter(np.float32(1), np.float32(0)))


def bins_of(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], bins: int = BINS) -> tuple[Bin, ...]:
    """The bins of a reliability diagram; an empty one has confidence and accuracy 0."""
    edges = torch.linspace(0, 1, bins + 1).numpy()
    place = np.searchsorted(edges, _below_one(confidence), side="right") - 1
    n = np.bincount(place, minlength=bins)
    share = np.maximum(n, 1)
    sure = np.bincount(place, confidence.astype(np.float64), minlength=bins) / share
    good = np.bincount(place, right, minlength=bins) / share
    columns = (edges[:-1].tolist(), edges[1:].tolist(), n.tolist(), sure.tolist(), good.tolist())
    return tuple(Bin(*values) for values in zip(*columns, strict=True))


# -- the temperature ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """A temperature (None where none could be fitted), and `why`: what it was fitted to, or why not."""

    temperature: float | None
    why: str


def fit_temperature(logits: Tensor, labels: Tensor) -> Fitted:
    """The temperature T that makes the cross-entropy of ``softmax(logits / T)`` least: logits (N, K), labels (N,).

    The cross-entropy is convex in 1 / T: its derivative, mean(E[z] - z_true), is brought to zero by halving, in fp64,
    so the answer is never worse than T = 1. It is not fitted to fewer than 50 images, nor where the loss has no least
    value (no image is wrong: the colder the better). Source: Guo et al. 2017, sec. 4.2, arXiv:1706.04599.
    """
    finite = torch.isfinite(logits).all(1)
    z, labels = logits[finite].double(), labels[finite]
    if len(z) < LEAST:
        return Fitted(None, f"not fitted: {len(z)} validation images are too few (at least {LEAST})")
    z = z - z.mean(1, keepdim=True)
    true = z.gather(1, labels[:, None])[:, 0]

    def slope(inverse: float) -> float:
        return float((((z * inverse).softmax(1) * z).sum(1) - true).mean())

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(high) <= 0:
        return Fitted(None, f"not fitted: too few of the {len(z):,} validation images are wrong to learn from")
    if slope(low) >= 0:
        return Fitted(None, f"not fitted: on the {len(z):,} validation images the logits are no better than chance")
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return Fitted(1 / math.sqrt(low * high), f"fitted to {len(z):,} validation images")
