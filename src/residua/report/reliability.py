"""reliability.png: how often the net is right where it is so sure, with its temperature and without."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from residua.report import say, style
from residua.report.files import read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Bins = list[dict[str, float]]


def reliability(run: Path, out: Path) -> Path | None:
    """Draw the reliability diagram of a folder's evaluation.json to `out`; None where there is no calibration.

    One panel, or two where there is a temperature: before and after. Bars are the share that is right in each bin of
    confidence, with the gap to the diagonal in vermilion; below, how many images each bin has.
    Source: Guo et al. 2017, fig. 1, arXiv:1706.04599.
    """
    found = read(run).evaluation.get("calibration")
    panels = panels_of(found) if isinstance(found, dict) else []
    if not panels:
        return None
    with style.style():
        made = style.figure(4.1 * len(panels) + 0.2, 5.0)
        made.set_layout_engine("constrained", w_pad=0.12, h_pad=0.06)
        grid = made.subplots(2, len(panels), squeeze=False, height_ratios=(4, 1), sharex=True)
        most = max(b["n"] for _, _, bins in panels for b in bins)
        for column, (title, error, bins) in enumerate(panels):
            _diagram(grid[0][column], bins, f"{title}", f"calibration error {say.percent(error)}")
            _counts(grid[1][column], bins, most)
        grid[0][0].set_ylabel("share that is right")
        grid[1][0].set_ylabel("images")
        return style.save(made, out)


def panels_of(found: dict[str, Any]) -> list[tuple[str, Any, Bins]]:
    """(title, calibration error, bins) of each panel: before and after the temperature, as far as there are both."""
    plain = _bins(found.get("bins_uncalibrated"))
    warm = _bins(found.get("bins"))
    temperature = say.number(found.get("temperature"))
    if temperature is None:
        return [("the net's own probabilities", found.get("ece"), warm)] if warm else []
    panels = [
        ("before", found.get("ece_uncalibrated"), plain),
        (f"after, temperature {say.figures(temperature)}", found.get("ece"), warm),
    ]
    return [p for p in panels if p[2]]


def _bins(value: Any) -> Bins:
    """The bins, if that is what they are and there is an image."""
    keys = ("low", "high", "n", "confidence", "accuracy")
    if not isinstance(value, list):
        return []
    bins = [{k: n for k in keys if (n := say.number(b.get(k))) is not None} for b in value if isinstance(b, dict)]
    whole = [b for b in bins if len(b) == len(keys)]
    return whole if sum(b["n"] for b in whole) else []


def _diagram(axes: "Axes", bins: Bins, title: str, said: str) -> None:
    style.bare(axes, "bottom")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_aspect("auto")
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_yticks(ticks, [say.percent(t, 1).replace(".0", "") for t in ticks])
    axes.grid(axis="y", color=style.HAIRLINE, linewidth=0.6)
    axes.set_axisbelow(True)
    for b in bins:
        if b["n"]:
            _bar(axes, b)
    axes.plot([0, 1], [0, 1], color=style.QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=style.INK, pad=22)
    axes.text(0, 1.03, said, transform=axes.transAxes, fontsize=9, color=style.QUIET)
    axes.text(0.985, 0.9, "as sure as right", ha="right", rotation=0, fontsize=8, color=style.QUIET)


def _bar(axes: "Axes", b: dict[str, float]) -> None:
    """The share that is right in blue, the gap to the confidence in vermilion."""
    width = b["high"] - b["low"]
    middle = (b["low"] + b["high"]) / 2
    axes.bar(middle, b["accuracy"], 0.9 * width, color=style.VALIDATION, alpha=0.85, linewidth=0)
    low, high = sorted((b["accuracy"], b["confidence"]))
    axes.bar(middle, high - low, 0.9 * width, low, color=style.TRAINING, alpha=0.3, linewidth=0)
    edge = [middle - 0.45 * width, middle + 0.45 * width]
    axes.plot(edge, [b["confidence"]] * 2, color=style.TRAINING, linewidth=1.6, zorder=4)


def _counts(axes: "Axes", bins: Bins, most: float) -> None:
    style.bare(axes, "bottom")
    widths = [0.9 * (b["high"] - b["low"]) for b in bins]
    middles = [(b["low"] + b["high"]) / 2 for b in bins]
    axes.bar(middles, [b["n"] for b in bins], widths, color=style.QUIET, alpha=0.45, linewidth=0)
    axes.set_ylim(0, 1.05 * most)
    axes.set_yticks([0, most], ["0", say.count(most)])
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, [say.percent(t, 1).replace(".0", "") for t in ticks])
    axes.set_xlabel("confidence: probability of the predicted class")
