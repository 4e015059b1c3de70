"""The picture of a pruning: held-out error against units, parameters, multiply-adds and latency; which units went."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residua.report import say, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What the error is drawn against: the field of a cut, the label, the factor that the numbers are shown by.
AGAINST = (
    ("units", "units", 1.0),
    ("params", "parameters, thousands", 1e-3),
    ("macs", "multiply-adds, millions", 1e-6),
    ("seconds", "milliseconds", 1e3),
)
#: How far above the errors that matter the axis reaches.
HEADROOM = 1.2


def pruning(document: Mapping[str, Any], out: Path) -> Path:
    """Draw a pruning's document to `out`: the path of the cuts, the fine-tunes, what was kept, a map of the units."""
    with style.style():
        stages = len(document["depths"])
        made = style.figure(9.6, 4.6 + 0.27 * stages)
        made.get_layout_engine().set(rect=(0.005, 0, 0.99, 0.775), w_pad=0.08)  # type: ignore[union-attr,call-arg]
        grid = made.add_gridspec(2, len(AGAINST), height_ratios=(11, 0.8 + stages))
        top = _top(document)
        for column, (field, label, factor) in enumerate(AGAINST):
            axes = made.add_subplot(grid[0, column])
            _panel(axes, document, field, factor, top)
            axes.set_xlabel(label)
            if column:
                axes.set_yticklabels([])
            else:
                axes.set_title("held-out error", loc="left", fontsize=9, color=style.QUIET)
                made.legend(*axes.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(0.008, 0.842), ncols=6,
                            frameon=False, fontsize=8, handlelength=1.4, columnspacing=1.4)  # fmt: skip
        _map(made.add_subplot(grid[1, :]), document)
        head, under = words(document)
        made.text(0.015, 0.965, head, fontsize=12, fontweight="bold", va="top")
        made.text(0.015, 0.91, under, color=style.QUIET, va="top", linespacing=1.5)
        return style.save(made, out)


def words(document: Mapping[str, Any]) -> tuple[str, str]:
    """What happened, as a title and two lines."""
    cut, first, test = document["chosen"], document["path"][0], document["test"]
    left, before, after = len(cut["removed"]), test["before"], test["after"]
    head = f"{document['arch']} on {document['data']}: {left} of {first['units']} units taken out"
    head += f", {cut['speed']:.2f} times as fast"
    errors = f"test error {say.percent(before['top1_error'])} before, {say.percent(after['top1_error'])} after"
    costs = f"{say.count(first['params'])} to {say.count(cut['params'])} parameters"
    costs += f", {say.short(first['macs'])} to {say.short(cut['macs'])} multiply-adds"
    tuned = f", fine-tuned for {say.plural(document['finetune_epochs'], 'epoch')}" if cut["tuned"] else ""
    timed = f"latency: {document['batch']} pictures of {document['side_px']} px, {document['engine']}"
    return head, f"{errors} ({say.count(after['n'])} pictures){tuned}; {costs}\n{timed}"


def _top(document: Mapping[str, Any]) -> float:
    """The largest error on the axis: beyond it a cut is of no interest, and its line leaves the picture."""
    path, kept = document["path"], len(document["chosen"]["removed"])
    shown = [r["top1_error"] for r in path[: kept + 2]] if not document["tuned"] else []
    shown += [r["top1_error"] for r in document["tuned"]] + [path[0]["top1_error"], document["chosen"]["top1_error"]]
    allowed = document["base"] + 2 * document["goal"].get("max_drop", 0.0)
    return max(0.005, HEADROOM * float(max(*shown, allowed)))


def _panel(axes: "Axes", document: Mapping[str, Any], field: str, factor: float, top: float) -> None:
    path, tuned, chosen = document["path"], document["tuned"], document["chosen"]
    at = [factor * r[field] for r in path]
    style.bare(axes, "bottom")
    axes.grid(axis="y", color=style.HAIRLINE, linewidth=0.6)
    axes.set_axisbelow(True)
    if "max_drop" in document["goal"]:
        allowed = document["base"] + document["goal"]["max_drop"]
        axes.axhline(allowed, color=style.RATE, linewidth=1, linestyle=(0, (4, 3)), label="allowed")
    axes.plot(at, [r["top1_error"] for r in path], "-o", color=style.VALIDATION, linewidth=1.6, markersize=3,
              label="one unit after the other")  # fmt: skip
    places = [at[len(r["removed"])] for r in tuned]
    _trials(axes, places, tuned)
    axes.plot(at[len(chosen["removed"])], chosen["top1_error"], "o", markersize=12, markerfacecolor="none",
              markeredgecolor=style.INK, markeredgewidth=1.3, label="kept", clip_on=False)  # fmt: skip
    low, high = min(at), max(at)
    margin = 0.05 * (high - low or 1)
    axes.set_xlim(high + margin, low - margin)  # to the right the net becomes smaller
    axes.set_ylim(-0.02 * top, top)
    axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g} %")


def _trials(axes: "Axes", places: Sequence[float], tuned: Sequence[Mapping[str, Any]]) -> None:
    """The fine-tunes: full where good enough, hollow where not."""
    labels = {True: "fine-tuned", False: "fine-tuned, not good enough", None: "whole net, fine-tuned"}
    for word, fill in ((True, style.TRAINING), (False, "white"), (None, style.HAIRLINE)):
        chosen = [(x, r["top1_error"]) for x, r in zip(places, tuned, strict=True) if r["within"] is word]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), "D", markersize=5.5, markerfacecolor=fill, linestyle="none",
                      markeredgecolor=style.TRAINING, label=labels[word], clip_on=False)  # fmt: skip


def _map(axes: "Axes", document: Mapping[str, Any]) -> None:
    """One square a unit, one row a stage: those taken out are hollow and numbered in their order."""
    from matplotlib.patches import FancyBboxPatch

    order = {path: i for i, path in enumerate(document["chosen"]["removed"], 1)}
    style.bare(axes)
    axes.set_xticks([])
    axes.set_yticks(range(len(document["depths"])), [f"stage {s}" for s in range(len(document["depths"]))])
    widest = max(document["depths"])
    size = 7.5 if widest <= 40 else 5.0
    for stage, depth in enumerate(document["depths"]):
        for unit in range(depth):
            number = order.get(f"stages.{stage}.{unit}")
            look = {"facecolor": "white", "edgecolor": style.TRAINING} if number else {
                "facecolor": style.VALIDATION, "edgecolor": style.VALIDATION, "alpha": 0.85}  # fmt: skip
            box = "round,pad=0,rounding_size=0.12"
            axes.add_patch(FancyBboxPatch((unit - 0.4, stage - 0.36), 0.8, 0.72, boxstyle=box, linewidth=1, **look))
            if number:
                axes.text(
                    unit, stage + 0.03, str(number), ha="center", va="center", fontsize=size, color=style.TRAINING
                )
    axes.set_xlim(-0.7, max(widest, 24) - 0.3)
    axes.set_ylim(len(document["depths"]) - 0.4, -0.6)
    axes.set_title("the units: hollow ones were taken out, in this order", loc="left", fontsize=9,
                   color=style.QUIET)  # fmt: skip
