"""A scene as SVG, written by hand, or as PNG, drawn by matplotlib from the same shapes."""

from functools import singledispatch
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Outline

from residua.files import write
from residua.report import style
from residua.report.scene import Box, Line, Place, Scene, Shape, Text

FONTS = 'Inter, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif'
SUFFIXES = (".svg", ".png")

#: Pixels per point of a PNG; fewer where it would have more than MOST_PX a side.
SHARP, MOST_PX = 2.0, 16000


def draw(scene: Scene, out: Path) -> Path:
    """Write the scene as SVG or PNG, by the suffix of `out`, whole or not at all."""
    if out.suffix.lower() == ".svg":
        write(out, svg(scene).encode("utf-8", "backslashreplace"))
        return out
    sharp = min(SHARP, MOST_PX / max(scene.width, scene.height))
    with style.style():
        made = style.figure(scene.width / 72, scene.height / 72)
        made.set_layout_engine("none")
        made.set_dpi(72 * sharp)
        axes = made.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, scene.width)
        axes.set_ylim(scene.height, 0)
        for layer, shape in enumerate(scene.shapes):
            paint(shape, axes, layer)
        return style.save(made, out)


# -- SVG ------------------------------------------------------------------------------------------------------------


def svg(scene: Scene) -> str:
    """The scene as one SVG document that needs nothing else."""
    w, h = _n(scene.width), _n(scene.height)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" '
        f'aria-labelledby="title says" font-family={quoteattr(FONTS)}>'
    )
    parts = [
        head,
        f'<title id="title">{escape(scene.title)}</title>',
        f'<desc id="says">{escape(scene.says)}</desc>',
        f'<rect width="{w}" height="{h}" fill="white"/>',
        *map(mark, scene.shapes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


@singledispatch
def mark(shape: Shape) -> str:
    """The SVG element of a shape."""
    raise TypeError(type(shape).__name__)


@mark.register
def _(shape: Box) -> str:
    stroke = f' stroke="{shape.stroke}" stroke-width="{_n(shape.line)}"' if shape.stroke != "none" else ""
    where = f'x="{_n(shape.x)}" y="{_n(shape.y)}" width="{_n(shape.width)}" height="{_n(shape.height)}"'
    radius = f' rx="{_n(shape.radius)}"' if shape.radius else ""
    start = f'<rect class="{shape.kind}" {where}{radius} fill="{shape.fill}"{stroke}'
    return f"{start}><title>{escape(shape.says)}</title></rect>" if shape.says else f"{start}/>"


@mark.register
def _(shape: Line) -> str:
    first, *rest = shape.places
    if shape.curved:
        path = "".join("C" + " ".join(map(_place, rest[i : i + 3])) for i in range(0, len(rest), 3))
    else:
        path = "".join(f"L{_place(p)}" for p in rest)
    dashes = f' stroke-dasharray="{" ".join(map(_n, shape.dashes))}"' if shape.dashes else ""
    line = (
        f'<path class="{shape.kind}" d="M{_place(first)}{path}" fill="none" stroke="{shape.stroke}" '
        f'stroke-width="{_n(shape.line)}"{dashes}/>'
    )
    if not shape.head:
        return line
    corners = " ".join(_place(p) for p in arrow(shape))
    return f'{line}<polygon points="{corners}" fill="{shape.stroke}"/>'


@mark.register
def _(shape: Text) -> str:
    weight = ' font-weight="600"' if shape.bold else ""
    baseline = shape.y + 0.36 * shape.size  # half the height of a capital
    return (
        f'<text x="{_n(shape.x)}" y="{_n(baseline)}" font-size="{_n(shape.size)}"{weight} fill="{shape.colour}" '
        f'text-anchor="{shape.anchor}">{escape(shape.words)}</text>'
    )


def arrow(shape: Line) -> tuple[Place, Place, Place]:
    """The corners of the head at the end of a line, along its last piece."""
    (x0, y0), (x1, y1) = shape.places[-2:]
    length = max(1e-9, ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)
    dx, dy = (x1 - x0) / length * shape.head, (y1 - y0) / length * shape.head
    half = 0.42
    return (x1, y1), (x1 - dx - half * dy, y1 - dy + half * dx), (x1 - dx + half * dy, y1 - dy - half * dx)


def _place(place: Place) -> str:
    return f"{_n(place[0])} {_n(place[1])}"


def _n(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


# -- PNG ------------------------------------------------------------------------------------------------------------


@singledispatch
def paint(shape: Shape, axes: Axes, layer: int) -> None:
    """Draw a shape into axes that count in points, over those of lower layers."""
    raise TypeError(type(shape).__name__)


@paint.register
def _(shape: Box, axes: Axes, layer: int) -> None:
    corners = f"round,pad=0,rounding_size={shape.radius}" if shape.radius else "square,pad=0"
    patch = FancyBboxPatch(
        (shape.x, shape.y), shape.width, shape.height, boxstyle=corners, facecolor=shape.fill,
        edgecolor=shape.stroke, linewidth=shape.line if shape.stroke != "none" else 0, zorder=layer,
    )  # fmt: skip
    axes.add_patch(patch)


@paint.register
def _(shape: Line, axes: Axes, layer: int) -> None:
    step = Outline.CURVE4 if shape.curved else Outline.LINETO
    outline = Outline(shape.places, [Outline.MOVETO, *(step,) * (len(shape.places) - 1)])
    dashes: Any = (0, tuple(d / shape.line for d in shape.dashes)) if shape.dashes else "solid"
    axes.add_patch(
        PathPatch(outline, fill=False, edgecolor=shape.stroke, linewidth=shape.line, linestyle=dashes,
                  capstyle="butt", zorder=layer)
    )  # fmt: skip
    if shape.head:
        axes.add_patch(Polygon(arrow(shape), closed=True, facecolor=shape.stroke, linewidth=0, zorder=layer))


@paint.register
def _(shape: Text, axes: Axes, layer: int) -> None:
    axes.text(
        shape.x, shape.y + 0.36 * shape.size, shape.words, fontsize=shape.size, color=shape.colour,
        ha={"start": "left", "middle": "center", "end": "right"}[shape.anchor], va="baseline",
        fontweight="bold" if shape.bold else "normal", zorder=layer,
    )  # fmt: skip
