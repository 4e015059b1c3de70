"""sheet.png of explanations, and what they say in words. Reads what `residua explain` writes, as plain JSON."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from residua.report import say, style
from residua.report.sheet import ramp
from residua.report.stages import bands, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Document = Mapping[str, Any]

#: Where all units together add less to a logit, no depth decided.
UNDECIDED = 0.5
#: Rows of a sheet, at most: more pictures make more sheets.
ROWS = 12
#: The sheet in inches: margin, head, a row, the side of a picture, gaps; widths of the three panels.
MARGIN, HEAD, ROW, SIDE, GAP = 0.4, 1.08, 2.3, 1.78, 0.16
CLASSES_IN, DEPTH_IN, ADDED_IN, BETWEEN = 2.0, 3.3, 2.9, 0.55
#: Letters of a class's or a picture's name.
LETTERS, NAME_LETTERS = 22, 58
#: Less probable classes are left out.
SEEN = 0.0005
#: Units that are named below their bars.
NAMED = 20


# -- in words -------------------------------------------------------------------------------------------------------


def strongest(item: Document) -> Document | None:
    """The unit that speaks loudest for the class that is explained; None where there are no units."""
    return max(item["units"], key=lambda u: float(u["contribution"]), default=None)


def stands_from(item: Document) -> str | None:
    """The unit from which on the class leads, whatever is added; "" where it does so with no unit at all; None where
    it does not lead in the end, or there are no units.
    """  # fmt: skip
    units = item["units"]
    if not units:
        return None
    found: str | None = None
    for unit in reversed(units):
        if unit["leads"] != item["target"]:
            return found
        found = unit["unit"]
    return "" if item["bare_leads"] == item["target"] else found


def verdict(item: Document) -> str:
    """Which depth decided, in words; empty where there are no units."""
    most = strongest(item)
    if most is None:
        return ""
    whole = float(item["logit"]) - float(item["bare_logit"])
    if whole < UNDECIDED:
        words = f"decided by no depth: all units together add {_signed(whole)} to the logit"
    else:
        words = f"decided at {most['unit']}: {_signed(most['contribution'])} of {_signed(whole)} by all units"
    since = stands_from(item)
    if since is None:
        return words
    return f"{words}; leads " + (f"from {since} on" if since else "with no unit at all")


def _signed(value: Any) -> str:
    n = say.number(value)
    return say.UNKNOWN if n is None else f"{n:+.1f}".replace("-", "−")


# -- the picture ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Row:
    """One explanation with its photo and its overlay."""

    item: Document
    photo: Image.Image
    overlay: Image.Image


@dataclass(eq=False)
class Sheets:
    """``sheet.png``, and ``sheet-2.png`` and so on for more than `ROWS` pictures: each is drawn when it is full.

    Of `document` the words above the sheets are taken.
    """

    document: Document
    folder: Path
    paths: list[Path] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Take a row; the sheet before it is drawn where it does not fit on it."""
        if len(self.rows) == ROWS:
            self._draw(f" · sheet {len(self.paths) + 1}")
        self.rows.append(row)

    def close(self) -> list[Path]:
        """Draw what is left; the sheets' paths."""
        if self.rows:
            self._draw(f" · sheet {len(self.paths) + 1}, the last" if self.paths else "")
        return self.paths

    def _draw(self, which: str) -> None:
        name = f"sheet-{len(self.paths) + 1}.png" if self.paths else "sheet.png"
        self.paths.append(_sheet(self.document, self.rows, self.folder / name, which))
        self.rows = []


def _sheet(document: Document, rows: Sequence[Row], out: Path, which: str) -> Path:
    deep = any(r.item["units"] for r in rows)
    panels = (CLASSES_IN, DEPTH_IN, ADDED_IN) if deep else (CLASSES_IN,)
    width = 2 * MARGIN + 2 * SIDE + GAP + sum(panels) + BETWEEN * len(panels)
    height = HEAD + ROW * len(rows) + (0.35 if deep else 0.1)
    with style.style(), warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box; the file's name stands in the document and on the terminal.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        made = style.figure(width, height)
        made.set_layout_engine("none")
        page = Page(made, width, height)
        _head(page, document, which, deep)
        for i, row in enumerate(rows):
            _row(page, HEAD + i * ROW, row, last=i == len(rows) - 1)
        return style.save(made, out)


@dataclass(frozen=True, eq=False)
class Page:
    """A figure that is laid out in inches from its upper left corner."""

    made: "Figure"
    width: float
    height: float

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """New axes at a place."""
        return self.made.add_axes(
            (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        )

    def board(self, left: float, top: float, width: float, height: float) -> "Axes":
        """A bare place that is drawn on in inches from its upper left corner."""
        made = self.axes(left, top, width, height)
        made.set_xlim(0, width)
        made.set_ylim(height, 0)
        made.set_axis_off()
        return made

    def text(self, left: float, top: float, words: str, **look: Any) -> None:
        """Words whose upper left corner is at a place."""
        self.made.text(left / self.width, 1 - top / self.height, words, va="top", **look)


def _head(page: Page, document: Document, which: str, deep: bool) -> None:
    where = f" at {document['stage']}" if document.get("stage") else ""
    page.text(MARGIN, 0.26, f"{say.label(document['arch'])} explains", fontsize=14, weight="bold")
    words = f"{document['method']}{where} · {_cut(say.label(document['target']), NAME_LETTERS)}{which}"
    page.text(MARGIN, 0.56, words, fontsize=9, color=style.QUIET)
    left = MARGIN + 2 * SIDE + GAP + BETWEEN
    titles = [(left, "answer")]
    if deep:
        titles += [
            (left + CLASSES_IN + BETWEEN, "what each unit adds to the logit, by depth"),
            (left + CLASSES_IN + DEPTH_IN + 2 * BETWEEN, "the probability as units are added; filled: it leads"),
        ]
    for x, title in titles:
        page.text(x, 0.78, title, fontsize=9, color=style.INK)


def _row(page: Page, top: float, row: Row, last: bool) -> None:
    item, left = row.item, 2 * SIDE + GAP + BETWEEN
    page.text(
        MARGIN, top + 0.02, _cut(say.label(item["name"]), NAME_LETTERS, end=True), fontsize=7.5, color=style.QUIET
    )
    board = page.board(MARGIN, top + 0.22, left + CLASSES_IN, SIDE)
    for x, image in ((0, row.photo), (SIDE + GAP, row.overlay)):
        _picture(board, x, image)
    _classes(board, left, item)
    if not item["units"]:
        return
    left += MARGIN + CLASSES_IN + BETWEEN
    _contributions(page.axes(left, top + 0.22, DEPTH_IN, SIDE), item, named=last)
    _added(page.axes(left + DEPTH_IN + BETWEEN, top + 0.22, ADDED_IN, SIDE), item, named=last)
    page.text(left, top + 0.02, verdict(item), fontsize=7.5, color=style.QUIET)


def _picture(board: "Axes", left: float, image: Image.Image) -> None:
    """An image as large as fits into the square of a side, at its upper left corner."""
    tiny, inch = max(image.size) < 96, SIDE / max(image.size)
    width, height = (n * inch for n in image.size)
    board.imshow(
        image.convert("RGB"), extent=(left, left + width, height, 0), aspect="auto",
        interpolation="nearest" if tiny else "antialiased",
    )  # fmt: skip


def _classes(board: "Axes", left: float, item: Document) -> None:
    """The best classes with a bar each; the one that is explained in colour; what a map's check says below."""
    right = left + CLASSES_IN
    pairs = [(c, p) for c, p in zip(item["classes"], item["probabilities"], strict=True) if p >= SEEN]
    if item["target"] not in [c for c, _ in pairs]:
        pairs = [*pairs[:4], (item["target"], item["target_probability"])]
    for i, (name, probability) in enumerate(pairs):
        y = 0.12 + i * 0.3
        mine = name == item["target"]
        look: dict[str, Any] = {"fontsize": 9 if i == 0 else 8, "weight": "bold" if i == 0 else "normal"}
        board.text(
            left, y, _cut(say.label(name), LETTERS), va="center", color=style.INK if mine else style.QUIET, **look
        )
        board.text(right, y, say.rate(probability), va="center", ha="right", color=style.QUIET, fontsize=8)
        board.barh(y + 0.12, CLASSES_IN, left=left, height=0.045, color=style.HAIRLINE, linewidth=0)
        colour = style.VALIDATION if mine else "#a9b3bd"
        board.barh(y + 0.12, CLASSES_IN * probability, left=left, height=0.045, color=colour, linewidth=0)
    notes = []
    if item.get("nothing"):
        notes.append("nothing here speaks for the class")
    if s := item.get("scores"):
        notes.append(f"insertion {s['insertion']:.2f}, random {s['insertion_random']:.2f}")
        notes.append(f"deletion {s['deletion']:.2f}, random {s['deletion_random']:.2f}")
    for i, note in enumerate(reversed(notes)):
        board.text(left, SIDE - 0.1 - 0.14 * i, note, va="top", fontsize=7, color=style.QUIET)


def _contributions(axes: "Axes", item: Document, named: bool) -> None:
    units = item["units"]
    values = [float(u["contribution"]) for u in units]
    colours = _colours([u["stage"] for u in units])
    axes.bar(range(len(units)), values, width=0.74, color=colours, linewidth=0, zorder=2)
    low, high = min(0.0, *values), max(0.0, *values)
    room = (high - low) or 1.0
    axes.set_ylim(low - 0.1 * room if low < 0 else 0, high + 0.22 * room)
    axes.locator_params(axis="y", nbins=5)
    axes.axhline(0, color=style.QUIET, linewidth=0.6, zorder=3)
    most = strongest(item)
    assert most is not None
    axes.annotate(
        _signed(most["contribution"]), (units.index(most), max(0.0, float(most["contribution"]))), xytext=(0, 3),
        textcoords="offset points", ha="center", fontsize=7.5, color=style.INK,
    )  # fmt: skip
    _depth_axis(axes, units, named, first=0)
    _quiet(axes)


def _added(axes: "Axes", item: Document, named: bool) -> None:
    """A step for each unit; where the class leads the ground is tinted."""
    units = item["units"]
    values = [float(item["bare"]), *(float(u["added"]) for u in units)]
    leads = [item["bare_leads"] == item["target"], *(u["leads"] == item["target"] for u in units)]
    x = list(range(-1, len(units)))
    colours = [style.QUIET, *_colours([u["stage"] for u in units])]
    axes.fill_between(x, values, color=style.VALIDATION, alpha=0.09, linewidth=0, zorder=1)
    axes.plot(x, values, color=style.QUIET, linewidth=0.9, zorder=2)
    size = 22 if len(units) <= 20 else 12 if len(units) <= 60 else 4
    faces = [c if lead else "white" for c, lead in zip(colours, leads, strict=True)]
    axes.scatter(x, values, s=size, c=faces, edgecolors=colours, linewidths=1, zorder=3, clip_on=False)
    axes.set_ylim(0, 1.12)
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
    near = x[-1] - 0.3 * len(x)  # what the words below would cover
    above = max(v for v, at in zip(values, x, strict=True) if at >= near)
    axes.annotate(
        say.rate(values[-1]), (x[-1], above), xytext=(0, 5 if above < 0.97 else 4),
        textcoords="offset points", ha="right", fontsize=7.5, color=style.INK,
    )  # fmt: skip
    _depth_axis(axes, units, named, first=-1)
    _quiet(axes)


def _depth_axis(axes: "Axes", units: Sequence[Document], named: bool, first: int) -> None:
    """Stages as bands; on the last row the units' names."""
    axes.set_xlim(first - 0.7, len(units) - 0.3)
    bands(axes, [u["stage"] for u in units], named=False)
    every = -(-len(units) // NAMED)
    places = list(range(0, len(units), every))
    none = [first] if first < 0 else []
    labels = [*("none" for _ in none), *(short(units[i]["unit"]) for i in places)]
    if named:
        axes.set_xticks([*none, *places], labels, rotation=90, fontsize=6.5)
    else:
        axes.set_xticks([])


def _quiet(axes: "Axes") -> None:
    style.bare(axes)
    axes.tick_params(axis="y", labelsize=7, pad=1)
    axes.grid(axis="y", color=style.HAIRLINE, linewidth=0.6)
    axes.set_axisbelow(True)


def _colours(stages: Iterable[int]) -> list[str]:
    """From the first stage's colour to the last's."""
    listed = list(stages)
    last = max(1, max(listed))
    return [ramp(s / last) for s in listed]


def _cut(text: str, most: int, end: bool = False) -> str:
    if len(text) <= most:
        return text
    return f"…{text[-most + 1 :]}" if end else f"{text[: most - 1]}…"
