"""The history of depth: the nets that won ImageNet, every layer a slab, all to one scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch

from residua.report import say
from residua.report.boxes import FAINT_EDGE, stage_colour
from residua.report.outline import Inception, Layer, Outline, Part, Unit, weighted
from residua.report.scene import Box, Line, Scene, Text
from residua.report.style import HAIRLINE, INK, QUIET, TRAINING


@dataclass(frozen=True, kw_only=True)
class Winner:
    """A net of the ImageNet challenge. `row` is its name in the zoo, "" where it has none.

    `top5` is the entry's top-5 error on the challenge's test set, a fraction; entries were ensembles.
    """

    year: int
    name: str
    row: str
    layers: int
    top5: float
    entry: str
    source: str


RUSSAKOVSKY = "Russakovsky et al. 2015, arXiv:1409.0575"
HE = "He et al. 2015, arXiv:1512.03385, table 5"

#: First places of the ILSVRC classification task from 2012 on, and VGG, the second of 2014.
WINNERS = (
    Winner(year=2012, name="AlexNet", row="alexnet", layers=8, top5=0.164, entry="SuperVision", source=RUSSAKOVSKY),
    Winner(year=2013, name="ZF", row="", layers=8, top5=0.117, entry="Clarifai", source=RUSSAKOVSKY),
    Winner(year=2014, name="VGG", row="vgg19", layers=19, top5=0.073, entry="VGG, second", source=HE),
    Winner(year=2014, name="GoogLeNet", row="googlenet", layers=22, top5=0.067, entry="GoogLeNet", source=HE),
    Winner(year=2015, name="ResNet", row="resnet152", layers=152, top5=0.0357, entry="MSRA", source=HE),
)

SUBTITLE = "ImageNet challenge, top-5 error of the entry on the test set"

SLAB, STEP, WIDE, PITCH = 3.9, 4.8, 84.0, 124.0
LEFT, ERRORS, TOP = 62.0, 62.0, 92.0  # the errors hang from ERRORS' axis down to TOP
TALL = 96.0  # of the errors
DEEP = TOP + TALL + 66  # where the nets begin
ARC = 9.0


def history(outlines: Mapping[str, Outline]) -> Scene:
    """The winners from left to right: above the errors, below every layer; `outlines`, whole, by the row's name."""
    words = "; ".join(
        f"{w.year} {w.name}: {w.layers} layers, top-5 error {say.percent(w.top5)}" for w in WINNERS
    )  # fmt: skip
    scene = Scene(title="The history of depth", says=words)
    deepest = max(w.layers for w in WINNERS)
    scene.width = LEFT + PITCH * len(WINNERS) + 46
    scene.height = DEEP + deepest * STEP + 78
    scene.add(
        Text(x=LEFT, y=26, words="The history of depth", size=15, colour=INK, anchor="start", bold=True),
        Text(x=LEFT, y=46, words=SUBTITLE, size=8.5, colour=QUIET, anchor="start"),
    )
    _errors(scene)
    _ruler(scene, deepest)
    for i, winner in enumerate(WINNERS):
        _column(scene, winner, outlines.get(winner.row), _axis(i))
    _notes(scene)
    return scene


def _axis(i: int) -> float:
    return LEFT + PITCH * (i + 0.5)


def _errors(scene: Scene) -> None:
    """A line that falls from winner to winner, its points with their values; the axis begins at 0."""
    most = max(w.top5 for w in WINNERS)
    places = tuple((_axis(i), TOP + TALL * (1 - w.top5 / most)) for i, w in enumerate(WINNERS))
    base = TOP + TALL
    scene.add(
        Line(places=((LEFT, base), (LEFT + PITCH * len(WINNERS), base)), stroke=HAIRLINE, line=0.8),
        Text(x=LEFT - 8, y=base, words="0 %", size=8, colour=QUIET, anchor="end"),
        Line(places=places, stroke=TRAINING, line=1.8, kind="error"),
    )
    for (x, y), w in zip(places, WINNERS, strict=True):
        scene.add(
            Box(x=x - 3.2, y=y - 3.2, width=6.4, height=6.4, radius=3.2, fill="#ffffff", stroke=TRAINING, line=1.6),
            Text(x=x + 9, y=y - 9, words=f"{100 * w.top5:.3g} %", size=10, colour=INK, bold=True, anchor="start"),
        )


def _ruler(scene: Scene, deepest: int) -> None:
    """How many layers deep, at the left."""
    for layers in range(0, deepest + 1, 25):
        y = DEEP + layers * STEP
        scene.add(
            Line(places=((LEFT - 4, y), (LEFT + PITCH * len(WINNERS), y)), stroke=HAIRLINE, line=0.6),
            Text(x=LEFT - 8, y=y, words=f"{layers}", size=8, colour=QUIET, anchor="end"),
        )
    scene.add(Text(x=LEFT - 8, y=DEEP - 14, words="layers", size=8, colour=QUIET, anchor="end"))


def _column(scene: Scene, winner: Winner, outline: Outline | None, x: float) -> None:
    """Year, name, depth; every layer; under it what it weighs."""
    scene.add(
        Text(x=x, y=DEEP - 46, words=f"{winner.year}", size=9, colour=QUIET),
        Text(x=x, y=DEEP - 31, words=winner.name, size=12, colour=INK, bold=True),
        Text(x=x, y=DEEP - 14, words=say.plural(winner.layers, "layer"), size=9, colour=INK),
    )
    if outline is None:
        for i in range(winner.layers):
            slab(scene, (x - WIDE / 2, DEEP + i * STEP), WIDE)
        foot = DEEP + winner.layers * STEP
        scene.add(Text(x=x, y=foot + 9, words="not in the zoo", size=8, colour=QUIET))
        return
    y = DEEP
    for _, part in outline.parts:
        slabs(part, scene, x, y)
        y += weighted(part) * STEP
    _stages(scene, outline, x)
    scene.add(
        Box(x=x - WIDE / 2, y=y + 1, width=WIDE, height=27, fill="#ffffff", radius=0),  # over the ruler's lines
        Text(x=x, y=y + 9, words=f"{outline.params / 1e6:.1f} M parameters", size=8, colour=QUIET),
        Text(x=x, y=y + 21, words=f"{outline.macs / 1e9:.3g} G multiply-adds", size=8, colour=QUIET),
    )


@singledispatch
def slabs(part: Part, scene: Scene, x: float, y: float) -> None:
    """Draw the layers of a part from `y` down; what has no weights takes no room."""


@slabs.register
def _(part: Layer, scene: Scene, x: float, y: float) -> None:
    if part.weighted:
        slab(scene, (x - WIDE / 2, y), WIDE, part)


@slabs.register
def _(part: Unit, scene: Scene, x: float, y: float) -> None:
    for i, layer in enumerate(part.layers):
        slab(scene, (x - WIDE / 2, y + i * STEP), WIDE, layer)
    if part.shortcut:
        near, far = x + WIDE / 2 + 1.5, x + WIDE / 2 + 1.5 + ARC
        top, bottom = y + 0.8, y + len(part.layers) * STEP - 1.7
        scene.add(
            Line(places=((near, top), (far, top), (far, bottom), (near, bottom)), curved=True, stroke=INK, line=0.8,
                 dashes=(2.0, 1.4) if part.changes else (), kind="dotted" if part.changes else "solid")
        )  # fmt: skip


@slabs.register
def _(part: Inception, scene: Scene, x: float, y: float) -> None:
    gap = 2.0
    wide = (WIDE - gap * (len(part.paths) - 1)) / len(part.paths)
    deep = weighted(part)
    for i, path in enumerate(part.paths):
        layers = [layer for layer in path if layer.weighted]
        for j, layer in enumerate(layers, deep - len(layers)):
            slab(scene, (x - WIDE / 2 + i * (wide + gap), y + j * STEP), wide, layer)


def slab(scene: Scene, at: tuple[float, float], wide: float, layer: Layer | None = None) -> None:
    """One layer; an empty one where its shape is not known."""
    fill, edge = stage_colour(layer.stage) if layer else ("#ffffff", FAINT_EDGE)
    says = f"{layer.words}: {layer.channels}×{layer.side}×{layer.side}" if layer else ""
    kind = "layer" if layer else "unknown"
    scene.add(
        Box(x=at[0], y=at[1], width=wide, height=SLAB, fill=fill, stroke=edge, line=0.6, radius=1, kind=kind, says=says)
    )


def _stages(scene: Scene, outline: Outline, x: float) -> None:
    """How many units each stage of a residual net has, beside their arcs."""
    y, found = DEEP, dict[int, tuple[float, float, int]]()
    for _, part in outline.parts:
        deep = weighted(part) * STEP
        if isinstance(part, Unit):
            top, _, units = found.get(part.stage, (y, 0.0, 0))
            found[part.stage] = (top, y + deep, units + 1)
        y += deep
    for top, bottom, units in found.values():
        place = x + WIDE / 2 + ARC + 5
        scene.add(
            Text(x=place, y=(top + bottom) / 2, words=say.plural(units, "unit"), size=8, colour=QUIET, anchor="start")
        )


def _notes(scene: Scene) -> None:
    """What is drawn, and where the numbers are from."""
    lines = (
        "Every slab is a weighted layer of the net as this zoo builds it; GoogLeNet: its longest path is 22 layers.",
        "VGG was second in 2014; the ZF net's layers are counted, not drawn. Errors are those of ensembles.",
        f"Errors: {RUSSAKOVSKY} (2012, 2013); {HE} (2014, 2015).",
    )
    for i, words in enumerate(lines):
        y = scene.height - 44 + 12 * i
        scene.add(Text(x=LEFT, y=y, words=words, size=7.5, colour=QUIET, anchor="start"))
