"""From options to cells: which net with which seed, what each costs, and where it goes."""

from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

from residua.errors import UsageError
from residua.nn.arch import Arch, Row
from residua.nn.zoo import find, stem_for
from residua.seeds import key
from residua.study.options import StudyOptions
from residua.words import unknown

#: What a kind is called in the zoo, for small pictures and for large ones. (The 8x64d of Xie 2017 costs thirty times as
#: much as 8x4d, which costs about what the residual nets beside it do; it can be asked for by its own name.)
KINDS: dict[str, tuple[str, str]] = {
    "plain": ("cifar_plain{depth}", "plain{depth}"),
    "residual": ("cifar_resnet{depth}", "resnet{depth}"),
    "preact": ("cifar_preact{depth}", "preact_resnet{depth}"),
    "resnext": ("resnext{depth}_8x4d", "resnext{depth}_32x4d"),
}


@dataclass(frozen=True)
class Shape:
    """What the pictures ask of every net."""

    side_px: int
    classes: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training. `net` is its name in the zoo, `budget` the depth whose cost at width 1 it has (its own at width 1).

    `shortcut` is "" for the net's own. `macs` are multiply-adds of one image.
    """

    net: str
    kind: str
    depth: int
    seed: int
    shortcut: str = ""
    width: int = 1
    norm: str = "batch"
    drop_depth: float = 0.0
    budget: int = 0
    params: int = 0
    macs: int = 0

    @property
    def name(self) -> str:
        """The cell's name and that of its run folder."""
        drop = f"-drop{self.drop_depth:g}" if self.drop_depth else ""
        return f"{self.net.replace(':', '-')}{drop}-s{self.seed}"

    @property
    def series(self) -> str:
        """What cells have in common that differ in depth, width and seed only: ``residual B, no batch norm``."""
        words = [f"{self.kind} {self.shortcut}".strip()]
        words += ["no batch norm"] if self.norm == "none" else []
        words += [f"drop {self.drop_depth:g}"] if self.drop_depth else []
        return ", ".join(words)


def cells(options: StudyOptions, shape: Shape) -> tuple[Cell, ...]:
    """Every training of a study, in the order of its table. Raises UsageError for a net that does not exist."""
    kinds = [(kind, pattern_of(kind, shape.side_px)) for kind in options.kinds]
    found: dict[str, Cell] = {}
    drops = options.drop_depth if options.drop_depth != (0.0,) else (options.recipe.drop_depth,)
    for (kind, pattern), norm, drop in product(kinds, options.norm, drops):
        for shortcut, depth, width in product(options.shortcuts or ("",), options.depths, options.widths):
            asked = Cell(net="", kind=kind, depth=depth, seed=0, shortcut=shortcut, width=width, norm=norm,
                         drop_depth=drop, budget=depth)  # fmt: skip
            cell = variant(pattern, asked, shape)
            for seed in options.seeds:
                seeded = replace(cell, seed=seed)
                found.setdefault(seeded.name, seeded)
    return tuple(found.values())


def pattern_of(kind: str, side_px: int) -> str:
    """The name of a kind's nets, with ``{depth}`` in it. Raises UsageError for a word that is none."""
    if kind in KINDS:
        small, large = KINDS[kind]
        return small if stem_for(side_px) != "7x7" else large
    if "{depth}" not in kind:
        raise unknown("kind", kind, KINDS, "or give a net's name with {depth} in it, such as wrn{depth}_4")
    return kind


def variant(pattern: str, cell: Cell, shape: Shape) -> Cell:
    """The cell with its net and cost. A plain net has no shortcuts to choose and no units to drop.

    A wider net gets the depth at which it costs most nearly what `cell` costs at width 1.
    """
    base = _priced(pattern, replace(cell, width=1, shortcut=""), shape)
    if _row(base.net, shape).shortcut == "none":
        cell = replace(cell, shortcut="", drop_depth=0.0)
    narrow = _priced(pattern, replace(cell, width=1), shape)
    return narrow if cell.width == 1 else _as_costly(pattern, cell, narrow.macs, shape)


def _as_costly(pattern: str, cell: Cell, macs: int, shape: Shape) -> Cell:
    best: Cell | None = None
    for depth in range(1, cell.depth + 1):
        try:
            made = _priced(pattern, replace(cell, depth=depth), shape)
        except UsageError:
            continue  # no net of this depth
        if best is None or abs(made.macs - macs) < abs(best.macs - macs):
            best = made
        if made.macs > macs:
            break
    assert best is not None  # the depth itself is one
    return best


def _priced(pattern: str, cell: Cell, shape: Shape) -> Cell:
    """The cell with its net's name and cost."""
    parts = [pattern.replace("{depth}", str(cell.depth)), cell.shortcut]
    parts += [f"w{cell.width}" if cell.width > 1 else "", "nobn" if cell.norm == "none" else ""]
    net = "_".join(p for p in parts if p)
    params, macs = _cost(net, shape)
    return replace(cell, net=net, params=params, macs=macs)


def _row(net: str, shape: Shape) -> Arch:
    row: Row = find(net)
    if not isinstance(row, Arch):
        raise UsageError(f"{net} has no units: a study is of residual and plain nets")
    stem = stem_for(shape.side_px) if row.stem == "7x7" else row.stem
    return replace(row, stem=stem, classes=shape.classes, channels=shape.channels)


@cache
def _cost(net: str, shape: Shape) -> tuple[int, int]:
    from residua.nn.cost import cost

    made = cost(_row(net, shape), shape.side_px)
    return made.params, made.macs


def work(cell: Cell) -> tuple[int, int, int]:
    """A key that puts the longest trainings first, and shuffles those that cost the same by nothing but their name."""
    return (-cell.macs, -cell.depth, key(cell.name))


def to_json(cell: Cell) -> dict[str, Any]:
    """What the results say of a cell before it is trained."""
    return {
        "name": cell.name, "net": cell.net, "kind": cell.kind, "series": cell.series, "depth": cell.depth,
        "width": cell.width, "shortcut": cell.shortcut, "norm": cell.norm, "drop_depth": cell.drop_depth,
        "budget": cell.budget, "seed": cell.seed, "params": cell.params, "macs": cell.macs,
    }  # fmt: skip
