"""A sheet as geometry for a page: for each panel the paths, labels and what a pointer reads, in SVG units."""

from dataclasses import dataclass
from typing import Any

from residua.report import say
from residua.report.series import Axis
from residua.report.sheet import Band, Line, Panel, Sheet, apart

WIDTH, HEIGHT = 520, 380
LEFT, RIGHT, TOP, BOTTOM = 50, 112, 34, 46
LABEL = 34  # between two labels


@dataclass(frozen=True)
class Drawn:
    """One net's paths: the bands as areas, the means as lines; its label at (x, y)."""

    kind: str
    colour: str
    thin: str
    bold: str
    areas: tuple[str, ...]
    label: str
    value: str
    x: float
    y: float


@dataclass(frozen=True)
class PanelChart:
    """One panel; `points` is what the pointer reads, left to right."""

    title: str
    lines: list[Drawn]
    points: list[dict[str, Any]]


@dataclass(frozen=True)
class SheetChart:
    """Everything that the page draws of a sheet."""

    panels: list[PanelChart]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_name: str
    y_name: str
    thin: str
    bold: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class _Frame:
    x: Axis
    y: Axis
    percent: bool

    def at(self, x: float, y: float) -> tuple[float, float]:
        return round(LEFT + (WIDTH - RIGHT - LEFT) * self.x.place(x), 1), self.height(y)

    def height(self, y: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * self.y.place(y), 1)

    def words(self, value: float) -> str:
        return say.percent(value) if self.percent else say.figures(value)


def chart(sheet: Sheet) -> SheetChart | None:
    """The chart of a sheet; None where there is nothing to draw."""
    if not sheet.bands:
        return None
    x, y = sheet.axes()
    frame = _Frame(x, y, sheet.percent)
    return SheetChart(
        panels=[_panel(sheet, p, frame) for p in sheet.panels],
        x_ticks=[(frame.at(t, y.low)[0], text) for t, text in x.ticks],
        y_ticks=[(frame.height(t), text) for t, text in y.ticks],
        x_name=sheet.x_name,
        y_name=sheet.y_name + (", logarithmic" if y.log else ""),
        thin=sheet.thin,
        bold=sheet.bold,
    )


def _panel(sheet: Sheet, panel: Panel, frame: _Frame) -> PanelChart:
    shown = [line for line in panel.lines if line.end is not None]
    ends = [frame.at(*line.end) for line in shown if line.end is not None]
    heights = apart([y for _, y in ends], LABEL, TOP + 8, HEIGHT - BOTTOM - 14)
    lines = [_drawn(line, frame, (end[0], height)) for line, end, height in zip(shown, ends, heights, strict=True)]
    return PanelChart(panel.title, lines, _points(sheet, shown, frame))


def _drawn(line: Line, frame: _Frame, label: tuple[float, float]) -> Drawn:
    assert line.end is not None
    return Drawn(
        kind=line.kind,
        colour=line.colour,
        thin=_path(line.thin, frame),
        bold=_path(line.bold, frame),
        areas=tuple(a for b in (line.thin, line.bold) if (a := _area(b, frame))),
        label=line.label,
        value=frame.words(line.end[1]),
        x=label[0],
        y=round(label[1], 1),
    )


def _path(band: Band, frame: _Frame) -> str:
    places = [frame.at(x, y) for x, y in zip(band.x, band.mean, strict=True)]
    if len(places) == 1:
        places *= 2  # a point, drawn as a round line end
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places) if places else ""


def _area(band: Band, frame: _Frame) -> str:
    if len(band.x) < 2 or band.low == band.high:
        return ""
    upper = [frame.at(x, y) for x, y in zip(band.x, band.high, strict=True)]
    lower = [frame.at(x, y) for x, y in zip(band.x, band.low, strict=True)]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in [*upper, *reversed(lower)]) + "Z"


def _points(sheet: Sheet, lines: list[Line], frame: _Frame) -> list[dict[str, Any]]:
    """For each x that has numbers: its place, its numbers in words, and the dots to show on the lines."""
    points: dict[float, dict[str, Any]] = {}
    for line in lines:
        for name, band in ((sheet.bold, line.bold), (sheet.thin, line.thin)):
            for x, y in zip(band.x, band.mean, strict=True):
                at = frame.at(x, y)
                point = points.setdefault(x, {"x": at[0], "epoch": say.figures(x, 6), "rows": []})
                point["rows"].append([line.kind, f"{line.label}, {name}", frame.words(y), at[1]])
    return [points[x] for x in sorted(points)]
