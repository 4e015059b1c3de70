"""A sheet of panels that compare nets over seeds: for each net a thin and a bold line, each with a band."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from residua.report.series import Axis, epoch_axis, value_axis

#: From the shallowest net to the deepest: Okabe & Ito's blue and vermilion, and a purple between them.
RAMP = ((0, 114, 178), (123, 79, 168), (213, 94, 0))


@dataclass(frozen=True)
class Band:
    """The mean of several runs over `x`, from the lowest of them to the highest."""

    x: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is a point to draw."""
        return bool(self.x)


@dataclass(frozen=True)
class Line:
    """One net: its label, its place among the depths (0 the shallowest, 1 the deepest), a thin and a bold line."""

    label: str
    place: float
    thin: Band
    bold: Band

    @property
    def colour(self) -> str:
        """The line's colour as ``#rrggbb``."""
        return ramp(self.place)

    @property
    def kind(self) -> str:
        """A word for the colour, for a page's style."""
        return f"p{round(100 * self.place)}"

    @property
    def end(self) -> tuple[float, float] | None:
        """The last point of the bold line, or of the thin one: where the label stands."""
        band = self.bold or self.thin
        return (band.x[-1], band.mean[-1]) if band else None


@dataclass(frozen=True)
class Panel:
    """Nets that differ in depth or width only."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Sheet:
    """Panels on the same axes; `thin` and `bold` say what the two lines are. With `percent`, values are fractions."""

    panels: tuple[Panel, ...]
    x_name: str
    y_name: str
    thin: str
    bold: str
    percent: bool = True

    @property
    def bands(self) -> tuple[Band, ...]:
        """Everything that is drawn."""
        return tuple(b for p in self.panels for line in p.lines for b in (line.thin, line.bold) if b)

    def axes(self) -> tuple[Axis, Axis]:
        """The axes that all panels share."""
        last = max((b.x[-1] for b in self.bands), default=1.0)
        values = [v for b in self.bands for v in (*b.low, *b.high)]
        return epoch_axis(last), value_axis(values, as_percent=self.percent)


def band(runs: Iterable[Mapping[float, float]], *, geometric: bool = False) -> Band:
    """The band of several runs, each as x -> y, at every x that all runs have."""
    given = [r for r in runs if r]
    if not given:
        return Band()
    shared = sorted(set(given[0]).intersection(*given[1:]))
    columns = [[r[x] for r in given] for x in shared]
    logs = geometric and all(v > 0 for c in columns for v in c)
    mean = (lambda c: math.exp(math.fsum(map(math.log, c)) / len(c))) if logs else (lambda c: math.fsum(c) / len(c))
    return Band(tuple(shared), tuple(map(mean, columns)), tuple(map(min, columns)), tuple(map(max, columns)))


def ramp(place: float) -> str:
    """The colour at `place`, from 0 to 1."""
    at = min(max(place, 0.0), 1.0) * (len(RAMP) - 1)
    i = min(int(at), len(RAMP) - 2)
    mixed = (round(a + (b - a) * (at - i)) for a, b in zip(RAMP[i], RAMP[i + 1], strict=True))
    return "#" + "".join(f"{c:02x}" for c in mixed)


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places moved as little as needed to stand `gap` apart within [low, high], in their order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for _ in range(60):  # neighbours push each other until nobody stands too close
        for a, b in pairwise(order):
            if (short := gap - (moved[b] - moved[a])) > 1e-9:
                moved[a] -= short / 2
                moved[b] += short / 2
        for i in order:
            moved[i] = min(max(moved[i], low), high)
    return moved
