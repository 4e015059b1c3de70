"""The units of a net along x: stages as bands, short names below."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from residua.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Names along x, at most.
NAMED = 60


def bands(axes: "Axes", stages: Sequence[int], named: bool = True) -> None:
    """Every second stage on a tinted ground, each with its name above; one position on x for each entry of `stages`."""
    first = 0
    for i, (stage, run) in enumerate(groupby(stages)):
        n = len(list(run))
        if i % 2 == 0:
            axes.axvspan(first - 0.5, first + n - 0.5, color=style.BAND, linewidth=0, zorder=0)
        first, middle = first + n, first + n / 2 - 0.5
        if not named:
            continue
        name = "stem" if stage < 0 else f"stage {stage}"
        axes.annotate(
            name, (middle, 1), xycoords=("data", "axes fraction"), xytext=(0, -4),
            textcoords="offset points", ha="center", va="top", color=style.QUIET, fontsize=8,
            bbox={"facecolor": style.BAND if i % 2 == 0 else "white", "linewidth": 0, "pad": 1.5},
        )  # fmt: skip


def names(axes: "Axes", paths: Sequence[str]) -> None:
    """Short names of the units along x, as many as there is room for."""
    every = -(-len(paths) // NAMED)
    places = range(0, len(paths), every)
    axes.set_xticks(list(places), [short(paths[i]) for i in places], rotation=90, fontsize=7)
    axes.set_xlim(-0.6, len(paths) - 0.4)


def short(path: str) -> str:
    """``stages.1.0.unit`` -> "1.0"."""
    return path.removeprefix("stages.").removesuffix(".unit")


def percents(axes: "Axes") -> None:
    """Percent signs along y."""
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} %"))
