"""New units and layers that begin as the identity: what deepening puts into a net.

A unit with a shortcut is the identity when its branch is zero; a layer without one, when its convolution is Dirac's
and its norm gives back what it gets (Net2Net, Chen et al. 2015, arXiv:1511.05641, sec. 2.3).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from residua.evaluate import evaluating
from residua.nn.blocks import Residual, Zero
from residua.nn.resnet import Net

#: How many neighbouring numbers of a variance are tried until its norm is the identity to the last bit.
NUDGES = 64


@dataclass(frozen=True)
class Statistics:
    """Mean and variance of each channel of a map: (C,)."""

    mean: Tensor
    var: Tensor


def silence(unit: Residual) -> None:
    """Make the branch zero, in place: its last norm's weight and bias, or the last convolution where no norm ends it.

    Every parameter of the unit can learn: the last one has a gradient at once, the others after its first step.
    """
    last = list(unit.branch.children())[-1]
    assert isinstance(last, nn.BatchNorm2d | nn.Conv2d)
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)


def pass_through(layers: nn.Module, about: Statistics | None) -> None:
    """Make convolutions and norms give back a map that is nowhere negative, in place.

    `about` is what the norms will see: with it they are the identity in training too, but for the noise of a batch.
    """
    for m in layers.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.dirac_(m.weight, m.groups)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.BatchNorm2d):
            undo(m, about)


@torch.no_grad()
def undo(norm: nn.BatchNorm2d, about: Statistics | None) -> None:
    """Make the norm scale by exactly the deviation and shift by exactly the mean that it takes away, in place.

    Evaluation multiplies by ``weight / sqrt(var + eps)`` in float32, as this machine rounds it; the variance is moved
    by a few units in the last place until that product is 1 to the last bit.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    mean = torch.zeros_like(norm.bias) if about is None else about.mean.to(norm.bias)
    var = torch.ones_like(norm.weight) if about is None else about.var.to(norm.weight).clone()
    weight, up = (var + norm.eps).sqrt(), torch.full_like(var, torch.inf)
    for _ in range(NUDGES):
        for near in (weight, weight.nextafter(-up), weight.nextafter(up)):
            weight = torch.where(_scale(norm, var, near) == 1, near, weight)
        if (exact := _scale(norm, var, weight) == 1).all():
            break
        var = torch.where(exact, var, var.nextafter(up))
        weight = torch.where(exact, weight, (var + norm.eps).sqrt())
    norm.weight.copy_(weight)
    norm.running_var.copy_(var)
    norm.bias.copy_(mean)
    norm.running_mean.copy_(mean)


def _scale(norm: nn.BatchNorm2d, var: Tensor, weight: Tensor) -> Tensor:
    """What evaluation multiplies each channel by: (C,)."""
    zero, one = torch.zeros_like(var), torch.ones_like(var)[None, :, None, None]
    return functional.batch_norm(one, zero, var, weight, zero, eps=norm.eps).flatten()


def begin_as_identity(net: Net, new: Sequence[str], about: Sequence[Statistics | None]) -> None:
    """Make the new units and layers of these paths the identity, in place; `about` has an entry for each stage."""
    for path in new:
        module, seen = net.get_submodule(path), about[int(path.split(".")[1])]
        if not isinstance(module, Residual):
            pass_through(module, seen)
        elif isinstance(module.shortcut, Zero):
            pass_through(module.branch, seen)
        else:
            silence(module)
            pass_through(module.shortcut, seen)


@torch.no_grad()
def stage_statistics(net: Net, images: Iterable[Tensor]) -> list[Statistics]:
    """Mean and variance of each channel of what leaves each stage, in evaluation mode."""
    device = next(net.parameters()).device
    total = 0
    sums: list[Tensor] = []
    with evaluating(net):
        for x in images:
            maps = [m.double() for m in net.features(x.to(device))]
            parts = [torch.stack([m.sum((0, 2, 3)), m.square().sum((0, 2, 3))]) / m[0, 0].numel() for m in maps]
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
            total += len(x)
    return [Statistics(m.float(), (q - m.square()).clamp(min=0).float()) for m, q in (s / total for s in sums)]
