"""units.png of a measurement, and what it says in words. Reads what `residua depth measure` writes, as plain JSON."""

from collections.abc import Mapping, Sequence
from math import floor, log10
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from residua.report import say, style
from residua.report.stages import bands, names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A unit that changes its input by less than this has nearly learned the identity.
NEARLY = 0.1
#: Units that the sentence names, at most.
SOME = 12

Document = Mapping[str, Any]
Rows = Sequence[Document]


def sentence(document: Document) -> str:
    """Which units work and which have (nearly) learned the identity, in words."""
    rows: Rows = document["units"]
    with_ratio = [u for u in rows if u["ratio"] is not None]
    if not with_ratio:
        return _without_shortcuts(rows, document["word"])
    still = [u for u in with_ratio if u["ratio"] < NEARLY]
    least, most = min(with_ratio, key=_ratio), max(with_ratio, key=_ratio)
    which = f": {_listed([u['unit'] for u in still])}" if still else ""
    return (
        f"{len(still)} of {len(with_ratio)} units change their input by less than {100 * NEARLY:g}{say.JOIN}%{which}. "
        f"Half of them change it by less than {say.percent(median(map(_ratio, with_ratio)))}; "
        f"{least['unit']} least ({say.percent(_ratio(least))}), {most['unit']} most ({say.percent(_ratio(most))})."
    )


def _without_shortcuts(rows: Rows, word: str) -> str:
    cosines = [u for u in rows if u["cosine"] is not None]
    if not cosines:
        return f"These {word}s have no shortcut and all change the shape: none can be compared with the identity."
    nearest = max(cosines, key=lambda u: float(u["cosine"]))
    return (
        f"These {word}s have no shortcut: each makes its output anew. The cosine of what enters and what leaves is "
        f"{median(float(u['cosine']) for u in cosines):.2f} at the median; {nearest['unit']} comes nearest to the "
        f"identity ({nearest['cosine']:.2f})."
    )


def _listed(paths: Sequence[str]) -> str:
    rest = f" and {len(paths) - SOME} more" if len(paths) > SOME else ""
    return ", ".join(paths[:SOME]) + rest


def _ratio(unit: Document) -> float:
    return float(unit["ratio"])


# -- the picture ----------------------------------------------------------------------------------------------------


def units(document: Document, out: Path) -> Path:
    """Draw how much each unit changes its input, its share of the gradient, and the layers' responses."""
    rows: Rows = document["units"]
    with style.style():
        made = style.figure(9.5, 8.4)
        made.set_layout_engine("constrained", h_pad=0.1, w_pad=0.1)
        grid = made.add_gridspec(3, 2, height_ratios=(3, 1.5, 2.6))
        top, middle = made.add_subplot(grid[0, :]), made.add_subplot(grid[1, :])
        if any(u["ratio"] is not None for u in rows):
            _ratios(top, rows)
        else:
            _cosines(top, rows, document["word"])
        _gradients(middle, rows)
        _responses(made, grid, document)
        return style.save(made, out)


def _frame(axes: "Axes", title: str) -> None:
    style.bare(axes, "bottom")
    axes.grid(axis="y", color=style.HAIRLINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=10, pad=10)


def _ratios(axes: "Axes", rows: Rows) -> None:
    """Bars of |F(x)| / |x| on a logarithmic axis; what lies below the line of `NEARLY` is vermilion."""
    values = [u["ratio"] for u in rows]
    seen = [v for v in values if v]
    low = 10.0 ** floor(log10(min([*seen, NEARLY]) * 0.999))
    low = max(low, 1e-5)
    high = 2.2 * max([*seen, NEARLY])
    heights = [max(v or 0, low * 1.06) for v in values]
    colours = [style.TRAINING if (v or 0) < NEARLY else style.VALIDATION for v in values]
    axes.bar(range(len(rows)), [h - low for h in heights], bottom=low, width=0.72, color=colours, linewidth=0, zorder=2)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    ticks = [m * 10.0**e for e in range(floor(log10(low)), 3) for m in (1, 2, 5) if low <= m * 10.0**e < high]
    ticks = ticks if len(ticks) <= 8 else [t for t in ticks if f"{t:.0e}".startswith("1")]
    axes.set_yticks(ticks, [f"{100 * t:g} %" for t in ticks])
    axes.set_yticks([], minor=True)
    axes.axhline(NEARLY, color=style.TRAINING, linewidth=0.9, linestyle="--", zorder=3)
    axes.annotate(
        "nearly the\nidentity", (1, NEARLY), xycoords=("axes fraction", "data"), xytext=(4, -3),
        textcoords="offset points", va="top", fontsize=8, color=style.TRAINING, annotation_clip=False,
    )  # fmt: skip
    bands(axes, [u["stage"] for u in rows])
    names(axes, [u["unit"] for u in rows])
    _frame(axes, "|F(x)| / |x|: how much a unit changes its input (log)")


def _cosines(axes: "Axes", rows: Rows, word: str) -> None:
    """Bars of the cosine of x and H(x), where there is no shortcut to compare F(x) with."""
    axes.bar(range(len(rows)), [u["cosine"] or 0 for u in rows], width=0.72, color=style.VALIDATION, zorder=2)
    axes.set_ylim(min([0.0, *(1.1 * (u["cosine"] or 0) for u in rows)]), 1.15)
    axes.axhline(1, color=style.TRAINING, linewidth=0.9, linestyle="--", zorder=3)
    axes.annotate(
        "the identity", (1, 1), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
        va="center", fontsize=8, color=style.TRAINING, annotation_clip=False,
    )  # fmt: skip
    bands(axes, [u["stage"] for u in rows])
    names(axes, [u["unit"] for u in rows])
    _frame(axes, f"cosine of what enters and what leaves a {word}, where the shapes agree")


def _gradients(axes: "Axes", rows: Rows) -> None:
    shares = [100 * float(u["gradient_share"]) for u in rows]
    axes.bar(range(len(rows)), shares, width=0.72, color=style.RATE, zorder=2)
    even = 100 / len(rows)
    axes.axhline(even, color=style.QUIET, linewidth=0.9, linestyle=":", zorder=3)
    axes.annotate(
        "even", (1, even), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
        va="center", fontsize=8, color=style.QUIET, annotation_clip=False,
    )  # fmt: skip
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:g} %")
    bands(axes, [u["stage"] for u in rows], named=False)
    names(axes, [u["unit"] for u in rows])
    axes.set_xticklabels([])
    _frame(axes, "share of the gradient")


def _responses(made: "Figure", grid: Any, document: Document) -> None:
    """The paper's Fig. 7: the layers' responses in network order, and by magnitude."""
    nets = [document, *([document["against"]] if document.get("against") else [])]
    looks = ((style.VALIDATION, 1.8), (style.TRAINING, 1.4))
    left, right = made.add_subplot(grid[2, 0]), made.add_subplot(grid[2, 1])
    for net, (colour, width) in zip(nets, looks, strict=False):
        spreads = [float(layer["std"]) for layer in net["layers"]]
        mean = sum(spreads) / max(1, len(spreads))
        left.plot(
            range(1, len(spreads) + 1), spreads, color=colour, linewidth=width,
            label=f"{net['arch']} (mean {say.figures(mean)})",
        )  # fmt: skip
        right.plot(range(1, len(spreads) + 1), sorted(spreads, reverse=True), color=colour, linewidth=width)
    for axes, x in ((left, "layer, in network order"), (right, "layer, sorted by magnitude")):
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel(x)
    _frame(left, "standard deviation of the layers' responses")
    _frame(right, "")
    left.legend(frameon=False, fontsize=8, labelcolor="linecolor", handlelength=1.4, loc="best")
