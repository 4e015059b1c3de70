"""A sheet as a PNG: panels side by side on one axis, labels at the lines' ends."""

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from residua.report import say, style
from residua.report.series import Axis
from residua.report.sheet import Band, Line, Panel, Sheet, apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
PANEL_IN = (4.5, 3.9)
#: Between two labels, in shares of a panel's height.
GAP = 0.1


def picture(sheet: Sheet, out: Path) -> Path | None:
    """Draw the sheet to `out`; None where there is nothing to draw."""
    if not sheet.bands:
        return None
    count = len(sheet.panels)
    columns = 2 if count == 4 else min(COLUMNS, count)
    rows = ceil(count / columns)
    x, y = sheet.axes()
    with style.style():
        made = style.figure(PANEL_IN[0] * columns + 0.4, PANEL_IN[1] * rows + 0.4)
        made.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
        grid = made.subplots(rows, columns, squeeze=False)
        for i, axes in enumerate(grid.flat):
            if i < count:
                _panel(axes, sheet, sheet.panels[i], x, y)
                if i >= count - columns:
                    axes.set_xlabel(sheet.x_name)
            else:
                axes.set_axis_off()
        _key(grid.flat[0], sheet, y)
        return style.save(made, out)


def _panel(axes: "Axes", sheet: Sheet, panel: Panel, x: Axis, y: Axis) -> None:
    style.bare(axes, "bottom")
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.01, 1.02)
    axes.set_xticks([x.place(t) for t, _ in x.ticks], [text for _, text in x.ticks])
    axes.set_yticks([y.place(t) for t, _ in y.ticks], [text for _, text in y.ticks])
    axes.grid(axis="y", color=style.HAIRLINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=style.INK, pad=10)
    for line in panel.lines:
        _line(axes, line, line.thin, x, y, 1.0)
        _line(axes, line, line.bold, x, y, 2.4)
    _labels(axes, sheet, panel, x, y)


def _line(axes: "Axes", line: Line, band: Band, x: Axis, y: Axis, width: float) -> None:
    if not band:
        return
    at = [x.place(v) for v in band.x]
    low, mean, high = ([y.place(v) for v in values] for values in (band.low, band.mean, band.high))
    axes.fill_between(at, low, high, color=line.colour, alpha=0.14, linewidth=0)
    axes.plot(at, mean, color=line.colour, linewidth=width, marker="o" if len(at) == 1 else None, clip_on=False)


def _labels(axes: "Axes", sheet: Sheet, panel: Panel, x: Axis, y: Axis) -> None:
    from matplotlib.patheffects import withStroke  # where a line passes behind, the words stay readable

    ended = [(line, line.end) for line in panel.lines if line.end is not None]
    spots = [(x.place(end[0]), y.place(end[1])) for _, end in ended]
    for (line, end), (at, _), height in zip(ended, spots, apart([s[1] for s in spots], GAP, 0.03, 0.97), strict=True):
        value = say.percent(end[1]) if sheet.percent else say.figures(end[1])
        axes.annotate(
            f"{line.label}\n{value}", (at, height), xytext=(7, 0), textcoords="offset points",
            va="center", color=line.colour, fontweight="bold", fontsize=8.5, linespacing=1.15, annotation_clip=False,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip


def _key(axes: "Axes", sheet: Sheet, y: Axis) -> None:
    """What thin and bold are, and the axis, above the first panel."""
    axes.plot([], [], color=style.QUIET, linewidth=1.0, label=sheet.thin)
    axes.plot([], [], color=style.QUIET, linewidth=2.4, label=sheet.bold)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1.005), ncols=2, frameon=False, labelcolor=style.QUIET, handlelength=1.6,
        borderaxespad=0.2, columnspacing=1.2, fontsize=8.5,
    )  # fmt: skip
    axes.set_ylabel(sheet.y_name + (" (log)" if y.log else ""))
