"""A picture as a list of shapes, in points of 1/72 inch, y downwards; `canvas` writes it as SVG or PNG."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font

Place = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle with round corners. `kind` is its class in the SVG: "layer", "pool", "fold", ..."""

    x: float
    y: float
    width: float
    height: float
    fill: str = "none"
    stroke: str = "none"
    line: float = 0.8
    radius: float = 3.0
    kind: str = "box"
    says: str = ""  # what the SVG tells who points at it


@dataclass(frozen=True, kw_only=True)
class Line:
    """A path through `places`; `curved`: they are the start, two control points and the end of cubic Béziers."""

    places: tuple[Place, ...]
    stroke: str
    line: float = 1.0
    dashes: tuple[float, ...] = ()
    curved: bool = False
    head: float = 0.0  # length of the arrow head at the end
    kind: str = "line"


@dataclass(frozen=True, kw_only=True)
class Text:
    """Words on one line; `anchor` is "start", "middle" or "end" of them at x, y is the middle of their height."""

    x: float
    y: float
    words: str
    size: float
    colour: str
    anchor: str = "middle"
    bold: bool = False

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom, as wide as the widest of the fonts that may be used draws it."""
        width, height = text_width(self.words, self.size, self.bold), self.size * 1.16
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, self.y - height / 2, left + width, self.y + height / 2


Shape = Box | Line | Text


@dataclass
class Scene:
    """Shapes in the order in which they are drawn, on white paper. `says` is for those who cannot see it."""

    title: str
    says: str = ""
    width: float = 0.0
    height: float = 0.0
    shapes: list[Shape] = field(default_factory=list)

    def add(self, *shapes: Shape) -> None:
        """Draw these over what is there."""
        self.shapes.extend(shapes)

    def texts(self) -> list[Text]:
        """All words."""
        return [s for s in self.shapes if isinstance(s, Text)]

    def boxes(self, kind: str) -> list[Box]:
        """All boxes of a kind."""
        return [s for s in self.shapes if isinstance(s, Box) and s.kind == kind]

    def lines(self, kind: str) -> list[Line]:
        """All lines of a kind."""
        return [s for s in self.shapes if isinstance(s, Line) and s.kind == kind]


@cache
def _font(bold: bool) -> FT2Font:
    """DejaVu Sans, which comes with matplotlib: wider than Helvetica, Arial and Inter."""
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    return FT2Font(str(folder / f"DejaVuSans{'-Bold' if bold else ''}.ttf"))


@cache
def text_width(words: str, size: float, bold: bool = False) -> float:
    """The width of words in points, in DejaVu Sans."""
    font = _font(bold)
    font.set_size(100, 72)
    font.set_text(words)
    return font.get_width_height()[0] / 64 / 100 * size


def fitting(words: str, size: float, width: float, bold: bool = False) -> str:
    """The words, cut with an ellipsis where they are wider than `width`."""
    if text_width(words, size, bold) <= width:
        return words
    while words and text_width(words + "…", size, bold) > width:
        words = words[:-1]
    return words.rstrip() + "…"


def overlaps(texts: Iterable[Text]) -> list[tuple[Text, Text]]:
    """The pairs of texts that stand in each other's way."""
    return [(a, b) for a, b in combinations(texts, 2) if _touch(a.bounds, b.bounds)]


def _touch(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
