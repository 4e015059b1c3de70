"""From a row to a net: words looked up, units stacked into stages, weights initialised."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from residua.nn import blocks
from residua.nn.arch import Arch
from residua.nn.blocks import Branch, DropBranch, Residual, Shortcut, named
from residua.nn.recompute import chained, through

SHORTCUTS: dict[str, dict[str, Shortcut]] = {
    "post_act": {"A": blocks.Pad, "B": blocks.project, "C": blocks.project, "none": blocks.nothing},
    "pre_act": {"A": blocks.Pad, "B": blocks.pre_project, "C": blocks.pre_project, "none": blocks.nothing},
}
BRANCHES: dict[str, dict[str, Callable[..., nn.Sequential]]] = {
    "post_act": {"basic": blocks.basic, "bottleneck": blocks.bottleneck},
    "pre_act": {"basic": blocks.pre_basic, "bottleneck": blocks.pre_bottleneck},
}


class Net(nn.Module):
    """``head(stages(stem(x)))``: the shape that every net of the zoo has.

    x: (N, channels, H, W) -> logits: (N, classes). `segments` are runs of units, from the first on, whose insides
    training computes again instead of keeping them (`nn.recompute`): the same numbers in less memory.
    """

    segments: tuple[int, ...] = ()

    def __init__(self, stem: nn.Module, stages: list[nn.Module], head: nn.Module) -> None:
        """Take the three parts."""
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.head = head

    def features(self, x: Tensor) -> list[Tensor]:
        """The output of every stage, finest first: S tensors (N, C_s, H_s, W_s)."""
        maps = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        x = self.stem(x)
        if self.segments and self.training and torch.is_grad_enabled():
            x = through(chained(self), x, self.segments)
        else:
            x = self.stages(x)
        return self.head(x)  # type: ignore[no-any-return]


def units(net: nn.Module) -> list[Residual]:
    """Every unit of a net in network order, plain units (whose shortcut is zero) included."""
    return [m for m in net.modules() if isinstance(m, Residual)]


def branch_of(arch: Arch) -> Branch:
    """The function that makes the row's F."""
    make = BRANCHES[arch.unit][arch.branch]
    if arch.branch == "basic":
        return make
    return partial(make, ratio=arch.ratio, groups=arch.groups, stride_at=arch.stride_at)


def unit(arch: Arch, c_in: int, c_out: int, stride: int) -> nn.Module:
    """One unit of the row's kind, (N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
    make = blocks.post_act if arch.unit == "post_act" else blocks.pre_act
    return make(
        c_in,
        c_out,
        stride,
        branch=branch_of(arch),
        shortcut=SHORTCUTS[arch.unit][arch.shortcut],
        everywhere=arch.shortcut in ("C", "none"),
    )


def stage(arch: Arch, index: int) -> nn.Sequential:
    """Stage `index` (from 0): `depths[index]` units, the first of which halves the map from stage 1 on."""
    c_in = arch.stem_width if index == 0 else arch.widths[index - 1]
    c_out = arch.widths[index]
    first = unit(arch, c_in, c_out, 1 if index == 0 else 2)
    return nn.Sequential(first, *(unit(arch, c_out, c_out, 1) for _ in range(arch.depths[index] - 1)))


def stem(arch: Arch) -> nn.Sequential:
    """(N, channels, H, W) -> (N, stem_width, H / 4, W / 4) for "7x7", H / 2 for "5x5", the same H and W for "3x3"."""
    size, stride = {"7x7": (7, 2), "5x5": (5, 2), "3x3": (3, 1)}[arch.stem]
    layers: dict[str, nn.Module] = {"conv1": blocks.conv(arch.channels, arch.stem_width, size, stride)}
    if arch.unit == "post_act":  # a pre-activation unit brings its own norm
        layers |= {"bn1": blocks.norm(arch.stem_width), "relu1": blocks.relu()}
    if arch.stem == "7x7":
        layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return named(**layers)


def head(arch: Arch) -> nn.Sequential:
    """(N, widths[-1], H, W) -> (N, classes): global average pool and classifier."""
    last: dict[str, nn.Module] = {}
    if arch.unit == "pre_act":  # the last sum has not been normalised yet
        last = {"bn1": blocks.norm(arch.widths[-1]), "relu1": blocks.relu()}
    return named(
        **last,
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(arch.widths[-1], arch.classes),
    )


def resnet(arch: Arch) -> Net:
    """The net of a row, initialised as He et al. did, with stochastic depth where the row asks for it."""
    net = Net(stem(arch), [stage(arch, i) for i in range(len(arch.depths))], head(arch))
    if arch.norm == "none":
        without_norms(net)
    drop_depth(net, arch.drop_depth)
    initialise(net)
    return net


def without_norms(net: nn.Module) -> None:
    """Take every norm out, in place; convolutions get a bias of zero.

    No ReLU works in place any more: without a norm before it, the first one of a pre-activation unit sees x itself.
    """
    for m in list(net.modules()):
        for name in [n for n, child in m.named_children() if isinstance(child, nn.BatchNorm2d)]:
            delattr(m, name)
        if isinstance(m, nn.Conv2d):
            m.bias = nn.Parameter(torch.zeros(m.out_channels))
        if isinstance(m, nn.ReLU):
            m.inplace = False


def drop_depth(net: nn.Module, p_last: float) -> None:
    """Stochastic depth in place: the unit l of L is dropped with probability ``l / L * p_last`` (Huang 2016, eq. 4)."""
    if p_last == 0:
        return
    chain = units(net)
    for i, u in enumerate(chain, 1):
        assert isinstance(u.branch, nn.Sequential)
        u.branch = DropBranch(u.branch, i / len(chain) * p_last)


def last_norms(net: nn.Module) -> Iterator[nn.BatchNorm2d]:
    """The norm that ends each branch, in network order (post-activation units have one)."""
    for u in units(net):
        last = list(u.branch.children())[-1:]
        if last and isinstance(last[0], nn.BatchNorm2d):
            yield last[0]


def initialise(net: nn.Module, zero_last: bool = False) -> None:
    """He initialisation in place (normal, fan-out), norms to identity; classifiers keep torch's own.

    `zero_last`: every branch starts as zero, so every unit starts as the identity: the last norm's weight, or the
    last convolution of a pre-activation branch. Sources: He et al. 2015, arXiv:1502.01852, eq. 14;
    Goyal et al. 2017, sec. 5.1, arXiv:1706.02677.
    """
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.ones_(m.weight)
            nn.init.zeros_(m.bias)
    if zero_last:
        for u in units(net):
            last = list(u.branch.children())[-1]
            assert isinstance(last, nn.BatchNorm2d | nn.Conv2d)
            nn.init.zeros_(last.weight)
