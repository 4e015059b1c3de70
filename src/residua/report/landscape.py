"""landscape.png: surfaces of the loss as relief and as contour lines, all on one scale; and what they say in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LightSource, LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.ticker import FuncFormatter

from residua.report import say, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Heights = npt.NDArray[np.float64]

#: Losses above so many times that of a net which knows nothing are cut off in the picture, and in the picture only.
CUT = 100.0
#: Losses below this part of it are drawn as if they were it: a logarithm has no bottom.
BOTTOM = 1e-3

#: Blue lies below the loss of a net that knows nothing, orange above.
LAND = LinearSegmentedColormap.from_list(
    "land", ("#053a63", "#0072b2", "#6db3dc", "#eef3f6", "#f3c58f", "#e08a3c", "#a94400")
)

LEVELS = 15  # from the bottom to chance, and from there to the top

WIDTH_IN, TITLE_IN, RELIEF_IN, MAP_IN = 5.0, 1.05, 3.6, 4.65


@dataclass(frozen=True)
class Scale:
    """Logarithms (base 10) of the lowest and highest loss shown, and of chance, that of a net which knows nothing."""

    low: float
    chance: float
    high: float

    @property
    def norm(self) -> TwoSlopeNorm:
        """From a height to a place on the colours, chance in the middle."""
        return TwoSlopeNorm(vmin=self.low, vcenter=self.chance, vmax=self.high)

    def heights(self, losses: Heights) -> Heights:
        """Logarithms within the scale; NaN stays."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.clip(np.log10(losses), self.low, self.high)

    @property
    def levels(self) -> Heights:
        """Contour levels: as many below chance as above."""
        below = np.linspace(self.low, self.chance, LEVELS)
        above = np.linspace(self.chance, self.high, LEVELS)
        return np.concatenate((below, above[1:]))

    @property
    def ticks(self) -> list[float]:
        """1, 10, 100, ... as far as they are shown."""
        return [float(t) for t in range(ceil(self.low), floor(self.high) + 1)]


def scale_of(surfaces: Sequence[Heights], chance: float) -> Scale:
    """One scale for all surfaces."""
    every = np.concatenate([s[np.isfinite(s)] for s in surfaces])
    low = max(float(every.min()), BOTTOM * chance)
    high = min(max(float(every.max()), chance), CUT * chance)
    middle = log10(chance)
    return Scale(min(log10(low), middle - 0.1), middle, max(log10(high), middle + 0.1))


def landscape(about: Mapping[str, Any], surfaces: Sequence[Heights], out: Path) -> Path:
    """Draw the surfaces (R, R) of landscape.json to `out`: reliefs above, contours below, side by side on one scale.

    Rows of a surface lie along its first direction. What is not finite is a hole.
    """
    found = [s["terrain"] for s in about["surfaces"]]
    scale = scale_of(surfaces, found[0]["chance"])
    n = len(surfaces)
    with style.style():
        made = style.figure(WIDTH_IN * n + 0.7, TITLE_IN + RELIEF_IN + MAP_IN)
        made.set_layout_engine("none")
        wide, tall = WIDTH_IN / made.get_figwidth(), made.get_figheight()
        for i, (surface, entry) in enumerate(zip(surfaces, about["surfaces"], strict=True)):
            left = 0.1 / made.get_figwidth() + i * wide
            _relief(
                made, (left, (MAP_IN - 0.25) / tall, wide, (RELIEF_IN + 0.25) / tall), scale.heights(surface), scale
            )
            _title(made, left + 0.13 * wide, entry)
            side = (left + 0.13 * wide, 0.5 / tall, 0.82 * wide, 0.82 * WIDTH_IN / tall)
            _contours(made.add_axes(side), surface, scale, float(about["span"]))
        _bar(made, scale)
        return style.save(made, out)


def _title(made: "Figure", x: float, entry: Mapping[str, Any]) -> None:
    """The name, and the numbers that the eye should check."""
    tall = made.get_figheight()
    made.text(x, 1 - 0.36 / tall, say.label(entry["name"]), fontsize=13, fontweight="bold", ha="left")
    for i, words in enumerate(_lines(entry["terrain"])):
        made.text(x, 1 - (0.6 + 0.19 * i) / tall, words, fontsize=9, color=style.QUIET, ha="left")


def _lines(terrain: Mapping[str, Any]) -> list[str]:
    lines = [
        f"loss {say.figures(terrain['middle'])} in the middle, error {say.percent(terrain['middle_error'])}",
        f"valley below chance: {say.percent(terrain['valley'])} of the area",
    ]
    minima = say.plural(terrain["minima"], "local minimum", "local minima")
    lines.append(f"{minima}; not convex: {say.percent(terrain['nonconvex'])}")
    return lines


def _relief(made: "Figure", place: tuple[float, float, float, float], heights: Heights, scale: Scale) -> None:
    """The surface in a slanting light."""
    axes: Any = made.add_axes(place, projection="3d", computed_zorder=False)
    axes.set_axis_off()
    r = len(heights)
    x, y = np.meshgrid(np.arange(r), np.arange(r), indexing="ij")
    colours = LAND(scale.norm(heights))
    light = LightSource(azdeg=300, altdeg=50)
    known = np.where(np.isfinite(heights), heights, scale.high)
    colours[..., :3] = light.shade_rgb(
        colours[..., :3], known, vert_exag=0.12 * r / (scale.high - scale.low), blend_mode="soft", fraction=0.8
    )
    axes.plot_surface(
        x, y, heights, facecolors=colours, rstride=1, cstride=1, shade=False, antialiased=True,
        linewidth=0.25, edgecolor=(1, 1, 1, 0.28),
    )  # fmt: skip
    axes.set_zlim(scale.low, scale.high)
    axes.set_xlim(0, r - 1)
    axes.set_ylim(0, r - 1)
    axes.set_box_aspect((1, 1, 0.62), zoom=1.03)
    axes.view_init(elev=38, azim=-60)


def _contours(axes: "Axes", surface: Heights, scale: Scale, span: float) -> None:
    """The surface from above; a strong line where the loss is that of chance, a cross at the net."""
    heights = np.ma.masked_invalid(scale.heights(surface)).T  # the first direction to the right
    at = np.linspace(-span, span, len(surface))
    levels = scale.levels
    style.bare(axes)
    axes.set_facecolor(style.HAIRLINE)
    if heights.count():
        axes.contourf(at, at, heights, levels, cmap=LAND, norm=scale.norm, antialiased=True)
        axes.contour(at, at, heights, levels[::2], colors="white", linewidths=0.5, linestyles="solid", alpha=0.6)
        if heights.min() < scale.chance < heights.max():
            axes.contour(at, at, heights, [scale.chance], colors=style.INK, linewidths=1.6)
    axes.plot(0, 0, "+", color="white", markersize=12, markeredgewidth=3.2)
    axes.plot(0, 0, "+", color=style.INK, markersize=10, markeredgewidth=1.3)
    if not np.isfinite(surface).all():
        i, j = np.nonzero(~np.isfinite(surface))
        axes.plot(at[i], at[j], "x", color=style.QUIET, markersize=2.5, markeredgewidth=0.6)
    axes.set_aspect("equal")
    axes.set_xlim(-span, span)
    axes.set_ylim(-span, span)
    ticks = [-span, -span / 2, 0, span / 2, span]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xlabel("first direction, in norms of the filters")
    axes.set_ylabel("second direction")


def _bar(made: "Figure", scale: Scale) -> None:
    """The colours and their losses."""
    axes = made.add_axes((1 - 0.62 / made.get_figwidth(), 0.12, 0.14 / made.get_figwidth(), 0.3))
    edges = np.linspace(scale.low, scale.high, 257)
    middles = np.array([(a + b) / 2 for a, b in pairwise(edges)])
    axes.pcolormesh([0, 1], edges, middles[:, None], cmap=LAND, norm=scale.norm)
    style.bare(axes)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([t for t in scale.ticks if abs(t - scale.chance) > 0.1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{10**t:g}"))
    axes.axhline(scale.chance, color=style.INK, linewidth=1.6)
    axes.text(-0.35, scale.chance, "chance", ha="right", va="center", fontsize=8, rotation=90)
    axes.set_title("loss", fontsize=9, color=style.QUIET, pad=6)


# -- words ----------------------------------------------------------------------------------------------------------


def sentences(about: Mapping[str, Any]) -> list[str]:
    """What is seen, in numbers: a sentence a surface, and one that compares two."""
    said = []
    for entry in about["surfaces"]:
        t = entry["terrain"]
        holes = t["points"] - t["finite"]
        said.append(
            f"{say.label(entry['name'])}: the valley around the net, where the loss is below that of chance "
            f"({say.figures(t['chance'])}), takes {say.percent(t['valley'])} of the area; "
            f"{say.plural(t['minima'], 'local minimum', 'local minima')} among {say.count(t['points'])} points; "
            f"{say.percent(t['nonconvex'])} of the land is not convex"
            + (f"; {say.plural(holes, 'point')} not finite." if holes else ".")
        )
    if len(about["surfaces"]) == 2:
        said.append(_compared(*about["surfaces"]))
    return [words.replace(say.JOIN, " ") for words in said]


def _compared(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    wide, narrow = sorted((a, b), key=lambda s: -s["terrain"]["valley"])
    ratio = wide["terrain"]["valley"] / narrow["terrain"]["valley"] if narrow["terrain"]["valley"] else None
    names = say.label(wide["name"]), say.label(narrow["name"])
    if wide["terrain"]["valley"] == 0:
        return "Neither net lies in a valley: both are no better than chance."
    if ratio is None:
        return f"{names[0]} lies in a valley; {names[1]} is no better than chance where it stands."
    if ratio < 1.05:
        return "The two valleys are equally wide."
    return f"The valley of {names[0]} is {ratio:.2g} times as wide as that of {names[1]}."
