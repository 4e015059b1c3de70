"""One look for every picture: a palette that colour-blind eyes tell apart, quiet axes, the Agg canvas.

Colours after Okabe & Ito 2008, "Color Universal Design". No pyplot: a figure is an object that is drawn and dropped.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from residua.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#1d2329"
QUIET = "#67717c"
HAIRLINE = "#dde2e7"
BAND = "#f3f5f8"  # the ground of every second stage
VALIDATION = "#0072b2"  # Okabe & Ito's blue
TRAINING = "#d55e00"  # their vermilion
RATE = "#009e73"  # their bluish green

#: Right answers and mistakes of a confusion matrix: from paper to blue, from paper to vermilion.
RIGHT = LinearSegmentedColormap.from_list("right", ("#e6f1f8", "#7fb8d8", VALIDATION))
WRONG = LinearSegmentedColormap.from_list("wrong", ("#fdeee3", "#f0a66f", TRAINING, "#a94400"))

RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # the font that comes with matplotlib: the same picture on every machine
    "font.size": 9.0,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a class named "$5" is no formula
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "savefig.facecolor": "white",
}


def figure(width_in: float, height_in: float) -> Figure:
    """An empty figure in the house style, on an Agg canvas."""
    made = Figure(figsize=(width_in, height_in), dpi=150, layout="constrained")
    FigureCanvasAgg(made)
    return made


def style() -> Any:
    """The context in which artists are made in the house style; matplotlib's own settings come back on exit."""
    return rc_context(RC)


def bare(axes: "Axes", *keep: str) -> None:
    """Leave only the spines named in `keep`."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)


def save(made: Figure, out: Path) -> Path:
    """Write the figure as PNG, whole or not at all."""
    with replacing(out) as temporary:
        made.savefig(temporary, format="png", metadata={"Software": None})
    return out
