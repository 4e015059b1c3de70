"""From a run's rows to what is drawn: series of numbers over epochs, and the axes they stand on."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from residua.report import say
from residua.report.files import RunFiles

#: A series longer than this is averaged in bins: a page needs no more points than a line has pixels.
POINTS = 600


@dataclass(frozen=True)
class Series:
    """`y` over `x` (epochs), finite numbers only."""

    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is a point to draw."""
        return bool(self.x)


@dataclass(frozen=True)
class Curves:
    """What a run's metrics draw: errors as fractions, mean losses, the learning rate."""

    train_error: Series
    val_error: Series
    train_loss: Series
    val_loss: Series
    lr: Series
    test_error: float | None
    chosen: float | None  # the epoch whose weights were kept

    @property
    def last_epoch(self) -> float:
        """The end of the axis of epochs."""
        parts = (self.train_error, self.val_error, self.train_loss, self.val_loss, self.lr)
        return max((s.x[-1] for s in parts if s), default=0.0)

    @property
    def best(self) -> tuple[float, float] | None:
        """The epoch that was chosen and its validation error; where none is named, the (first) lowest error."""
        errors = dict(zip(self.val_error.x, self.val_error.y, strict=True))
        if not errors:
            return None
        at = self.chosen if self.chosen is not None and self.chosen in errors else min(errors, key=errors.__getitem__)
        return at, errors[at]

    @property
    def word(self) -> str:
        """What the weights of `best` are called: kept in the end, or the best so far."""
        return "kept" if self.test_error is not None else "best so far"

    @property
    def errors(self) -> tuple[float, ...]:
        """Every error that is drawn."""
        return (*self.train_error.y, *self.val_error.y, *([] if self.test_error is None else [self.test_error]))

    @property
    def losses(self) -> tuple[float, ...]:
        """Every loss that is drawn."""
        return (*self.train_loss.y, *self.val_loss.y)


def curves_of(files: RunFiles) -> Curves:
    """The run's series. Training is drawn by epochs, or by steps where there are not two epochs yet."""
    coarse = len(_series(files.epochs, "train_loss").x) < 2
    training = [_renamed(r) for r in files.steps] if coarse else files.epochs
    return Curves(
        train_error=_series(training, "train_error"),
        val_error=_series(files.epochs, "val_error"),
        train_loss=_series(training, "train_loss"),
        val_loss=_series(files.epochs, "val_loss"),
        lr=_series(files.steps or files.epochs, "lr"),
        test_error=say.number(files.evaluation.get("top1_error")),
        chosen=say.number(files.summary.get("best_epoch")),
    )


def _renamed(step: dict[str, Any]) -> dict[str, Any]:
    return {"epoch": step.get("epoch"), "train_loss": step.get("loss"), "train_error": step.get("error")}


def _series(rows: Iterable[dict[str, Any]], name: str) -> Series:
    """The rows that have both numbers, in the order of epochs; of rows that repeat an epoch, the last."""
    points: dict[float, float] = {}
    for row in rows:
        x, y = say.number(row.get("epoch")), say.number(row.get(name))
        if x is not None and y is not None:
            points[x] = y
    ordered = _binned(sorted(points.items()))
    return Series(tuple(x for x, _ in ordered), tuple(y for _, y in ordered))


def _binned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= POINTS:
        return points
    edges = [round(i * len(points) / POINTS) for i in range(POINTS + 1)]
    bins = [points[a:b] for a, b in pairwise(edges)]
    means = [(math.fsum(x for x, _ in b) / len(b), math.fsum(y for _, y in b) / len(b)) for b in bins]
    return [points[0], *means[1:-1], points[-1]]


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis from `low` to `high`, with its ticks as (value, label)."""

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Where `value` stands, 0 at `low` and 1 at `high`; what lies outside is drawn on the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def plain(value: float) -> str:
    """A tick's label."""
    return f"{value:g}"


def in_percent(fraction: float) -> str:
    """A tick's label for a fraction."""
    return f"{100 * fraction:g} %"


def value_axis(values: Sequence[float], *, as_percent: bool = False) -> Axis:
    """An axis that shows all `values` (>= 0): logarithmic where they span more than a factor of eight.

    On a logarithmic axis zero is drawn on the lower edge, under a tick that says 0.
    """
    write = in_percent if as_percent else plain
    positive = [v for v in values if v > 0]
    if not positive:
        return Axis(0.0, 1.0, False, ((0.0, write(0)), (1.0, write(1))))
    low, high = min(positive), max(positive)
    if high / low <= 8 or min(values) < 0:
        return _linear(min(0.0, *values), high, write)
    zero = min(values) <= 0
    floor = low / 2 if zero else low / 1.15
    ceiling = min(1.0, high * 1.1) if as_percent else high * 1.1
    ceiling = max(ceiling, high)
    ticks = [t for t in _decades(floor, ceiling) if not zero or t > floor * 1.4]
    return Axis(floor, ceiling, True, tuple([(floor, write(0))] if zero else []) + tuple((t, write(t)) for t in ticks))


def rate_axis(lr: Series) -> Axis:
    """The learning rate's axis: zero and its maximum are all that a slim panel says."""
    top = max(lr.y, default=0.0) or 1.0
    return Axis(0.0, top, False, ((0.0, "0"), (top, say.figures(top))))


def epoch_axis(last: float) -> Axis:
    """The axis of epochs, from 0."""
    return _linear(0.0, last or 1.0, plain, exact=True, most=8)


def _linear(low: float, high: float, write: Callable[[float], str], *, exact: bool = False, most: int = 5) -> Axis:
    span = (high - low) or 1.0
    size = 10 ** math.floor(math.log10(span / most))
    step = next(size * m for m in (1, 2, 5, 10) if span / (size * m) <= most)
    top = high if exact else step * math.ceil(high / step - 1e-9)
    first, last = math.ceil(low / step - 1e-9), math.floor(top / step + 1e-9)
    ticks = tuple((round(i * step, 12), write(round(i * step, 12))) for i in range(first, last + 1))
    return Axis(low, max(top, low + 1e-12), False, ticks)


def _decades(low: float, high: float) -> list[float]:
    """Ticks 1-2-5 of every decade in [low, high]; the ones alone where there are many decades."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    mantissas = (1, 2, 5) if math.log10(high / low) < 3 else (1,)
    ticks = [float(f"{m}e{e}") for e in exponents for m in mantissas]
    return [t for t in ticks if low * 0.999 <= t <= high * 1.001]
