"""Occlusion and integrated gradients: captum's where it serves, checked by loops written out, and complete."""

import copy
import sys

import pytest
import torch
from torch import Tensor, nn

from explain.conftest import CLASSICS, CPU, images, images_for, net_of
from residua.errors import UsageError
from residua.explain import pixels
from residua.explain.pixels import captum, integrated, occluded, pixel_maps, smoothed

TARGETS = torch.tensor([2, 0, 3])


def logit(net: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).gather(1, targets[:, None])[:, 0]


def test_occlusion_is_the_mean_fall_of_the_logit_over_the_windows_that_hide_a_place():
    net, x = net_of("cifar_resnet8"), images(2, 12, 12)
    targets = TARGETS[:2]
    found = occluded(net, x, targets, CPU)
    window, stride = 2, 1  # a sixth and a twelfth of 12
    whole, total, n = logit(net, x, targets), torch.zeros(2, 12, 12), torch.zeros(12, 12)
    for top in range(0, 12 - window + 1, stride):
        for left in range(0, 12 - window + 1, stride):
            hidden = x.clone()
            hidden[:, :, top : top + window, left : left + window] = 0
            total[:, top : top + window, left : left + window] += (whole - logit(net, hidden, targets))[:, None, None]
            n[top : top + window, left : left + window] += 1
    assert found.shape == (2, 1, 12, 12)
    assert torch.allclose(found[:, 0], total / n, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["cifar_resnet14", "cifar_plain14"])
def test_integrated_gradients_sum_up_to_the_logit_above_the_mean_colours(name):
    net, x = net_of(name), images()
    found = integrated(net, x, TARGETS, CPU)
    due = logit(net, x, TARGETS) - logit(net, torch.zeros_like(x), TARGETS)
    assert found.shape == x.shape
    assert bool(((found.sum((1, 2, 3)) - due).abs() <= pixels.CLOSE * due.abs().clamp_min(1) + 1e-4).all())


@pytest.mark.parametrize("method", pixels.PIXELS)
def test_a_map_does_not_depend_on_the_other_images(method):
    net, x = net_of("cifar_resnet8"), images()
    together = pixel_maps(net, x, TARGETS, CPU, method=method)
    assert together.shape == (3, *x.shape[2:]) and together.min() >= 0 and together.amax((1, 2)).min() > 0
    for i in range(3):
        alone = pixel_maps(net, x[i : i + 1], TARGETS[i : i + 1], CPU, method=method)[0]
        assert torch.allclose(alone, together[i], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["cifar_preact14", *CLASSICS])
@pytest.mark.parametrize("method", pixels.PIXELS)
def test_the_net_is_left_exactly_as_it_was(name, method, monkeypatch):
    monkeypatch.setattr(pixels, "WINDOW", 0.9)
    monkeypatch.setattr(pixels, "STRIDE", 0.5)
    monkeypatch.setattr(pixels, "FEWEST", 2)
    monkeypatch.setattr(pixels, "MOST", 2)
    net = net_of(name).train()
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    pixel_maps(net, images_for(name, 1), TARGETS[:1], CPU, method=method)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes and all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("method", pixels.PIXELS)
def test_without_captum_one_line_says_what_to_install(method, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UsageError) as error:
        captum(method)
    assert "\n" not in str(error.value) and "pip install 'residua[explain]'" in str(error.value)
    assert method in str(error.value) and error.value.exit_code == 2


def test_smoothing_keeps_what_is_strong_and_cuts_single_specks_off():
    speck, patch = torch.zeros(64, 64), torch.zeros(64, 64)
    speck[5, 5], patch[30:40, 20:30] = 100, 1
    found = smoothed(torch.stack([speck + patch, torch.zeros(64, 64)]))
    assert found.shape == (2, 64, 64) and found.min() >= 0 and not found[1].any()
    assert found[0, 5, 5] < 20 and found[0, 33:37, 23:27].min() > 0.9 and found[0, 50:].max() == 0
