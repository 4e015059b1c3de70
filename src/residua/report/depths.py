"""Charts of units by depth, as geometry for the page: bars in the colours of the stages, a line that climbs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor, log10

from residua.report import say
from residua.report.stages import short
from residua.report.units import NEARLY

#: The page's colours of stages; after the last they begin again.
TONES = 8
LEFT, RIGHT, TOP, FOOT = 54, 12, 14, 44


@dataclass(frozen=True)
class Unit:
    """A unit and its number; `stage` is -1 for the stem."""

    path: str
    stage: int
    value: float

    @property
    def name(self) -> str:
        """``stages.1.0.unit`` -> "1.0"."""
        return short(self.path)

    @property
    def tone(self) -> int:
        """The stage's colour."""
        return self.stage % TONES


@dataclass(frozen=True)
class Bar:
    """One unit's bar and what it says."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class Band:
    """One stage below the axis: from `x` on, `width` wide."""

    x: float
    width: float
    name: str
    tone: int


@dataclass(frozen=True)
class Chart:
    """Bars over `ticks` (y, label), the stages below; `base` is where the bars stand, `mark` a line with its words."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    base: float
    ticks: list[tuple[float, str]]
    bars: list[Bar]
    bands: list[Band]
    mark: tuple[float, str] | None = None
    line: str = ""
    dots: tuple[tuple[float, float, str], ...] = ()


def ratios(units: Sequence[Unit], *, width: int, height: int = 250) -> Chart:
    """Bars of |F(x)| / |x| on a logarithmic axis; units below the line of NEARLY have nearly learned the identity."""
    values = [u.value for u in units if u.value > 0]
    low = max(1e-5, 10.0 ** floor(log10(min([*values, NEARLY]) * 0.999)))
    high = 1.6 * max([*values, NEARLY])
    frame = _Frame(width, height, len(units), log10(low), log10(high))
    bars = [
        frame.bar(
            i,
            (log10(low), log10(max(u.value, low * 1.06))),
            f"tone-{u.tone}" if u.value >= NEARLY else "still",
            f"{u.path} changes its input by {say.percent(u.value)}",
        )
        for i, u in enumerate(units)
    ]
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [(frame.y(e), _percent(10.0**e)) for e in decades if log10(low) <= e <= log10(high)]
    return frame.chart(units, ticks, bars, mark=(frame.y(log10(NEARLY)), "nearly the identity"))


def contributions(units: Sequence[Unit], *, width: int, height: int = 170) -> Chart:
    """Bars of what each unit adds to the logit, up for it and down against it."""
    values = [u.value for u in units]
    low, high = min([0.0, *values]), max([0.0, *values])
    step = _step(high - low)
    low, high = step * floor(low / step), step * ceil(high / step)
    frame = _Frame(width, height, len(units), low, max(high, low + step))
    bars = [
        frame.bar(i, (0.0, u.value), f"tone-{u.tone}", f"{u.path} adds {_signed(u.value)} to the logit")
        for i, u in enumerate(units)
    ]
    ticks = [(frame.y(step * i), _signed(step * i)) for i in range(round(low / step), round(high / step) + 1)]
    return frame.chart(units, ticks, bars)


def climb(units: Sequence[Unit], bare: float, *, width: int, height: int = 150) -> Chart:
    """The probability as units are added one by one (their values), from `bare`, where no unit works, on."""
    frame = _Frame(width, height, len(units), 0.0, 1.0)
    values = [bare, *(u.value for u in units)]
    places = [frame.left, *(frame.middle(i) for i in range(len(units)))]
    spots = [(round(x, 1), frame.y(v)) for x, v in zip(places, values, strict=True)]
    titles = ["no unit at work", *(f"units up to {u.name}" for u in units)]
    dots = tuple((*s, f"{t}: {say.percent(v, 1)}") for s, t, v in zip(spots, titles, values, strict=True))
    ticks = [(frame.y(t), _percent(t)) for t in (0.0, 0.5, 1.0)]
    line = "M" + "L".join(f"{x:g} {y:g}" for x, y in spots)
    return frame.chart(units, ticks, [], line=line, dots=dots)


@dataclass(frozen=True)
class _Frame:
    width: int
    height: int
    count: int
    low: float
    high: float
    left: int = LEFT

    @property
    def pitch(self) -> float:
        return (self.width - RIGHT - self.left) / max(1, self.count)

    def middle(self, i: int) -> float:
        return self.left + (i + 0.5) * self.pitch

    def y(self, value: float) -> float:
        bottom = self.height - FOOT
        return round(bottom - (bottom - TOP) * (value - self.low) / (self.high - self.low), 1)

    def bar(self, i: int, ends: tuple[float, float], kind: str, title: str) -> Bar:
        top, bottom = sorted(map(self.y, ends))
        wide = min(0.74 * self.pitch, 44)
        x = self.middle(i) - wide / 2
        return Bar(round(x, 1), top, round(wide, 1), round(max(bottom - top, 0.8), 1), kind, title)

    def chart(
        self,
        units: Sequence[Unit],
        ticks: list[tuple[float, str]],
        bars: list[Bar],
        *,
        mark: tuple[float, str] | None = None,
        line: str = "",
        dots: tuple[tuple[float, float, str], ...] = (),
    ) -> Chart:
        return Chart(
            width=self.width,
            height=self.height,
            left=self.left,
            right=self.width - RIGHT,
            top=TOP,
            bottom=self.height - FOOT,
            base=self.y(min(max(0.0, self.low), self.high)),
            ticks=ticks,
            bars=bars,
            bands=self.bands(units),
            mark=mark,
            line=line,
            dots=dots,
        )

    def bands(self, units: Sequence[Unit]) -> list[Band]:
        made, first = [], 0
        for stage, run in groupby(units, key=lambda u: u.stage):
            n = len(list(run))
            wide = n * self.pitch
            word = "stem" if stage < 0 else f"stage {stage}"
            name = word if wide >= 8 * len(word) else str(stage) if stage >= 0 else ""
            made.append(Band(round(self.left + first * self.pitch + 1, 1), round(wide - 2, 1), name, stage % TONES))
            first += n
        return made


def _step(span: float) -> float:
    """A round step that gives about four ticks."""
    size = 10.0 ** floor(log10((span or 1.0) / 4))
    return next(size * m for m in (1, 2, 5, 10) if (span or 1.0) / (size * m) <= 4)


def _signed(value: float) -> str:
    """+1.5 with a real minus sign, and 0 without one."""
    text = f"{value:+.3g}".replace("-", "\u2212")
    return "0" if float(f"{value:.3g}") == 0 else text


def _percent(value: float) -> str:
    return f"{100 * value:g}{say.JOIN}%"
