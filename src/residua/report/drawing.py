"""Nets side by side, box by box, aligned by the size of their maps (after He et al. 2015, fig. 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from residua.report import say
from residua.report.boxes import DASHES, HALF, MODULE, REACH, Pen, height, shape, width
from residua.report.outline import Fold, Outline, Part, Unit, side
from residua.report.scene import Line, Scene, Text, fitting, text_width
from residua.report.style import HAIRLINE, INK, QUIET

TOP, PICTURE, GAP, EDGE = 26.0, 34.0, 26.0, 16.0
BAND = 12.0  # between two bands
SIZE, SMALL = 11.0, 8.0


@dataclass(frozen=True)
class Column:
    """A net's place: the left edge of its room, the axis that its boxes stand on, and the right edge."""

    outline: Outline
    left: float
    axis: float
    right: float
    own_sizes: bool


def drawing(outlines: Sequence[Outline]) -> Scene:
    """The nets from left to right; what has the same size stands at the same height. Beneath: parameters and MACs."""
    names = ", ".join(say.label(o.name) for o in outlines)
    scene = Scene(title=names, says=" ".join(map(_says, outlines)))
    shared = _shared_sizes(outlines)
    columns = _columns(outlines, EDGE + (64 if shared else 0), own=not shared)
    scene.width = columns[-1].right + EDGE
    bands = _bands(outlines, TOP + PICTURE)
    _sizes(scene, columns, bands, shared)
    foot = max(y + tall for y, tall in bands.values()) + 16
    for column in columns:
        _net(scene, column, bands)
        _words(scene, column, foot)
    scene.height = foot + 36
    _legend(scene, outlines)
    return scene


def _says(o: Outline) -> str:
    shortcuts = [p for _, p in o.parts if isinstance(p, Unit | Fold) and p.shortcut]
    kind = f"{o.layers} weighted layers" + (", with shortcuts" if shortcuts else "")
    return f"{say.label(o.name)}: {kind}, {o.params:,} parameters, {say.short(o.macs)} multiply-adds."


# -- where things go ------------------------------------------------------------------------------------------------


def _shared_sizes(outlines: Sequence[Outline]) -> dict[int, int]:
    """The side of each band, if all nets agree on it and on the picture; else nothing."""
    found: dict[int, set[int]] = {}
    for o in outlines:
        for band, parts in _by_band(o).items():
            found.setdefault(band, set()).add(side(parts[-1]))
    same = len({o.side_px for o in outlines}) == 1 and all(len(sides) == 1 for sides in found.values())
    return {band: sides.pop() for band, sides in found.items()} if same else {}


def _by_band(o: Outline) -> dict[int, list[Part]]:
    return {band: [p for _, p in group] for band, group in groupby(o.parts, lambda item: item[0])}


def _columns(outlines: Sequence[Outline], left: float, own: bool) -> list[Column]:
    """Room for each net: its widest part, its shortcuts at the right, its own sizes at the left where asked for."""
    columns = []
    for o in outlines:
        half = max([HALF, *(width(p) / 2 for _, p in o.parts)])
        words = max(text_width(say.label(o.name), SIZE, bold=True), text_width(f"{o.params:,} parameters", SMALL))
        half = max(half, min(words, MODULE) / 2)
        axis = left + (40 if own else 0) + half
        arcs = any(isinstance(p, Unit | Fold) and p.shortcut for _, p in o.parts)
        right = axis + max(half, HALF + (REACH + 32 if arcs else 0))
        columns.append(Column(o, left, axis, right, own))
        left = right + GAP
    return columns


def _bands(outlines: Sequence[Outline], top: float) -> dict[int, tuple[float, float]]:
    """(top, height) of each band: as tall as the tallest net needs it."""
    tall: dict[int, float] = {}
    for o in outlines:
        for band, parts in _by_band(o).items():
            tall[band] = max(tall.get(band, 0), sum(map(height, parts)))
    places = {}
    for band in sorted(tall):
        places[band] = (top, tall[band])
        top += tall[band] + BAND
    return places


# -- one net --------------------------------------------------------------------------------------------------------


def _net(scene: Scene, column: Column, bands: dict[int, tuple[float, float]]) -> None:
    """The picture at the top, then every part, joined by arrows."""
    o = column.outline
    y = TOP + 20
    scene.add(Text(x=column.axis, y=y, words=f"{o.side_px}×{o.side_px} picture", size=SMALL, colour=QUIET))
    pen = Pen(scene, column.axis, y + 7)
    for band, parts in _by_band(o).items():
        y = bands[band][0]
        for part in parts:
            shape(part, pen, y)
            y += height(part)


def _words(scene: Scene, column: Column, foot: float) -> None:
    """The name and depth above, parameters and multiply-adds beneath."""
    o, x = column.outline, column.axis
    name = fitting(say.label(o.name), SIZE, MODULE, bold=True)
    scene.add(
        Text(x=x, y=TOP - 10, words=name, size=SIZE, colour=INK, bold=True),
        Text(x=x, y=TOP + 4, words=say.plural(o.layers, "layer"), size=SMALL, colour=QUIET),
        Text(x=x, y=foot, words=f"{o.params:,} parameters", size=SMALL, colour=INK),
        Text(x=x, y=foot + 12, words=f"{_macs(o.macs)} multiply-adds", size=SMALL, colour=INK),
    )


def _macs(number: int) -> str:
    """``3.664 G``: four digits, as the tables of the papers can be compared with."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.4g} {letter}"
    return str(number)


def _sizes(
    scene: Scene, columns: Sequence[Column], bands: dict[int, tuple[float, float]], shared: dict[int, int]
) -> None:
    """The sizes at the left, of all nets together or of each, and hairlines between the bands."""
    for band, (y, _) in bands.items():
        above = y - BAND / 2 + 2
        scene.add(Line(places=((EDGE, above), (scene.width - EDGE, above)), stroke=HAIRLINE, line=0.6))
        if shared:
            scene.add(Text(x=EDGE, y=y + 9, words=_size(shared[band]), size=SMALL, colour=QUIET, anchor="start"))
        for c in columns if not shared else ():
            if parts := _by_band(c.outline).get(band):
                words = _size(side(parts[-1]))
                scene.add(Text(x=c.left, y=y + 9, words=words, size=SMALL - 1, colour=QUIET, anchor="start"))
    if shared:
        scene.add(Text(x=EDGE, y=TOP + 20, words="output", size=SMALL, colour=QUIET, anchor="start"))


def _size(px: int) -> str:
    return f"{px}×{px}"


# -- legend ---------------------------------------------------------------------------------------------------------


def _legend(scene: Scene, outlines: Sequence[Outline]) -> None:
    """What the lines mean, as far as they occur; one line each, so that it fits under the narrowest drawing."""
    parts = [p for o in outlines for _, p in o.parts]
    units = [p for p in parts if isinstance(p, Unit) and p.shortcut]
    rows: list[tuple[str, tuple[float, ...]]] = []
    if any(not u.changes for u in units):
        rows.append(("shortcut: identity", ()))
    if any(u.changes for u in units):
        rows.append(("shortcut: the shape changes", DASHES))
    for words, dashes in rows:
        y = scene.height
        scene.add(
            Line(places=((EDGE, y), (EDGE + 24, y)), stroke=INK, dashes=dashes, kind="legend"),
            Text(x=EDGE + 31, y=y, words=words, size=SMALL, colour=QUIET, anchor="start"),
        )
        scene.height += 13
    scene.height += 6
