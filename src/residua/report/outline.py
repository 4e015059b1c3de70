"""What a drawing of a net shows, read from the table of its layers: boxes, units, modules, folds."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from itertools import groupby
from math import log2
from typing import TYPE_CHECKING

from residua.nn.arch import Arch, Row

if TYPE_CHECKING:
    from residua.nn.cost import Cost, LayerCost

#: A net of at most so many layers is drawn whole; in a deeper one, stages of more than MOST_UNITS are folded.
MOST_LAYERS, MOST_UNITS = 60, 4

HEAD = 99  # the band of what has no height and width any more

STEM, LAST = -1, -2  # "stages" of what stands before and behind the stages


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A box. `kind`: "conv", "fc", "pool" or "mean"; the first two are weighted. `side` is that of its output in px.

    `norms`: a norm and a ReLU stand in front of it (pre-activation). `paths` is the number of groups, each of
    `channels / paths` channels.
    """

    words: str
    kind: str
    channels: int
    side: int
    stage: int = STEM
    paths: int = 1
    norms: bool = False

    @property
    def weighted(self) -> bool:
        """Whether it counts as a layer of the net."""
        return self.kind in ("conv", "fc")


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit: its branch's layers; `shortcut`: "identity", "zero-padding", "projection", or "" in a plain net.

    `changes`: its output has another shape than its input. `outside`: the first norm and ReLU stand before the fork.
    """

    path: str
    layers: tuple[Layer, ...]
    shortcut: str
    changes: bool
    stage: int
    outside: bool = False


@dataclass(frozen=True, kw_only=True)
class Inception:
    """Parallel paths of layers whose outputs stand side by side: `channels` in all."""

    path: str
    paths: tuple[tuple[Layer, ...], ...]
    channels: int
    stage: int


@dataclass(frozen=True, kw_only=True)
class Fold:
    """`units` more units of `layers` layers each, as the one before; `shortcut`: they have one."""

    units: int
    layers: int
    stage: int
    side: int
    shortcut: bool


Part = Layer | Unit | Inception | Fold


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A net from the picture to the logits: parts, each with its band: how often the picture has been halved."""

    name: str
    layers: int
    params: int
    macs: int
    channels: int
    side_px: int
    parts: tuple[tuple[int, Part], ...]


@singledispatch
def weighted(part: Part) -> int:
    """The weighted layers of a part, on its longest path."""
    raise TypeError(type(part).__name__)


@weighted.register
def _(part: Layer) -> int:
    return int(part.weighted)


@weighted.register
def _(part: Unit) -> int:
    return sum(map(weighted, part.layers))


@weighted.register
def _(part: Inception) -> int:
    return max(sum(map(weighted, path)) for path in part.paths)


@weighted.register
def _(part: Fold) -> int:
    return part.units * part.layers


@singledispatch
def side(part: Part) -> int:
    """The side in px of what leaves a part."""
    raise TypeError(type(part).__name__)


@side.register
def _(part: Layer | Fold) -> int:
    return part.side


@side.register
def _(part: Unit) -> int:
    return part.layers[-1].side


@side.register
def _(part: Inception) -> int:
    return part.paths[0][-1].side


def outline(row: Row, cost: "Cost", *, whole: bool = False) -> Outline:
    """The outline of a row whose cost was counted; long stages are folded unless `whole`."""
    made = list(_parts(row, cost))
    if not whole and row.layers > MOST_LAYERS:
        made = [part for _, stage in groupby(made, lambda p: p.stage) for part in folded(list(stage))]
    banded, deepest = [], 0
    for part in made:
        deepest = max(deepest, _band(part, cost.side_px))
        banded.append((deepest, part))
    return Outline(
        name=row.name,
        layers=row.layers,
        params=cost.params,
        macs=cost.macs,
        channels=row.channels,
        side_px=cost.side_px,
        parts=tuple(banded),
    )


def folded(parts: Sequence[Part]) -> list[Part]:
    """A stage whose units between the second and the last are one fold, if there are more than MOST_UNITS."""
    units = [p for p in parts if isinstance(p, Unit)]
    if len(units) <= MOST_UNITS:
        return list(parts)
    like = units[1]
    fold = Fold(
        units=len(units) - 3, layers=weighted(like), stage=like.stage, side=side(like), shortcut=bool(like.shortcut)
    )
    first = parts.index(units[0])
    return [*parts[:first], *units[:2], fold, *parts[first + len(units) - 1 :]]


def _band(part: Part, side_px: int) -> int:
    if isinstance(part, Layer) and part.stage == LAST and part.kind != "pool":
        return HEAD
    return round(log2(side_px / side(part)))


# -- from the table of layers ---------------------------------------------------------------------------------------


def _parts(row: Row, cost: "Cost") -> Iterator[Part]:
    """The parts in order. Rows of one unit or module begin with its path: three words."""
    shape: tuple[int, ...] = (row.channels, cost.side_px, cost.side_px)
    pre = isinstance(row, Arch) and row.unit == "pre_act"
    norms = False  # a norm is waiting for the layer behind it
    for path, group in groupby(cost.layers, lambda r: ".".join(r.name.split(".")[:3])):
        rows = list(group)
        kinds, stage = {r.kind for r in rows}, _stage(path)
        if "sum" in kinds:
            yield _unit(row, path, rows, shape)
        elif "concat" in kinds:
            yield _inception(path, rows)
        else:
            for r in rows:
                norms = norms or (pre and path.startswith("head") and r.kind == "norm")
                if layer := _layer(r, stage, shape):
                    yield replace(layer, norms=norms)
                    norms = False
        shape = rows[-1].out_shape


def _stage(path: str) -> int:
    word, *rest = path.split(".")
    return {"stem": STEM, "head": LAST}[word] if word != "stages" else int(rest[0])


def _unit(row: Row, path: str, rows: "list[LayerCost]", shape: tuple[int, ...]) -> Unit:
    pre = isinstance(row, Arch) and row.unit == "pre_act"
    inside = [r for r in rows if ".branch." in r.name]
    beside = [r.kind for r in rows if ".shortcut" in r.name]
    made = [layer for r in inside if (layer := _layer(r, _stage(path), shape))]
    plain = isinstance(row, Arch) and row.shortcut == "none"
    return Unit(
        path=path,
        layers=tuple(replace(layer, norms=pre) for layer in made),
        shortcut="" if plain else "identity" if not beside else _shortcut(beside),
        changes=next(r.out_shape for r in rows if r.kind == "sum") != shape,
        stage=_stage(path),
        outside=any(".pre." in r.name for r in rows),
    )


def _shortcut(kinds: list[str]) -> str:
    return "zero-padding" if kinds[0].startswith("zero-pad") else "projection"


def _inception(path: str, rows: "list[LayerCost]") -> Inception:
    """The module: rows are named after their path in it, ``stages.0.a.path1.conv1``."""
    stage = _stage(path)
    inside = groupby((r for r in rows if r.kind != "concat"), lambda r: r.name.split(".")[3])
    paths = [[layer for r in group if (layer := _layer(r, stage, ()))] for _, group in inside]
    return Inception(path=path, paths=tuple(map(tuple, paths)), channels=rows[-1].out_shape[0], stage=stage)


CONV = re.compile(r"conv (\d+)x\d+(?: /(\d+))?(?: in (\d+) groups)?")
POOL = re.compile(r"max-pool (\d+)x\d+(?: /(\d+))?")


def _layer(r: "LayerCost", stage: int, shape: tuple[int, ...]) -> Layer | None:
    """The box of a row of the table; None for what is no box: norms, ReLUs, dropout, a mean that changes nothing."""
    channels, px = r.out_shape[0], r.out_shape[-1] if len(r.out_shape) == 3 else 1
    if match := CONV.fullmatch(r.kind):
        words = f"{match[1]}×{match[1]} conv, {channels}" + (f", /{match[2]}" if match[2] else "")
        return Layer(words=words, kind="conv", channels=channels, side=px, stage=stage, paths=int(match[3] or 1))
    if match := POOL.fullmatch(r.kind):
        words = f"{match[1]}×{match[1]} max pool" + (f", /{match[2]}" if match[2] else "")
        return Layer(words=words, kind="pool", channels=channels, side=px, stage=stage)
    if r.kind == "linear":
        return Layer(words=f"fc {channels:,}", kind="fc", channels=channels, side=px, stage=stage)
    if r.kind.startswith("mean") and r.out_shape != shape:
        return Layer(words="average pool", kind="mean", channels=channels, side=px, stage=stage)
    return None
