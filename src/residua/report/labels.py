"""Where to write beside a point of a curve: the corner that hides least of the lines. Units are those of the text."""

from collections.abc import Sequence
from itertools import pairwise

Point = tuple[float, float]

#: The corners beside a point: right is positive, down is positive (the text's baseline).
CORNERS = ((10, -10), (-10, -10), (10, 20), (-10, 20))
#: About how wide a letter is and how high a line, in the fonts of the page and of the pictures.
LETTER, LINE = 7.5, 16


def beside(
    at: Point, text: str, lines: Sequence[Sequence[Point]], bounds: tuple[float, float, float, float]
) -> tuple[int, int]:
    """The corner for `text` at a point: within `bounds` (left, top, right, bottom) and over as little as can be."""
    left, top, right, bottom = bounds

    def cost(corner: tuple[int, int]) -> float:
        sideways, down = corner
        width = LETTER * len(text)
        x0 = at[0] + sideways if sideways > 0 else at[0] + sideways - width
        y1 = at[1] + down + 4
        outside = x0 < left or x0 + width > right or y1 - LINE < top or y1 > bottom
        return 1000 * outside + sum(_inside(line, (x0, x0 + width), (y1 - LINE, y1)) for line in lines)

    return min(CORNERS, key=cost)


def _inside(line: Sequence[Point], across: Point, down: Point) -> int:
    """How many of a line's points, taken every two units along x, lie in a box."""
    count = 0
    for (x0, y0), (x1, y1) in pairwise(line):
        n = max(1, round((x1 - x0) / 2))
        spots = ((x0 + (x1 - x0) * i / n, y0 + (y1 - y0) * i / n) for i in range(n + 1))
        count += sum(across[0] <= x <= across[1] and down[0] <= y <= down[1] for x, y in spots)
    return count
