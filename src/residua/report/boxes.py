"""How the parts of a net are drawn on a vertical axis: boxes, units with arcs, Inception modules, folds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

from residua.report.outline import Fold, Inception, Layer, Part, Unit
from residua.report.scene import Box, Line, Place, Scene, Text
from residua.report.style import INK, QUIET

#: Pale tints of Okabe & Ito's colours, by stage, with darker edges; what stands outside the stages is grey.
PALE = ("#d5e8f6", "#fbe3c0", "#cfeee2", "#f3dbe9", "#f8f3c4")
EDGES = ("#6f9fc0", "#c79a52", "#63a98d", "#b583a2", "#b5aa5c")
FAINT, FAINT_EDGE = "#eef1f4", "#9aa4ae"

WIDE, HALF = 122.0, 61.0  # of a box
TALL = 17.0
STEP = 8.0  # from a box to the next
STRIP = 9.0  # norm and ReLU in front of a layer
FORK, JOIN = 13.0, 11.0  # above and below a unit's boxes
SUM = 3.0  # radius
REACH = 21.0  # of the arcs, beyond the boxes
BRANCHES = 46.0  # the height of a box with paths
MODULE = 2 * HALF * 2.4  # the width of an Inception module
BAR = 12.0  # its concatenation
CARDS, CARDS_UNIT, CARDS_MOST = 36.0, 0.8, 60  # a fold grows a little with its units
DASHES = (3.2, 2.2)
FONT, SMALL = 8.2, 6.6
ARROW = 3.6


def stage_colour(stage: int) -> tuple[str, str]:
    """Fill and edge of a stage's boxes."""
    return (PALE[stage % len(PALE)], EDGES[stage % len(EDGES)]) if stage >= 0 else (FAINT, FAINT_EDGE)


@dataclass
class Pen:
    """Where the last part ended, on the axis `x`: the next begins with an arrow from there."""

    scene: Scene
    x: float
    y: float

    def to(self, y: float, head: float = ARROW) -> None:
        """An arrow down to `y`."""
        if y > self.y:
            self.scene.add(Line(places=((self.x, self.y), (self.x, y)), stroke=INK, line=0.8, head=head, kind="flow"))
        self.y = y


@singledispatch
def height(part: Part) -> float:
    """What a part takes on the axis, with the arrow that leads to it."""
    raise TypeError(type(part).__name__)


@height.register
def _(part: Layer) -> float:
    return STEP + STRIP * part.norms + (BRANCHES if part.paths > 1 else TALL)


@height.register
def _(part: Unit) -> float:
    return FORK - STEP + sum(map(height, part.layers)) + STEP * part.outside + JOIN


@height.register
def _(part: Inception) -> float:
    return 2 * STEP + _rows(part) + STEP + BAR


@height.register
def _(part: Fold) -> float:
    return STEP + _cards(part) + 6


def _cards(part: Fold) -> float:
    return CARDS + CARDS_UNIT * min(part.units, CARDS_MOST)


def _rows(part: Inception) -> float:
    return max(sum(TALL for _ in path) + STEP * (len(path) - 1) for path in part.paths)


@singledispatch
def width(part: Part) -> float:
    """What a part takes across the axis, without arcs."""
    return WIDE


@width.register
def _(part: Inception) -> float:
    return MODULE


@singledispatch
def shape(part: Part, pen: Pen, y: float) -> None:
    """Draw a part from `y` down, joined to what stands above."""
    raise TypeError(type(part).__name__)


# -- layers ---------------------------------------------------------------------------------------------------------


@shape.register
def _(part: Layer, pen: Pen, y: float) -> None:
    y += STEP
    pen.to(y)
    if part.norms:
        _strip(pen, y)
        y += STRIP
    tall = BRANCHES if part.paths > 1 else TALL
    box(pen.scene, part, (pen.x - HALF, y), (WIDE, tall))
    if part.paths > 1:
        _paths(pen.scene, part, pen.x, y)
    pen.y = y + tall


def box(scene: Scene, part: Layer, at: Place, size: tuple[float, float], font: float = FONT) -> None:
    """The box of a layer with its words; pools are white and rounder."""
    fill, edge = stage_colour(part.stage)
    (x, y), (wide, tall) = at, size
    kind, radius, says = "layer", 3.0, f"{part.words}: {part.channels}×{part.side}×{part.side}"
    if not part.weighted:
        kind, radius, fill, edge = "pool", min(tall / 2, 8.0), "#ffffff", FAINT_EDGE
    scene.add(Box(x=x, y=y, width=wide, height=tall, fill=fill, stroke=edge, kind=kind, radius=radius, says=says))
    if part.paths == 1:
        colour = INK if part.weighted else QUIET
        scene.add(Text(x=x + wide / 2, y=y + tall / 2, words=part.words, size=font, colour=colour))


def _strip(pen: Pen, y: float) -> None:
    """Norm and ReLU, a flat box."""
    pen.scene.add(
        Box(x=pen.x - HALF, y=y, width=WIDE, height=STRIP, fill="#ffffff", stroke=FAINT_EDGE, radius=2, kind="norm"),
        Text(x=pen.x, y=y + STRIP / 2, words="BN, ReLU", size=SMALL - 0.4, colour=QUIET),
    )


def _paths(scene: Scene, part: Layer, x: float, y: float) -> None:
    """The split into paths and their merging, inside the box of a grouped convolution: first, second, ..., last."""
    _, edge = stage_colour(part.stage)
    each = part.channels // part.paths
    kernel, stride = part.words.partition(" ")[0], part.words.partition("/")[2]
    words = f"{part.paths} paths of {kernel} conv, {each}" + (f", /{stride}" if stride else "")
    scene.add(Text(x=x, y=y + 7.5, words=words, size=SMALL, colour=INK))
    top, tall, wide = y + 21, 12.0, 27.0
    fork, join = y + 13, y + BRANCHES
    for place in (-1.5, -0.5, 1.5):
        middle = x + place * (wide + 2.6)
        for a, b in (((x, fork), (middle, top)), ((middle, top + tall), (x, join))):
            scene.add(Line(places=(a, b), stroke=edge, line=0.7, kind="path"))
        scene.add(
            Box(
                x=middle - wide / 2, y=top, width=wide, height=tall, fill="#ffffff", stroke=edge, radius=2, kind="path"
            ),
            Text(x=middle, y=top + tall / 2, words=f"{kernel}, {each}", size=SMALL - 0.8, colour=INK),
        )
    scene.add(Text(x=x + 0.5 * (wide + 2.6), y=top + tall / 2 - 1.5, words="…", size=FONT, colour=QUIET))


# -- units ----------------------------------------------------------------------------------------------------------


@shape.register
def _(part: Unit, pen: Pen, y: float) -> None:
    fork = y + 3
    y += FORK - STEP
    layers = part.layers
    if part.outside:  # branch and shortcut share the first norm and ReLU
        pen.to(y + STEP)
        _strip(pen, y + STEP)
        y = pen.y = y + STEP + STRIP
        fork = y + 3
        layers = (replace(layers[0], norms=False), *layers[1:])
    for layer in layers:
        shape(layer, pen, y)
        y += height(layer)
    if part.shortcut:
        node = y + 6
        pen.to(node - SUM, head=0)
        _shortcut(part, pen, fork, node)
        pen.y = node + SUM


def _shortcut(part: Unit, pen: Pen, fork: float, node: float) -> None:
    """The arc, the sum, and what the shortcut does where it does something."""
    _arc(pen, (fork, node), DASHES if part.changes else (), "dotted" if part.changes else "solid")
    _plus(pen, node)
    words = {"zero-padding": "pad", "projection": "1×1"}.get(part.shortcut, "")
    if words:
        x, y = pen.x + HALF + REACH + 1, (fork + node) / 2
        pen.scene.add(Text(x=x, y=y, words=words, size=SMALL, colour=QUIET, anchor="start"))


def _arc(pen: Pen, across: tuple[float, float], dashes: Sequence[float], kind: str) -> None:
    """A shortcut at the right of the boxes, from the fork to the sum."""
    x, (y0, y1) = pen.x, across
    near, far, radius = HALF + 5, HALF + REACH - 2, min(14.0, (across[1] - across[0]) / 2)
    places = [
        *((x, y0), (x + 10, y0), (x + near - 10, y0), (x + near, y0)),
        *((x + far - 3, y0), (x + far, y0 + radius / 3), (x + far, y0 + radius)),
        *((x + far, y0 + radius + 1), (x + far, y1 - radius - 1), (x + far, y1 - radius)),
        *((x + far, y1 - radius / 3), (x + far - 3, y1), (x + near, y1)),
        *((x + near - 10, y1), (x + 13, y1), (x + 3, y1)),
    ]
    pen.scene.add(
        Line(places=tuple(places), stroke=INK, dashes=tuple(dashes), curved=True, line=0.9, head=ARROW, kind=kind)
    )


def _plus(pen: Pen, y: float) -> None:
    """The sum."""
    r = SUM
    pen.scene.add(
        Box(x=pen.x - r, y=y - r, width=2 * r, height=2 * r, radius=r, fill="#ffffff", stroke=INK, kind="sum"),
        Line(places=((pen.x - r + 1, y), (pen.x + r - 1, y)), stroke=INK, line=0.7, kind="plus"),
        Line(places=((pen.x, y - r + 1), (pen.x, y + r - 1)), stroke=INK, line=0.7, kind="plus"),
    )


# -- modules and folds ----------------------------------------------------------------------------------------------


@shape.register
def _(part: Inception, pen: Pen, y: float) -> None:
    scene, x = pen.scene, pen.x
    fork, top = y + STEP, y + 2 * STEP
    bottom = top + _rows(part)
    pen.to(fork, head=0)
    gap = 6.0
    wide = (MODULE - gap * (len(part.paths) - 1)) / len(part.paths)
    middles = [x - MODULE / 2 + wide / 2 + i * (wide + gap) for i in range(len(part.paths))]
    scene.add(Line(places=((middles[0], fork), (middles[-1], fork)), stroke=INK, line=0.8, kind="flow"))
    for middle, path in zip(middles, part.paths, strict=True):
        lane = Pen(scene, middle, fork)
        at = bottom - TALL * len(path) - STEP * (len(path) - 1)
        for layer in path:
            lane.to(at)
            box(scene, layer, (middle - wide / 2, at), (wide, TALL), FONT - 1)
            lane.y = at + TALL
            at += TALL + STEP
        lane.to(bottom + STEP)
    words = f"concat, {part.channels}"
    scene.add(
        Box(x=x - MODULE / 2, y=bottom + STEP, width=MODULE, height=BAR, radius=BAR / 2, fill="#ffffff",
            stroke=FAINT_EDGE, kind="concat"),
        Text(x=x, y=bottom + STEP + BAR / 2, words=words, size=SMALL, colour=QUIET),
    )  # fmt: skip
    pen.y = bottom + STEP + BAR


@shape.register
def _(part: Fold, pen: Pen, y: float) -> None:
    scene = pen.scene
    fill, edge = stage_colour(part.stage)
    y += STEP
    tall = _cards(part)
    pen.to(y)
    for back in (4.0, 2.0, 0.0):
        scene.add(
            Box(x=pen.x - HALF + back, y=y + back, width=WIDE, height=tall, fill=fill, stroke=edge,
                kind="card" if back else "fold")
        )  # fmt: skip
    units = f"× {part.units:,} more unit{'s' * (part.units > 1)}"
    middle = y + tall / 2
    scene.add(
        *(dot(pen.x, place) for place in _dots(y + 3, middle - 8)),
        Text(x=pen.x, y=middle, words=units, size=FONT, colour=INK, bold=True),
        Text(x=pen.x, y=middle + 11, words=f"{part.units * part.layers:,} layers", size=SMALL + 0.6, colour=QUIET),
    )
    pen.y = y + tall + 4


def _dots(top: float, bottom: float) -> tuple[float, float, float]:
    """The places of an ellipsis between top and bottom."""
    middle, step = (top + bottom) / 2, min(4.0, (bottom - top) / 4)
    return middle - step, middle, middle + step


def dot(x: float, y: float) -> Box:
    """One point of an ellipsis."""
    return Box(x=x - 0.8, y=y - 0.8, width=1.6, height=1.6, radius=0.8, fill=QUIET, kind="dot")
