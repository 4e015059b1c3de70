"""lr_finder.png: the loss at rising learning rates, the rate it suggests and the one that was used."""

import json
from itertools import pairwise
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from residua.report import style

#: What is marked on the curve: the key, its word, its colour, the side of the mark on which the word ends.
MARKS = (("suggestion", "suggested", style.TRAINING, "right"), ("used", "used", style.INK, "left"))


def finder(run: Path, out: Path) -> Path | None:
    """Draw what the run's lr_finder.json holds to `out`; None where there is none that can be drawn."""
    found = _read(run / "lr_finder.json")
    rates, losses = found.get("lr"), found.get("loss")
    if not isinstance(rates, list) or not isinstance(losses, list) or len(rates) != len(losses) or len(rates) < 2:
        return None
    from matplotlib.patheffects import withStroke

    with style.style():
        made = style.figure(7.2, 3.6)
        axes = made.add_subplot()
        style.bare(axes, "bottom")
        axes.set_xscale("log")
        axes.plot(rates, losses, color=style.VALIDATION, linewidth=2.0, clip_on=False)
        ticks = [10.0**e for e in range(ceil(log10(rates[0])), floor(log10(rates[-1])) + 1)]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        low, high = min(losses), max(losses)
        axes.set_ylim(low - 0.08 * (high - low or 1), high + 0.12 * (high - low or 1))
        axes.grid(axis="y", color=style.HAIRLINE, linewidth=0.6)
        axes.set_xlabel("learning rate")
        axes.set_title("training loss, smoothed", loc="left", fontsize=9, color=style.QUIET)
        for name, word, colour, side in MARKS:
            rate = found.get(name)
            if isinstance(rate, int | float) and rates[0] <= rate <= rates[-1]:
                spot = rate, _at(rate, rates, losses)
                axes.plot(*spot, "o", markersize=7, markerfacecolor="white", markeredgecolor=colour, clip_on=False)
                axes.annotate(
                    f"{word}: {rate:.2g}", spot, xytext=(-9 if side == "right" else 9, 9), textcoords="offset points",
                    path_effects=[withStroke(linewidth=4, foreground="white")],
                    ha=side, color=colour,
                )  # fmt: skip
        return style.save(made, out)


def _at(rate: float, rates: list[float], losses: list[float]) -> float:
    """The loss at the sweep's rate nearest below."""
    return next((loss for (a, b), loss in zip(pairwise(rates), losses, strict=False) if a <= rate < b), losses[-1])


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
