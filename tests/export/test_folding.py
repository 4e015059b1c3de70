"""Norms are folded by an exact law: the same logits to the rounding of fp32, for every family."""

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from export.conftest import shaken
from export.structures import STRUCTURES, WHOLE, structure
from residua.export.folding import Affine, folded
from residua.nn.blocks import Residual, Zero
from residua.nn.resnet import units
from residua.nn.zoo import build, find


def alike(net, side, channels=3):
    made, x = folded(net), torch.randn(3, channels, side, side + 1)
    assert not [m for m in made.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d)]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.inference_mode():
        ours, theirs = net(x), made(x)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()), "the net itself is left as it is"
    assert (ours - theirs).abs().max() <= 1e-5 * ours.abs().max().clamp(min=1)


@pytest.mark.parametrize("what", STRUCTURES)
def test_a_folded_net_says_the_same_and_has_no_norms(what, monkeypatch):
    torch.manual_seed(0)
    net, _, side = structure(what, monkeypatch)
    alike(net, side)


@pytest.mark.whole
@pytest.mark.parametrize(("name", "side"), WHOLE)
def test_a_whole_net_says_the_same_when_it_is_folded(name, side):
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
