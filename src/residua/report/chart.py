"""The curves as geometry for the page: panels, paths and what a pointer reads, in SVG units. Colours are the page's."""

from dataclasses import dataclass, field
from typing import Any

from residua.report import say
from residua.report.labels import beside
from residua.report.series import Axis, Curves, Series, epoch_axis, rate_axis, value_axis

LEFT, RIGHT, TITLE, GAP = 52, 78, 24, 20


@dataclass(frozen=True)
class Panel:
    """One panel from `top` to `bottom`: `ticks` are (y, label), `lines` (kind, path), `dots` (kind, x, y)."""

    title: str
    top: float
    bottom: float
    ticks: list[tuple[float, str]]
    lines: list[tuple[str, str]]
    dots: list[tuple[str, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Kept:
    """A ring at (x, y) and its label, beside it."""

    x: float
    y: float
    text: str
    text_x: float
    text_y: float
    anchor: str


@dataclass(frozen=True)
class Chart:
    """Everything that the page draws; `points` is what the pointer reads, one entry an epoch, left to right."""

    width: int
    height: float
    left: int
    right: int
    panels: list[Panel]
    x_ticks: list[tuple[float, str]]
    kept: Kept | None
    test: tuple[float, str] | None
    points: list[dict[str, Any]]


def chart(data: Curves, *, width: int, heights: tuple[int, int, int]) -> Chart | None:
    """The chart of a run, `width` units wide with panels for error, loss and learning rate; None without numbers."""
    if not data.last_epoch:
        return None
    x = epoch_axis(data.last_epoch)
    errors, losses, rates = value_axis(data.errors, as_percent=True), value_axis(data.losses), rate_axis(data.lr)
    spread = _Spread(x, LEFT, width - RIGHT)
    panels, top = [], float(TITLE)
    contents = (
        ("error", errors, (("train", data.train_error), ("val", data.val_error))),
        ("loss", losses, (("train", data.train_loss), ("val", data.val_loss))),
        ("learning rate", rates, (("rate", data.lr),)),
    )
    for (name, y, series), height in zip(contents, heights, strict=True):
        panels.append(_panel(name, spread, y, series, top, top + height))
        top += height + TITLE + GAP
    first = panels[0]
    return Chart(
        width=width,
        height=panels[-1].bottom + 40,
        left=LEFT,
        right=width - RIGHT,
        panels=panels,
        x_ticks=[(spread.at(t), text) for t, text in x.ticks],
        kept=_kept(data, spread, errors, first),
        test=None if data.test_error is None else (_y(errors, first, data.test_error), say.percent(data.test_error)),
        points=_points(data, spread, (errors, losses), panels),
    )


@dataclass(frozen=True)
class _Spread:
    axis: Axis
    left: float
    right: float

    def at(self, value: float) -> float:
        return round(self.left + (self.right - self.left) * self.axis.place(value), 1)


def _y(axis: Axis, panel: Panel, value: float) -> float:
    return round(panel.bottom - (panel.bottom - panel.top) * axis.place(value), 1)


def _panel(
    name: str, spread: _Spread, y: Axis, lines: tuple[tuple[str, Series], ...], top: float, bottom: float
) -> Panel:
    panel = Panel(name + (", logarithmic" if y.log else ""), top, bottom, [], [])
    panel.ticks.extend((_y(y, panel, value), text) for value, text in y.ticks)
    for kind, series in lines:
        places = [(spread.at(a), _y(y, panel, b)) for a, b in zip(series.x, series.y, strict=True)]
        if len(places) == 1:
            panel.dots.append((kind, *places[0]))
        elif places:
            panel.lines.append((kind, "M" + "L".join(f"{a:g} {b:g}" for a, b in places)))
    return panel


def _kept(data: Curves, spread: _Spread, y: Axis, panel: Panel) -> Kept | None:
    """The ring at the weights of `data.best`; its label goes where it hides least of the lines."""
    if data.best is None:
        return None
    at, text = (spread.at(data.best[0]), _y(y, panel, data.best[1])), f"{data.word}: {say.percent(data.best[1])}"
    lines = [
        [(spread.at(a), _y(y, panel, b)) for a, b in zip(s.x, s.y, strict=True)]
        for s in (data.train_error, data.val_error)
    ]
    sideways, down = beside(at, text, lines, (spread.left, panel.top, spread.right, panel.bottom))
    return Kept(*at, text, at[0] + sideways, at[1] + down, "start" if sideways > 0 else "end")


def _points(data: Curves, spread: _Spread, axes: tuple[Axis, Axis], panels: list[Panel]) -> list[dict[str, Any]]:
    """For each epoch that has numbers: its place, its numbers in words, and the dots to show on the lines."""
    named = (
        ("validation error", "val", data.val_error, axes[0], panels[0], say.percent),
        ("training error", "train", data.train_error, axes[0], panels[0], say.percent),
        ("validation loss", "val", data.val_loss, axes[1], panels[1], say.figures),
        ("training loss", "train", data.train_loss, axes[1], panels[1], say.figures),
    )
    points: dict[float, dict[str, Any]] = {}
    for label, kind, series, axis, panel, write in named:
        for epoch, value in zip(series.x, series.y, strict=True):
            point = points.setdefault(epoch, {"x": spread.at(epoch), "epoch": say.figures(epoch, 4), "rows": []})
            point["rows"].append([kind, label, write(value), _y(axis, panel, value)])
    rates = sorted(zip(data.lr.x, data.lr.y, strict=True))
    for epoch, point in points.items():
        if rates:
            near = min(rates, key=lambda r: abs(r[0] - epoch))
            y = _y(rate_axis(data.lr), panels[2], near[1])
            point["rows"].append(["rate", "learning rate", say.figures(near[1]), y])
    return [points[e] for e in sorted(points)]
