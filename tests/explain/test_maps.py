"""Maps are what the papers say, point where the object is, and leave the net as it was."""

import copy

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from explain.conftest import CLASSICS, CPU, RESIDUAL, images, images_for, net_of
from residua.engine import Engine
from residua.errors import UsageError
from residua.explain.maps import RULES, at_stage, fitted, grad_cam_plus_plus, layer_cam, scaled, stage_maps, stage_of
from residua.nn.blocks import DropBranch
from residua.nn.resnet import units

TARGETS = torch.tensor([2, 0, 3])


def maps(net: nn.Module, x: Tensor, targets: Tensor = TARGETS, **asked: object) -> Tensor:
    words = {"method": "grad-cam", "stage": len(net.stages) - 1} | asked
    return stage_maps(net, x, targets, CPU, **words)


@pytest.mark.parametrize("name", ["cifar_resnet14", "cifar_preact14_B", "resnet50:1-1-2-1", *CLASSICS])
@pytest.mark.parametrize("stage", [0, -1])
def test_grad_cam_is_captums_at_the_last_module_of_a_stage(name, stage):
    net = net_of(name)
    stage %= len(net.stages)
    found = maps(net, images_for(name), stage=stage)
    # captum hooks a module; an in-place layer behind it would change what it has seen
    other = copy.deepcopy(net)
    for m in other.modules():
        if isinstance(m, nn.ReLU):
            m.inplace = False
    layer = other.stages[stage]
    reference = captum.attr.LayerGradCam(other, layer)
    expected = reference.attribute(images_for(name), target=TARGETS, relu_attributions=True).detach()[:, 0]
    assert found.shape == expected.shape and (found.max() > 0 or found[0].numel() == 1)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))


def test_grad_cam_plus_plus_is_the_papers_equation_written_out():
    a, g = torch.rand(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    found = grad_cam_plus_plus(a, g)
    for n in range(2):
        total = torch.zeros(3, 4)
        for k in range(5):
            weight = 0.0
            for i in range(3):
                for j in range(4):
                    second, third = g[n, k, i, j] ** 2, g[n, k, i, j] ** 3
                    alpha = second / (2 * second + a[n, k].sum() * third)
                    weight += alpha * max(g[n, k, i, j], torch.tensor(0.0))
            total += weight * a[n, k]
        assert torch.allclose(found[n], total.clamp_min(0), rtol=1e-3, atol=1e-5)
    assert bool((grad_cam_plus_plus(a, torch.zeros_like(g)) == 0).all())


def test_layer_cam_is_the_papers_equation_written_out():
    a, g = torch.rand(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    expected = torch.stack([sum(g[n, k].clamp_min(0) * a[n, k] for k in range(5)) for n in range(2)])
    assert torch.allclose(layer_cam(a, g), expected.clamp_min(0), atol=1e-6)


def test_the_stage_is_the_sum_of_its_last_unit():
    net = net_of("cifar_resnet14")
    seen = []
    handle = units(net)[3].register_forward_hook(lambda m, x, y: seen.append(y.clone()))
    with torch.no_grad():
        net(images())
    handle.remove()
    features, gradient = at_stage(net, images(), TARGETS, CPU, 1)
    assert torch.equal(features, seen[0]) and gradient.shape == features.shape


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("name", ["cifar_resnet14", "cifar_preact14", "cifar_plain14", "googlenet"])
def test_a_map_does_not_depend_on_the_other_images(name, method):
    net, x = net_of(name), images_for(name)
    together = maps(net, x, method=method)
    for i in range(3):
        alone = maps(net, x[i : i + 1], TARGETS[i : i + 1], method=method)[0]
        assert torch.allclose(alone, together[i], rtol=1e-3, atol=1e-5 * float(together[i].max()) + 1e-12)


@pytest.mark.parametrize("method", RULES)
def test_the_class_matters(method):
    net, x = net_of("cifar_resnet14"), images()
    a, b = (maps(net, x, torch.full((3,), c), method=method) for c in (0, 1))
    assert a.max() > 0 and not torch.allclose(a, b, rtol=0.05)


@pytest.mark.parametrize("name", [*RESIDUAL[:5], *CLASSICS])
def test_the_net_is_left_exactly_as_it_was(name):
    net = net_of(name).train()
    for u in units(net):
        u.branch = DropBranch(u.branch, 0.5)
    next(net.parameters()).requires_grad = False
    before = copy.deepcopy(net.state_dict())
    modes, wants = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    modules = [id(m) for m in net.modules()]
    with torch.no_grad():
        maps(net, images_for(name))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes and [p.requires_grad for p in net.parameters()] == wants
    assert [id(m) for m in net.modules()] == modules and all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())


def test_a_map_is_fitted_to_the_square_and_to_0_and_1():
    found = fitted(torch.rand(2, 3, 5), 16)
    assert found.shape == (2, 16, 16) and found.dtype == torch.float32
    assert torch.equal(found.amax((1, 2)), torch.ones(2)) and found.min() >= 0
    nothing = scaled(torch.stack([torch.zeros(4, 4), torch.eye(4) * 1e-30]))
    assert bool((nothing[0] == 0).all()) and nothing[1].max() == 1


def test_a_bright_corner_of_the_map_is_a_bright_corner_of_the_square():
    cells = torch.zeros(1, 4, 4)
    cells[0, 0, 3] = 2
    found = fitted(cells, 32)[0]
    assert found[:8, 24:].mean() > 0.5 and found[8:, :].mean() < 0.02 and found[:, :16].max() == 0


def test_a_stage_that_is_not_there_is_said():
    net = net_of("cifar_resnet14")
    assert [stage_of(net, s) for s in (None, 0, 2)] == [2, 0, 2]
    for stage in (3, -1):
        with pytest.raises(UsageError, match=f"--stage {stage}: this net has stages 0 to 2"):
            stage_of(net, stage)


def test_other_precisions_give_nearly_the_same_maps():
    net, x = net_of("cifar_resnet14"), images()
    low = stage_maps(net, x, TARGETS, Engine("cpu", "bf16"), method="grad-cam", stage=2)
    assert low.dtype == torch.float32
    assert torch.allclose(scaled(low), scaled(maps(net, x)), atol=0.15)
