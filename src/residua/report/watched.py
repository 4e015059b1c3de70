"""units.png of a run that was trained with ``--watch-units``: what each unit did, over the training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize

from residua.report import say, style
from residua.report.files import RunFiles, read
from residua.report.stages import short
from residua.report.units import NEARLY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What is looked at in the picture: ratios below and above these fractions share a colour.
LOW, HIGH = 0.01, 2.0
#: Units with a name each, at most.
NAMED = 40

Floats = npt.NDArray[np.float64]

CHANGE = LinearSegmentedColormap.from_list("change", ("#fdeee3", "#cfe3ef", "#5ba3cd", style.VALIDATION, "#003f63"))
SHARE = LinearSegmentedColormap.from_list("share", ("#ffffff", "#8fd0bb", style.RATE, "#004d38"))


@dataclass(frozen=True)
class Watched:
    """U units at T moments. `ratio`, `cosine`, `share`: (U, T), NaN where a number is missing; `epochs`: (T,)."""

    epochs: Floats
    units: tuple[str, ...]
    stages: tuple[int, ...]
    ratio: Floats
    cosine: Floats
    share: Floats


def watched_of(files: RunFiles) -> Watched | None:
    """What units.jsonl of a run holds; None where there is none. Of rows that repeat a step, the last counts."""
    rows = {r["step"]: r for r in files.units if _whole(r)}
    ordered = [rows[step] for step in sorted(rows)]
    if not ordered:
        return None
    last = ordered[-1]["units"]  # a net that grew has more units in the end
    paths = tuple(str(u["unit"]) for u in last)
    found = [{u["unit"]: u for u in r["units"]} for r in ordered]

    def table(name: str) -> Floats:
        return np.array(
            [[_number(moment.get(path, {}).get(name)) for moment in found] for path in paths], dtype=np.float64
        )

    return Watched(
        epochs=np.array([float(r["epoch"]) for r in ordered]),
        units=tuple(say.label(p) for p in paths),
        stages=tuple(int(u["stage"]) for u in last),
        ratio=table("ratio"),
        cosine=table("cosine"),
        share=table("gradient_share"),
    )


def _whole(row: dict[str, Any]) -> bool:
    units = row.get("units")
    return (
        isinstance(units, list)
        and bool(units)
        and all(isinstance(u, dict) and "unit" in u and say.number(u.get("stage")) is not None for u in units)
        and all(say.number(row.get(k)) is not None for k in ("step", "epoch"))
    )


def _number(value: Any) -> float:
    found = say.number(value)
    return np.nan if found is None else found


def sentence(found: Watched) -> str:
    """What the units do at the end, in words."""
    if np.isnan(found.ratio[:, -1]).all():
        return "The units have no shortcut: the picture shows the cosine of what enters and what leaves each."
    last = found.ratio[:, -1]
    still = int((last < NEARLY).sum())
    which = say.plural(still, "unit")
    return (
        f"In the end {which} of {len(last)} changed their input by less than {100 * NEARLY:g}{say.JOIN}%; "
        f"the median change was {say.percent(float(np.nanmedian(last)))}."
    )


def watched(run: Path, out: Path) -> Path | None:
    """Draw the units over the training to `out`; None where they were not watched."""
    found = watched_of(read(run))
    if found is None:
        return None
    with style.style():
        n = len(found.units)
        made = style.figure(8, min(9.0, 3.2 + 0.16 * n))
        top, bottom = made.subplots(2, 1, sharex=True)
        if np.isnan(found.ratio).all():
            _heat(made, top, found, found.cosine, CHANGE.reversed(), Normalize(0, 1))
            _title(top, "cosine of what enters and what leaves each unit")
        else:
            _heat(made, top, found, np.clip(found.ratio, LOW, HIGH), CHANGE, LogNorm(LOW, HIGH), percent=True)
            _title(top, "|F(x)| / |x|: how much each unit changes its input (log)")
        most = float(np.nanmax(found.share)) if np.isfinite(found.share).any() else 1.0
        _heat(made, bottom, found, found.share, SHARE, Normalize(0, most or 1.0), percent=True)
        _title(bottom, "share of the gradient")
        bottom.set_xlabel("epoch")
        return style.save(made, out)


def _title(axes: "Axes", text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10, pad=8)


def _heat(
    made: "Figure",
    axes: "Axes",
    found: Watched,
    values: Floats,
    colours: LinearSegmentedColormap,
    norm: Normalize,
    percent: bool = False,
) -> None:
    """Units from top to bottom as the pictures meet them, epochs from left to right; white lines part the stages."""
    n = len(found.units)
    mesh = axes.pcolormesh(_edges(found.epochs), np.arange(n + 1), values, cmap=colours, norm=norm, rasterized=True)
    axes.invert_yaxis()
    axes.set_xlim(0, found.epochs[-1])
    borders = [i for i in range(1, n) if found.stages[i] != found.stages[i - 1]]
    axes.hlines(borders, *axes.get_xlim(), colors="white", linewidths=2.5)
    every = -(-n // NAMED)
    places = list(range(0, n, every))
    axes.set_yticks([i + 0.5 for i in places], [short(found.units[i]) for i in places], fontsize=6.5 if n > 20 else 8)
    style.bare(axes)
    bar = made.colorbar(mesh, ax=axes, pad=0.015, fraction=0.04, aspect=14)
    bar.outline.set_visible(False)
    if isinstance(norm, LogNorm):
        ticks: Sequence[float] = [t for t in (0.01, 0.03, 0.1, 0.3, 1.0) if LOW <= t <= HIGH]
        bar.set_ticks(ticks)
        bar.minorticks_off()
    if percent:
        bar.ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.3g} %")


def _edges(x: Floats) -> Floats:
    """Where the cells of the moments `x` begin and end: halfway between them."""
    if len(x) == 1:
        return np.array([0.0, max(2 * x[0], 1e-6)])
    middle = (x[1:] + x[:-1]) / 2
    edges: Floats = np.concatenate(([0.0], middle, [x[-1] + (x[-1] - middle[-1])]))
    return edges
