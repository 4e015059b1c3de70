"""One small net of each structure that exporters meet, and the nets of the papers in which they stand."""

from dataclasses import replace

from export.conftest import shaken
from residua.depth.deepen import deepened
from residua.depth.prune import pruned
from residua.nn import classics
from residua.nn.arch import Arch
from residua.nn.resnet import Net
from residua.nn.zoo import build, find

SMALL = {"depths": (1, 2), "widths": (16, 32), "stem_width": 16}


def row(name, **fields):
    """A row of the table with few units and channels."""
    return replace(find(name), **(SMALL | fields))


#: Each by what is particular about it, with the side of its pictures.
ROWS = {
    "shortcut A": (find("cifar_resnet8"), 16),
    "shortcut B": (find("cifar_resnet8_B"), 16),
    "shortcut C": (find("cifar_resnet8_C"), 16),
    "plain": (find("cifar_plain8"), 16),
    "basic, 7x7 stem": (row("resnet18"), 33),
    "plain, 7x7 stem": (row("plain18"), 33),
    "bottleneck": (row("resnet50"), 33),
    "bottleneck, stride in the first 1x1": (row("resnet50_v1"), 33),
    "groups": (row("resnext50_32x4d", groups=4), 33),
    "groups, 3x3 stem": (row("resnext29_8x64d", groups=4, stem_width=16), 16),
    "wide bottleneck": (row("wide_resnet50_2"), 33),
    "wide": (find("wrn10_1"), 16),
    "pre-activation": (find("cifar_preact8"), 16),
    "pre-activation, 7x7 stem": (row("preact_resnet18"), 33),
    "pre-activation bottleneck": (row("preact_resnet50"), 33),
    "pre-activation, plain": (row("plain_preact_resnet18"), 33),
    "no norms": (find("cifar_resnet8_nobn"), 16),
    "no norms, pre-activation": (find("cifar_preact8_nobn"), 16),
    "units of each stage": (find("cifar_resnet8:2-1-3"), 16),
    "stochastic depth": (replace(find("cifar_resnet14"), drop_depth=0.5), 16),
    "alexnet": (replace(find("alexnet"), widths=((8,), (12,), (16, 12, 12))), 63),
    "vgg": (replace(find("vgg11"), widths=((4,), (8,), (8, 8), (8, 8), (8, 8))), 32),
    "vgg with norms": (replace(find("vgg11_bn"), widths=((4,), (8,), (8, 8), (8, 8), (8, 8))), 32),
    "googlenet": (
        replace(find("googlenet"), widths=tuple(tuple(max(2, n // 8) for n in w) for w in find("googlenet").widths)),
        33,
    ),
}  # fmt: skip
#: Nets that are made of others.
MADE = {
    "deepened": (find("cifar_resnet8"), lambda net, row: deepened(net, row, (2, 1, 2))),
    "deepened, plain": (find("cifar_plain8"), lambda net, row: deepened(net, row, (2, 1, 1))),
    "pruned": (find("cifar_resnet8:2-2-2"), lambda net, row: pruned(net, row, ["stages.0.1", "stages.2.1"])),
}
STRUCTURES = (*ROWS, *MADE)
#: Those without another one that differs in numbers only: exporters are asked about these.
EXPORTED = tuple(
    what
    for what in STRUCTURES
    if what
    not in (
        "plain, 7x7 stem", "groups, 3x3 stem", "wide", "wide bottleneck", "pre-activation, 7x7 stem",
        "units of each stage", "vgg", "deepened, plain",
    )
)  # fmt: skip

#: The nets as the papers have them, all units and all channels; by hand, for they take an hour.
WHOLE = [
    ("cifar_resnet20", 32), ("cifar_resnet20_B", 32), ("cifar_resnet20_C", 32), ("cifar_plain20", 32),
    ("cifar_resnet56", 32), ("plain34", 64), ("resnet18", 64), ("resnet34_A", 64), ("resnet50", 64),
    ("resnet50_v1", 64), ("resnet152", 64), ("resnext50_32x4d", 64), ("resnext29_8x64d", 32),
    ("wide_resnet50_2", 64), ("preact_resnet18", 64), ("preact_resnet50", 64), ("plain_preact_resnet18", 64),
    ("cifar_preact56", 32), ("wrn28_10", 32), ("cifar_resnet20_nobn", 32), ("alexnet", 63), ("vgg19_bn", 32),
    ("googlenet", 64),
]  # fmt: skip


def structure(what, monkeypatch, classes=4, channels=3) -> tuple[Net, Arch | object, int]:
    """The net, shaken, with its row and the side of its pictures; the linear layers of AlexNet and VGG are narrow as
    long as `monkeypatch` lasts."""
    monkeypatch.setattr(classics, "HIDDEN", 16)
    first, side = ROWS.get(what) or (MADE[what][0], 16)
    first = replace(first, classes=classes, channels=channels)
    net = shaken(build(first))
    if what in MADE:
        made = MADE[what][1](net, first)
        return made.net.eval(), made.row, side
    return net, first, side
