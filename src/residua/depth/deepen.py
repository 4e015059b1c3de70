"""Deeper nets that compute the same: new units that begin as the identity go to the end of each stage.

He et al. 2015 (sec. 1) construct a deeper net from a shallower one in thought; this is that construction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from residua.data.batches import Batch
from residua.depth.identity import begin_as_identity, stage_statistics
from residua.engine import Engine
from residua.errors import UsageError
from residua.evaluate import evaluating
from residua.nn.arch import Arch, Classic, Row
from residua.nn.resnet import Net
from residua.nn.zoo import build, find, with_depths
from residua.seeds import key
from residua.training import carry
from residua.training.recipe import Recipe
from residua.training.state import State, begin

#: What plain nets may differ by: this share of the largest logit (fp32 keeps seven digits). Nets with shortcuts: 0.
TOLERANCE = 1e-5
#: Fields of a row that may differ between a net and the one that it is deepened to.
FREE = ("name", "source", "depths", "classes", "channels", "stem", "drop_depth", "layers")


class Deepened(NamedTuple):
    """A deeper net with its row; `new` are the paths of what was put in, `kept` the old names and what they are now."""

    net: Net
    row: Row
    new: tuple[str, ...]
    kept: dict[str, str]


class Difference(NamedTuple):
    """Two nets over n pictures: the largest difference of a logit, the largest logit, how often each was wrong."""

    largest: float
    logit: float
    n: int
    wrong: tuple[int, int]


def deepened(net: nn.Module, row: Row, depths: Sequence[int], *, images: Iterable[Tensor] | None = None) -> Deepened:
    """The net with `depths` units (VGG: convolutions) in its stages, computing what it computed; `net` stays as it is.

    The new ones stand at the end of their stage, so names stay; their weights are a function of `depths`. Nets without
    shortcuts get identity layers, and `images`, batches (N, C, H, W), let these layers' norms be it in training too.
    Raises UsageError for depths that do not fit and for nets that cannot be deepened.
    """
    target = row_with(row, depths)
    new = tuple(new_paths(row, target))
    net = getattr(net, "_orig_mod", net)  # torch.compile's wrapper
    assert isinstance(net, Net)
    with torch.random.fork_rng():
        torch.manual_seed(key("deepened", *depths))
        deeper = build(target)
    state = {k: v for k, v in net.state_dict().items()}
    deeper.load_state_dict(state, strict=False)
    seen = stage_statistics(net, images) if images is not None and _has_layers(row) else [None] * len(depths)
    begin_as_identity(deeper, new, seen)
    deeper.train(net.training)
    return Deepened(deeper.to(next(net.parameters()).device), target, new, {k: k for k in state})


def depths_of(row: Row) -> tuple[int, ...]:
    """Units in each stage; of a VGG convolutions. Raises UsageError for nets that have neither."""
    if isinstance(row, Arch):
        return row.depths
    if row.family != "vgg":
        raise UsageError(f"{row.name} has no units, and its layers all change the shape: it cannot be made deeper")
    return tuple(map(len, row.widths))


def row_with(row: Row, depths: Sequence[int]) -> Row:
    """The row with more units. Raises UsageError for depths that do not fit, and where no unit can be the identity."""
    old, depths = depths_of(row), tuple(depths)
    shown = "-".join(map(str, old))
    if len(depths) != len(old):
        raise UsageError(f"{row.name} has {len(old)} stages of {shown} units: give {len(old)} depths")
    if any(n < m for n, m in zip(depths, old, strict=True)):
        asked = "-".join(map(str, depths))
        raise UsageError(f"{row.name} has {shown} units, more than {asked}: `residua depth prune` takes units out")
    if depths == old:
        raise UsageError(f"{row.name} has {shown} units already: nothing to add")
    if isinstance(row, Classic):
        widths = tuple(w + w[-1:] * (n - len(w)) for w, n in zip(row.widths, depths, strict=True))
        name = f"{row.name.partition(':')[0]}:{'-'.join(map(str, depths))}"
        return replace(row, widths=widths, layers=row.layers + sum(depths) - sum(old), name=name)
    if row.unit == "pre_act" and row.shortcut in ("C", "none"):
        raise UsageError(
            f"{row.name}: what enters its units may be negative, and without a bare shortcut a ReLU cuts it"
        )
    if row.shortcut == "none" and row.branch == "bottleneck" and row.ratio != 1:
        raise UsageError(f"{row.name}: its units narrow to {row.ratio:g} of the channels, which cannot be the identity")
    return with_depths(row, depths)


def row_named(row: Row, name: str) -> Row:
    """The row of that name, in this row's classes, channels and stem. Raises UsageError if more than depth differs."""
    target = find(name)
    if type(target) is not type(row):
        raise UsageError(f"{row.name} cannot become {name}: another kind of net")
    depths = depths_of(target)
    if unlike := _unlike(row, target, but="widths" if isinstance(row, Classic) else ""):
        raise UsageError(f"{row.name} cannot become {name} by more units alone: {unlike}")
    deeper = replace(row_with(row, depths), name=name)
    if unlike := _unlike(deeper, target):
        raise UsageError(f"{row.name} cannot become {name} by more units alone: {unlike}")
    return deeper


def _unlike(ours: Row, theirs: Row, but: str = "") -> str | None:
    """The first field in which two rows of one kind differ beyond what is `FREE`."""
    names = [f.name for f in fields(ours) if f.name not in (*FREE, but)]
    for name in sorted(names, key="family".__eq__):  # what makes the family says more
        if getattr(ours, name) != getattr(theirs, name):
            verb = "are" if name.endswith("s") else "is"
            return f"its {name} {verb} {getattr(ours, name)}, not {getattr(theirs, name)}"
    return None


def new_paths(old: Row, new: Row) -> Iterable[str]:
    """The paths of the units, or of a VGG's convolutions and norms, that only the new row has."""
    for stage, (m, n) in enumerate(zip(depths_of(old), depths_of(new), strict=True)):
        if isinstance(new, Arch):
            yield from (f"stages.{stage}.{unit}" for unit in range(m, n))
        else:
            kinds = ("conv", "bn") if new.norm else ("conv",)
            yield from (f"stages.{stage}.{kind}{i}" for i in range(m + 1, n + 1) for kind in kinds)


def _has_layers(row: Row) -> bool:
    """Whether norms of new units stand in the way of the identity."""
    return row.norm if isinstance(row, Classic) else row.shortcut in ("C", "none")


# -- the proof ------------------------------------------------------------------------------------------------------


def difference(old: nn.Module, new: nn.Module, batches: Iterable[Batch]) -> Difference:
    """How far two nets on the CPU are apart over the batches, in evaluation mode; NaN against a number is infinite."""
    largest = logit = 0.0
    n, wrong = 0, [0, 0]
    with evaluating(old), evaluating(new), torch.no_grad():
        for batch in batches:
            a, b = old(batch.images), new(batch.images)
            apart = torch.where(a == b, 0.0, (a - b).abs()).nan_to_num(nan=torch.inf)
            largest, logit = max(largest, apart.max().item()), max(logit, a.abs().max().item())
            n += len(a)
            wrong = [w + int((y.argmax(1) != batch.targets).sum()) for w, y in zip(wrong, (a, b), strict=True)]
    return Difference(largest, logit, n, (wrong[0], wrong[1]))


def tolerance(row: Row, logit: float) -> float:
    """The largest difference of a logit that a deepened net may show: 0 for nets with shortcuts."""
    exact = isinstance(row, Arch) and row.shortcut in ("A", "B")
    return 0.0 if exact else TOLERANCE * max(1.0, logit)


# -- in training ----------------------------------------------------------------------------------------------------


def grown(state: State, row: Arch, depths: Sequence[int], recipe: Recipe, engine: Engine) -> tuple[State, Arch]:
    """The state with a deeper net in place of the old one, and the deeper row.

    Optimiser and averages of the old units, step, sums and the schedule's memory go on; new units begin without.
    """
    made = deepened(state.net, row, depths)
    assert isinstance(made.row, Arch)
    new = begin(engine.place(made.net), recipe, engine)
    carry.give(new, carry.buffers(state))
    new.ema.net.load_state_dict(new.ema.net.state_dict() | state.ema.net.state_dict())
    new.ema.updates = state.ema.updates
    new.scaler.load_state_dict(state.scaler.state_dict())
    new.epoch.copy_(state.epoch)
    new.step, new.seconds, new.memory, new.slices = state.step, state.seconds, state.memory, state.slices
    return new, made.row
