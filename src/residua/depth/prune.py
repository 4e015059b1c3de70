"""Shallower nets: whole units leave, and what stays is an ordinary net of the same kind with fewer of them.

A unit that has learned the identity can go (Veit et al. 2016, arXiv:1605.06431); the net without it computes exactly
what the net with its branch at zero does.
"""

import copy
from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from residua.engine import Engine
from residua.errors import UsageError
from residua.nn.arch import Arch, Row
from residua.nn.cost import blueprint
from residua.nn.resnet import Net
from residua.nn.zoo import with_depths
from residua.words import unknown


class Pruned(NamedTuple):
    """A shallower net with its row; `kept` are the old names of what stayed and what they are now."""

    net: Net
    row: Arch
    kept: dict[str, str]


def removable(row: Row) -> list[str]:
    """The paths of the units that may leave, in network order: of those that keep the shape, all but a stage's last.

    Raises UsageError for a net without units, and where every unit has a projection of its own.
    """
    if not isinstance(row, Arch):
        raise UsageError(f"{row.name} has no units to leave out: residual and plain nets have")
    if row.shortcut == "C":
        raise UsageError(f"{row.name}: every unit has a projection of its own, and none can leave without it")
    same = [row.stem_width == row.widths[0], *[False] * (len(row.widths) - 1)]
    return [
        f"stages.{stage}.{unit}"
        for stage, (depth, first) in enumerate(zip(row.depths, same, strict=True))
        for unit in range(0 if first else 1, depth)
        if depth > 1
    ]


def pruned(net: nn.Module, row: Row, paths: Iterable[str]) -> Pruned:
    """The net without these units, its others renumbered, and its row; `net` is left as it is.

    In evaluation mode it computes what `depth.chain.without` these units computes, to the last bit. Weights are copies,
    where `net` has them. Raises UsageError for units that cannot leave, and where a stage would be empty.
    """
    able, gone = removable(row), list(dict.fromkeys(paths))
    assert isinstance(row, Arch)
    for path in gone:
        if path not in able:
            raise unknown("unit that can leave", path, able)
    stay = [
        [unit for unit in range(depth) if f"stages.{stage}.{unit}" not in gone]
        for stage, depth in enumerate(row.depths)
    ]
    if not all(stay):
        raise UsageError(f"{row.name}: stage {stay.index([])} would be empty, and every stage keeps a unit")
    target = with_depths(row, [len(units) for units in stay])
    assert isinstance(target, Arch)
    moved = {f"stages.{s}.{old}": f"stages.{s}.{new}" for s, units in enumerate(stay) for new, old in enumerate(units)}
    net = getattr(net, "_orig_mod", net)  # torch.compile's wrapper
    kept = dict(_renamed(net.state_dict(), moved))
    shorter = blueprint(target)
    shorter.load_state_dict({new: net.state_dict()[old].clone() for old, new in kept.items()}, assign=True)
    return Pruned(shorter.train(net.training), target, kept)


def _renamed(names: Iterable[str], moved: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(old, new) of every name that stays."""
    for name in names:
        parts = name.split(".")
        unit = ".".join(parts[:3])
        if parts[0] != "stages":
            yield name, name
        elif unit in moved:
            yield name, ".".join([moved[unit], *parts[3:]])


# -- norms ----------------------------------------------------------------------------------------------------------

Seen = dict[str, tuple[Tensor, Tensor]]  # of each norm, by path: mean and variance (C,)


@torch.no_grad()
def what_norms_see(net: nn.Module, images: Iterable[Tensor], engine: Engine) -> Seen:
    """Mean and variance of what enters each norm, averaged over the batches, while norms work as in training.

    No unit is dropped meanwhile. The net is where the engine placed it and is left as it is.
    """
    probe = copy.deepcopy(net).eval()
    norms = {name: m for name, m in probe.named_modules() if isinstance(m, nn.BatchNorm2d)}
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None  # every batch counts alike
        norm.train()
    for x in images:
        with engine.autocast():
            probe(engine.move(x))
    return {name: (cast(Tensor, m.running_mean), cast(Tensor, m.running_var)) for name, m in norms.items()}


@torch.no_grad()
def recalibrate(made: Pruned, before: Seen, images: Iterable[Tensor], engine: Engine) -> None:
    """Move the norms' means and variances by as much as pruning moves what they see, in place.

    `before` is what the norms of the whole net see of the same images. The whole net's own statistics stay the ground:
    they may come from another augmentation, which an estimate from these images alone would lose.
    """
    old = {new: name for name, new in made.kept.items()}
    now = what_norms_see(made.net, images, engine)
    for name, norm in made.net.named_modules():
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        assert norm.running_mean is not None and norm.running_var is not None
        mean, var = before[old[f"{name}.running_mean"].removesuffix(".running_mean")]
        norm.running_mean += (now[name][0] - mean) * ((norm.running_var + norm.eps) / (var + norm.eps)).sqrt()
        norm.running_var *= (now[name][1] + norm.eps) / (var + norm.eps)
