"""curves.png: errors, losses and learning rate over epochs."""

from pathlib import Path
from typing import TYPE_CHECKING

from residua.report import say, style
from residua.report.files import read
from residua.report.labels import beside
from residua.report.series import Axis, Curves, Series, curves_of, epoch_axis, rate_axis, value_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The error panel in units of the labels: about 1.4 a point, so that a letter is as wide as `labels` believes.
PANEL_PT = (680, 270)


def curves(run: Path, out: Path) -> Path | None:
    """Draw the run's curves to `out`; None where the run has no metrics yet.

    Training thin, validation bold (as in He 2015, fig. 1 and 6), each on a logarithmic axis where its values span
    more than a factor of eight; the learning rate in a slim panel below.
    """
    data = curves_of(read(run))
    if not data.last_epoch:
        return None
    with style.style():
        made = style.figure(8, 6.4)
        top, middle, bottom = made.subplots(3, 1, sharex=True, height_ratios=(5, 3, 1.1))
        x = epoch_axis(data.last_epoch)
        y = value_axis(data.errors, as_percent=True)
        _panel(top, x, y, "error", (data.train_error, data.val_error))
        _panel(middle, x, value_axis(data.losses), "loss", (data.train_loss, data.val_loss))
        _frame(bottom, rate_axis(data.lr), "learning rate")
        _line(bottom, x, rate_axis(data.lr), data.lr, color=style.RATE, linewidth=1.4)
        _best(top, x, y, data)
        _test(top, y, data.test_error)
        bottom.set_xlabel("epoch")
        bottom.set_xticks([x.place(t) for t, _ in x.ticks], [text for _, text in x.ticks])
        return style.save(made, out)


def _panel(axes: "Axes", x: Axis, y: Axis, name: str, series: tuple[Series, Series]) -> None:
    train, val = series
    _frame(axes, y, name)
    _line(axes, x, y, train, color=style.TRAINING, linewidth=1.1, label=f"training {name}")
    _line(axes, x, y, val, color=style.VALIDATION, linewidth=2.2, label=f"validation {name}")
    if train or val:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, labelcolor="linecolor",
            handlelength=1.6, borderaxespad=0.1,
        )  # fmt: skip


def _frame(axes: "Axes", y: Axis, name: str) -> None:
    style.bare(axes, "bottom")
    axes.set_ylim(-0.01, 1.03)
    axes.set_xlim(-0.005, 1.02)
    axes.set_yticks([y.place(t) for t, _ in y.ticks], [text for _, text in y.ticks])
    axes.grid(axis="y", color=style.HAIRLINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(f"{name}{' (log)' if y.log else ''}", loc="left", fontsize=9, color=style.QUIET)


def _line(axes: "Axes", x: Axis, y: Axis, series: Series, **look: object) -> None:
    if series:
        marker = "o" if len(series.x) == 1 else None
        places = [x.place(v) for v in series.x], [y.place(v) for v in series.y]
        axes.plot(*places, marker=marker, clip_on=False, **look)  # type: ignore[arg-type]


def _best(axes: "Axes", x: Axis, y: Axis, data: Curves) -> None:
    """A ring at the weights that were kept, with their validation error in words."""
    if data.best is None:
        return
    from matplotlib.patheffects import withStroke  # where no place is free, the words stay readable on a line

    epoch, error = data.best
    spot = x.place(epoch), y.place(error)
    axes.plot(*spot, "o", markersize=7, markerfacecolor="white", markeredgecolor=style.VALIDATION, clip_on=False)
    text = f"{data.word}: {say.percent(error)}, epoch {epoch:g}"
    wide, high = PANEL_PT
    lines = [
        [(wide * x.place(a), high * (1 - y.place(b))) for a, b in zip(s.x, s.y, strict=True)]
        for s in (data.train_error, data.val_error)
    ]
    sideways, down = beside((wide * spot[0], high * (1 - spot[1])), text, lines, (0, 0, wide, high))
    axes.annotate(
        text,
        spot,
        xytext=(sideways * 0.7, -down * 0.7),
        textcoords="offset points",
        ha="left" if sideways > 0 else "right",
        color=style.VALIDATION,
        path_effects=[withStroke(linewidth=4, foreground="white")],
    )


def _test(axes: "Axes", y: Axis, error: float | None) -> None:
    """The test error as a mark on the right edge: it was measured once, after the last epoch."""
    if error is None:
        return
    spot = 1.02, y.place(error)
    axes.plot(*spot, "D", markersize=5, color=style.INK, clip_on=False)
    axes.annotate(f"test\n{say.percent(error)}", spot, xytext=(8, 0), textcoords="offset points", va="center")
