"""What the probabilities are worth, for the page: reliability diagrams as geometry, and in words."""

from dataclasses import dataclass
from typing import Any

from residua.report import say
from residua.report.files import RunFiles
from residua.report.reliability import Bins, panels_of

#: The diagram in SVG units: the square, the strip of counts below it.
WIDTH, HEIGHT = 380, 356
LEFT, RIGHT, TOP, BOTTOM = 48, 372, 40, 268
STRIP_TOP, STRIP_BOTTOM = 282, 316
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: A bin with fewer images says little.
FEW = 10


@dataclass(frozen=True)
class Bar:
    """One bin: where it stands, the height of what is right, the gap to what was said, the strip's bar, and in words.

    `gap` is (y, height); `sure` the y of the confidence.
    """

    x: float
    width: float
    y: float
    gap: tuple[float, float]
    sure: float
    many: float
    title: str


@dataclass(frozen=True)
class Diagram:
    """A reliability diagram (Guo et al. 2017, fig. 1): bars, ticks and the number of images of the largest bin."""

    title: str
    error: Any
    bars: list[Bar]
    most: int
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM
    strip_top: int = STRIP_TOP
    strip_bottom: int = STRIP_BOTTOM


def trust(files: RunFiles) -> dict[str, Any] | None:
    """Diagrams, sentences and numbers of the test's calibration; None where there are none."""
    found = files.evaluation.get("calibration")
    panels = panels_of(found) if isinstance(found, dict) else []
    if not isinstance(found, dict) or not panels:
        return None
    bins = panels[-1][2]
    return {
        "diagrams": [_diagram(*panel) for panel in panels],
        "sentences": sentences(bins),
        "temperature": temperature(files),
        "ece": say.number(found.get("ece")),
        "before": say.number(found.get("ece_uncalibrated")) if len(panels) == 2 else None,
        "nll": say.number(found.get("nll")),
        "brier": say.number(found.get("brier")),
    }


def temperature(files: RunFiles) -> str:
    """The temperature and what it was fitted to, or why there is none, as a sentence."""
    about = files.summary.get("temperature")
    about = about if isinstance(about, dict) else {}
    calibration = files.evaluation.get("calibration")
    own = calibration.get("temperature") if isinstance(calibration, dict) else None
    value, why = say.number(about.get("temperature", own)), say.label(about.get("why") or "")
    if value is None:
        return f"There is no temperature: {why}." if why else "There is no temperature."
    effect = "softer" if value > 1 else "sharper"
    fitted = f", {why}," if why else ""
    return (
        f"One temperature, {say.figures(value)}{fitted} makes the probabilities {effect}; it is part of the model, "
        "and predict and eval use it."
    )


def mean_confidence(bins: Bins) -> tuple[float, float]:
    """(what the net says on average, how often it is right)."""
    n = sum(b["n"] for b in bins)
    return sum(b["n"] * b["confidence"] for b in bins) / n, sum(b["n"] * b["accuracy"] for b in bins) / n


def leaning(bins: Bins) -> str:
    """Whether the net is too sure, too modest, or neither (within one point)."""
    said, right = mean_confidence(bins)
    if abs(said - right) < 0.01:
        return "as sure as it should be"
    return "too sure" if said > right else "too modest"


def sentences(bins: Bins) -> list[str]:
    """The calibration in words: on the whole, and where it is off most."""
    said, right = mean_confidence(bins)
    told = [
        f"On average it says {say.percent(said, 1)} and is right {say.percent(right, 1)} of the time: "
        f"on the whole it is {leaning(bins)}."
    ]
    off = max((b for b in bins if b["n"] >= FEW), key=_weight, default=None)
    if off is not None and abs(off["confidence"] - off["accuracy"]) >= 0.01:
        told.append(
            f"It is off most where it says about {say.percent(off['confidence'], 1)}: there it is right "
            f"{say.percent(off['accuracy'], 1)} of the time ({say.plural(off['n'], 'image')})."
        )
    return told


def _weight(b: dict[str, float]) -> float:
    """A bin's part of the calibration error."""
    return b["n"] * abs(b["confidence"] - b["accuracy"])


def _diagram(title: str, error: Any, bins: Bins) -> Diagram:
    most = max(b["n"] for b in bins)
    return Diagram(
        title=title,
        error=error,
        bars=[_bar(b, most) for b in bins if b["n"]],
        most=int(most),
        x_ticks=[(_x(t), say.percent(t, 1)) for t in TICKS],
        y_ticks=[(_y(t), say.percent(t, 1)) for t in TICKS],
    )


def _bar(b: dict[str, float], most: float) -> Bar:
    high, low = max(b["confidence"], b["accuracy"]), min(b["confidence"], b["accuracy"])
    step = _x(b["high"]) - _x(b["low"])
    return Bar(
        x=round(_x(b["low"]) + 0.06 * step, 1),
        width=round(0.88 * step, 1),
        y=_y(b["accuracy"]),
        gap=(_y(high), round(_y(low) - _y(high), 1)),
        sure=_y(b["confidence"]),
        many=round(max(1.0, (STRIP_BOTTOM - STRIP_TOP) * b["n"] / most), 1),
        title=f"says {say.percent(b['confidence'], 1)}, is right {say.percent(b['accuracy'], 1)}: "
        f"{say.plural(b['n'], 'image')}",
    )


def _x(value: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * value, 1)


def _y(value: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * value, 1)
