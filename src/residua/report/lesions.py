"""lesions.png, and what a table of lesions says in words. Reads what `residua depth lesion` writes, as plain JSON."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from residua.report import say, style
from residua.report.stages import bands, names, percents

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: A unit is harmless to lose below this rise of the error, and the net knows nothing from this share of chance on.
POINT, NOTHING = 0.01, 0.9

Document = Mapping[str, Any]


def sentence(document: Document) -> str:
    """What the lesions mean, in one or two sentences; empty where no unit was left out alone."""
    rows: list[Document] = document["units"]
    if not rows:
        return ""
    base, chance, word = document["base"]["top1_error"], document["chance"], document["word"]
    worst, best = max(rows, key=_error), min(rows, key=_error)
    harmless = sum(_error(r) - base < POINT for r in rows)
    blind = sum(_error(r) >= NOTHING * chance for r in rows)
    what = f"{harmless} of {len(rows)} {word}s can go alone at a loss of less than 1 point"
    if blind > len(rows) / 2:
        what = (
            f"without a single one of its {word}s the net is lost: {blind} of {len(rows)} lesions come near chance, "
            f"the median error is {say.percent(median(map(_error, rows)))}"
        )
    change = "" if worst["keeps_shape"] else ", where the shape changes"
    return (
        f"{what}. Intact: {say.percent(base)} wrong; without the most harmless, {best['unit']}: "
        f"{say.percent(_error(best))}; without the most harmful, {worst['unit']} in stage {worst['stage']}{change}: "
        f"{say.percent(_error(worst))}."
    )


def lesions(document: Document, out: Path) -> Path:
    """Draw the error without each unit beside the intact net's, and the curves of the random lesions that there are."""
    curves = [draw for key, draw in (("random", _random), ("swaps", _swaps)) if document[key]]
    with style.style():
        rows = bool(document["units"]) + bool(curves)
        made = style.figure(9.5, 3.9 * rows)
        made.set_layout_engine("constrained", h_pad=0.12, w_pad=0.12)
        grid = made.add_gridspec(rows, max(1, len(curves)))
        if document["units"]:
            _units(made.add_subplot(grid[0, :]), document)
        for place, draw in enumerate(curves):
            draw(made.add_subplot(grid[rows - 1, place]), document)
        return style.save(made, out)


def _error(row: Document) -> float:
    return float(row["top1_error"])


def _units(axes: "Axes", document: Document) -> None:
    rows: list[Document] = document["units"]
    base = _error(document["base"])
    errors = [100 * _error(r) for r in rows]
    top = 1.22 * max([1.0, *(100 * r["interval"][1] for r in rows), 100 * base])
    colours = [style.VALIDATION if _error(r) - base < POINT else style.TRAINING for r in rows]
    hatches = ["" if r["keeps_shape"] else "////" for r in rows]
    axes.bar(
        range(len(rows)), errors, width=0.72, color=colours, hatch=hatches, edgecolor="white", linewidth=0, zorder=2
    )
    low = [e - 100 * r["interval"][0] for e, r in zip(errors, rows, strict=True)]
    high = [100 * r["interval"][1] - e for e, r in zip(errors, rows, strict=True)]
    axes.errorbar(range(len(rows)), errors, (low, high), fmt="none", ecolor=style.INK, elinewidth=0.7, zorder=3)
    axes.set_ylim(0, top)
    _line_at(axes, 100 * base, f"intact {say.percent(base)}", style.INK)
    if 100 * document["chance"] < top:
        _line_at(axes, 100 * document["chance"], "chance", style.QUIET, ":")
    bands(axes, [r["stage"] for r in rows])
    names(axes, [r["unit"] for r in rows])
    _frame(axes, f"error without one {document['word']}", "")
    blue = "less than 1 point above the intact net"
    _legend(
        axes, [(blue, style.VALIDATION, ""), ("more", style.TRAINING, ""), ("the shape changes", "#9aa4ae", "////")]
    )


def _line_at(axes: "Axes", y: float, text: str, colour: str, dashes: str = "-") -> None:
    axes.axhline(y, color=colour, linewidth=0.9, linestyle=dashes, zorder=4)
    axes.annotate(
        text, (1, y), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
        va="center", fontsize=8, color=colour, annotation_clip=False,
    )  # fmt: skip


def _legend(axes: "Axes", entries: Sequence[tuple[str, str, str]]) -> None:
    from matplotlib.patches import Patch

    made = [Patch(facecolor=c, hatch=h, edgecolor="white", linewidth=0, label=text) for text, c, h in entries]
    axes.legend(
        handles=made, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(made), frameon=False, fontsize=8,
        handlelength=1.2, handleheight=0.9, borderaxespad=0.2, labelcolor=style.QUIET,
    )  # fmt: skip


def _frame(axes: "Axes", title: str, x: str) -> None:
    style.bare(axes, "bottom")
    axes.grid(axis="y", color=style.HAIRLINE, linewidth=0.6)
    axes.set_axisbelow(True)
    percents(axes)
    axes.set_title(title, loc="left", fontsize=10, pad=10)
    axes.set_xlabel(x)


def _dots(axes: "Axes", document: Document, points: Sequence[tuple[float, float]], colour: str) -> None:
    """Every net as a dot, under the line of chance."""
    axes.plot([x for x, _ in points], [100 * e for _, e in points], "o", color=colour, markersize=5, alpha=0.5, mew=0)
    axes.set_ylim(0, max(1.0, 105 * max(e for _, e in points), 110 * _error(document["curves"]["base"])))
    chance = 100 * document["chance"]
    if chance < axes.get_ylim()[1]:
        axes.axhline(chance, color=style.QUIET, linewidth=0.9, linestyle=":")
        axes.annotate(
            "chance", (0, chance), xycoords=("axes fraction", "data"), xytext=(2, 3), textcoords="offset points",
            fontsize=8, color=style.QUIET,
        )  # fmt: skip


def _random(axes: "Axes", document: Document) -> None:
    """Dots, and the mean at each k as a line that starts at the intact net's error."""
    rows, base = document["random"], _error(document["curves"]["base"])
    points = [(0.0, base), *((float(r["k"]), _error(r)) for r in rows)]
    _dots(axes, document, points, style.TRAINING)
    at: dict[float, list[float]] = defaultdict(list)
    for x, error in points:
        at[x].append(100 * error)
    axes.plot(sorted(at), [fmean(at[x]) for x in sorted(at)], color=style.TRAINING, linewidth=2)
    seeds = len({r["seed"] for r in rows})
    _frame(axes, f"error without k random {document['word']}s", f"k; {say.plural(seeds, 'draw')} each and their mean")
    axes.set_xlim(left=0)
    axes.set_xticks(sorted({0, *(r["k"] for r in rows)}))


def _swaps(axes: "Axes", document: Document) -> None:
    base = _error(document["curves"]["base"])
    _dots(axes, document, [(float(r["tau"]), _error(r)) for r in document["swaps"]], style.RATE)
    axes.plot([1], [100 * base], "o", markersize=7, markerfacecolor="white", markeredgecolor=style.INK)
    axes.annotate("intact", (1, 100 * base), xytext=(-6, -15), textcoords="offset points", fontsize=8, color=style.INK)
    _frame(axes, f"error with {document['word']}s in another order", "Kendall's τ of the order; 1 is the net's own")
    axes.invert_xaxis()
