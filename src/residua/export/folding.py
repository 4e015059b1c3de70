"""Norms folded into the convolutions before them, by us: exporters have done it wrongly more than once."""

from collections import OrderedDict
from copy import deepcopy

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from residua.nn.blocks import DropBranch

Norm = nn.BatchNorm2d | FrozenBatchNorm2d


class Affine(nn.Module):
    """A norm that has no convolution before it: (N, C, H, W) times a number a channel, plus another."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        """Take the numbers (C,)."""
        super().__init__()
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", shift[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """The scaled x."""
        return x * self.scale + self.shift


def folded(net: nn.Module) -> nn.Module:
    """A copy of a net, in evaluation mode, that computes the same to the rounding of fp32 and has no batch norms.

    A norm goes into the convolution that stands right before it in a sequence; any other, as in pre-activation units,
    becomes an `Affine`. Stochastic depth is gone, and no ReLU works in place.
    """
    made = deepcopy(net).eval()
    if isinstance(made, Norm):
        return Affine(*numbers(made))
    _fold(made)
    for m in made.modules():
        if isinstance(m, nn.ReLU):
            m.inplace = False
    return made


def _fold(module: nn.Module) -> None:
    before: nn.Module | None = None
    ordered = isinstance(module, nn.Sequential)
    for name, child in list(module.named_children()):
        if isinstance(child, Norm):
            scale, shift = numbers(child)
            if ordered and isinstance(before, nn.Conv2d):
                into(before, scale, shift)
                delattr(module, name)
            else:
                setattr(module, name, Affine(scale, shift))
        elif isinstance(child, DropBranch):
            setattr(module, name, nn.Sequential(OrderedDict(child.named_children())))
            _fold(getattr(module, name))
        else:
            _fold(child)
        before = child


def numbers(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a norm in evaluation mode multiplies a channel with, and adds to it: (C,) each, by way of fp64."""
    assert isinstance(norm, Norm)
    mean, var = norm.running_mean, norm.running_var
    assert isinstance(mean, Tensor) and isinstance(var, Tensor)
    scale = norm.weight.detach().double() / torch.sqrt(var.double() + norm.eps)
    return scale.float(), (norm.bias.detach().double() - mean.double() * scale).float()


def into(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Put a norm's numbers (C,) into the convolution before it, in place."""
    with torch.no_grad():
        bias = shift.double() if conv.bias is None else conv.bias.double() * scale.double() + shift.double()
        conv.weight = nn.Parameter((conv.weight.double() * scale.double()[:, None, None, None]).float())
        conv.bias = nn.Parameter(bias.float())
