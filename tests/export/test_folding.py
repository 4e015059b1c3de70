"""Norms are folded by an exact law: the same logits to the rounding of fp32, for every family."""

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from export.conftest import shaken
from residua.export.folding import Affine, folded
from residua.nn.blocks import Residual, Zero
from residua.nn.resnet import units
from residua.nn.zoo import build, find

FAMILIES = [
    ("cifar_resnet8", 16), ("cifar_resnet8_B", 16), ("cifar_resnet8_C", 16), ("cifar_plain8", 16), ("plain18", 48),
    ("resnet18:1-2-1-1", 48), ("resnet50:1-2-1-1", 48), ("resnet50_v1:1-1-1-1", 48), ("resnext50_32x4d:1-1-1-1", 48),
    ("resnext29_8x64d:1-1-1", 16), ("wide_resnet50_2:1-1-1-1", 48), ("preact_resnet18", 48),
    ("preact_resnet50:1-1-1-1", 48), ("plain_preact_resnet18", 48), ("cifar_preact8", 16), ("wrn10_1", 16),
    ("cifar_resnet8_nobn", 16), ("cifar_preact8_nobn", 16), ("alexnet", 63), ("vgg11_bn", 32), ("googlenet", 48),
    ("cifar_resnet8:2-1-3", 16),
]  # fmt: skip


def alike(net, side, channels=3):
    made, x = folded(net), torch.randn(3, channels, side, side + 1)
    assert not [m for m in made.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d)]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.inference_mode():
        ours, theirs = net(x), made(x)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()), "the net itself is left as it is"
    assert (ours - theirs).abs().max() <= 1e-5 * ours.abs().max().clamp(min=1)


SLOW = ("alexnet", "vgg11_bn", "googlenet", "preact_resnet18", "plain_preact_resnet18", "resnext29_8x64d:1-1-1")


@pytest.mark.parametrize(
    ("name", "side"), [pytest.param(*f, marks=[pytest.mark.slow] if f[0] in SLOW else []) for f in FAMILIES]
)
def test_a_folded_net_says_the_same_and_has_no_norms(name, side):
    torch.manual_seed(0)
    alike(shaken(build(name, classes=5)), side)


def test_a_net_with_stochastic_depth_and_units_taken_out_says_the_same():
    from dataclasses import replace

    torch.manual_seed(0)
    net = shaken(build(replace(find("cifar_resnet14"), drop_depth=0.5), classes=5))
    units(net)[1].branch = Zero()
    alike(net, 16)


def test_frozen_norms_are_folded_too():
    from residua.detect.parts import with_norms

    torch.manual_seed(0)
    alike(with_norms(shaken(build("resnet18:1-1-1-1", classes=5)), "frozen"), 40)


def test_only_a_norm_right_behind_a_convolution_goes_into_it():
    torch.manual_seed(0)
    made = folded(shaken(build("cifar_preact8")))
    first = next(m for m in made.modules() if isinstance(m, Residual)).branch
    assert isinstance(first.bn1, Affine) and not hasattr(first, "bn2") and first.conv1.bias is not None
