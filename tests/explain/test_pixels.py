"""Occlusion and integrated gradients are captum's, add up, and say what is missing where captum is not there."""

import sys

import captum.attr
import pytest
import torch

from explain.conftest import CPU, images, net_of
from residua.errors import UsageError
from residua.explain import METHODS
from residua.explain.pixels import PIXELS, captum as library, integrated, occluded, pixel_maps, smoothed

TARGETS = torch.tensor([2, 0, 3])


def test_integrated_gradients_add_up_to_the_logit_above_that_of_the_mean_colour():
    net, x = net_of("cifar_resnet8"), images()
    parts = integrated(net, x, TARGETS, CPU)
    with torch.no_grad():
        due = (net(x) - net(torch.zeros_like(x))).gather(1, TARGETS[:, None])[:, 0]
    assert parts.shape == x.shape
    assert bool(((parts.sum((1, 2, 3)) - due).abs() <= 0.05 * due.abs().clamp_min(1)).all())


def test_occlusion_is_captums_with_a_sixth_of_the_side_as_window():
    net, x = net_of("cifar_resnet8"), images(2, 24, 24)
    expected = captum.attr.Occlusion(net).attribute(
        x, target=TARGETS[:2], sliding_window_shapes=(3, 4, 4), strides=(3, 2, 2), baselines=0
    )
    found = occluded(net, x, TARGETS[:2], CPU)
    assert torch.allclose(found, expected[:, :1].detach().float(), atol=1e-5)


@pytest.mark.parametrize("method", PIXELS)
def test_maps_are_never_below_zero_and_of_the_views_size(method):
    net = net_of("cifar_resnet8")
    found = pixel_maps(net, images(2, 16, 16), TARGETS[:2], CPU, method=method)
    assert found.shape == (2, 16, 16) and found.dtype == torch.float32 and found.min() >= 0 and found.max() > 0


@pytest.mark.parametrize("side", [8, 64, 225])
def test_smoothing_keeps_the_size_and_cuts_off_the_brightest_specks(side):
    speck = torch.rand(2, side, side, generator=torch.Generator().manual_seed(0)) * 0.1
    speck[:, side // 2, side // 2] = 100
    soft = smoothed(speck)
    assert soft.shape == speck.shape and soft.max() < 100 and bool((smoothed(torch.zeros(1, side, side)) == 0).all())


@pytest.mark.parametrize("method", PIXELS)
def test_without_captum_one_line_says_how_to_get_it(method, monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(UsageError) as error:
        library(method)
    assert "pip install 'residua[explain]'" in str(error.value) and "\n" not in str(error.value)
    assert method in METHODS
