"""What is measured is what the definitions say, and measuring changes nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from residua.data.batches import Batch
from residua.depth.chain import chain, removable, run
from residua.depth.measure import Measurement, gradients, measure, parameters
from residua.depth.probe import Probe, layers
from residua.engine import Engine
from residua.errors import DataError, UsageError
from residua.nn.blocks import DropBranch, Residual
from residua.nn.resnet import Net, initialise, units
from residua.nn.zoo import build

CPU = Engine("cpu")


@pytest.fixture(autouse=True)
def narrow_heads(monkeypatch):
    monkeypatch.setattr("residua.nn.classics.HIDDEN", 16)


def batches(n: int = 12, side: tuple[int, int] = (9, 7), size: int = 5) -> list[Batch]:
    numbers = torch.Generator().manual_seed(3)
    images = torch.randn(n, 3, *side, generator=numbers)
    targets = torch.randint(4, (n,), generator=numbers)
    return [Batch(images[i : i + size], targets[i : i + size], np.arange(n)[i : i + size]) for i in range(0, n, size)]


def net_of(name: str) -> Net:
    torch.manual_seed(1)
    net = build(name, classes=4).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean, std=0.2)
            nn.init.uniform_(m.weight, -1, 1.5)
    return net


def measured(net: nn.Module, **kind: object) -> Measurement:
    return list(measure(net, batches(**kind), 4, CPU))[-1]


@pytest.mark.parametrize("name", ["cifar_resnet14", "cifar_resnet14_C", "cifar_preact14", "resnext29_2x4d:1-2-1"])
@torch.no_grad()
def test_ratio_and_cosine_are_the_two_terms_of_the_sum(name):
    net = net_of(name)
    found = measured(net)
    x = torch.cat([b.images for b in batches()])
    for link in chain(net):
        if link.unit:
            unit = net.get_submodule(link.path)
            inner = link.module[0](x) if isinstance(link.module, nn.Sequential) else x
            shortcut, branch = unit.shortcut(inner).double().flatten(1), unit.branch(inner).double().flatten(1)
            row = next(u for u in found.units if u.unit == link.path)
            assert row.ratio == pytest.approx(float((branch.norm(dim=1) / shortcut.norm(dim=1)).mean()), rel=1e-5)
            cosine = functional.cosine_similarity(shortcut, shortcut + branch)
            assert row.cosine == pytest.approx(float(cosine.mean()), rel=1e-5, abs=1e-6)
        x = link.module(x)
    assert found.n == 12 and [u.unit for u in found.units] == [link.path for link in removable(net)]


@pytest.mark.parametrize(
    "name", ["cifar_resnet14", "cifar_plain14", "cifar_preact14", "wrn16_1", "vgg11_bn", "googlenet"]
)
def test_responses_are_those_of_every_layer_behind_its_norm(name):
    net = net_of(name)
    kind = {"side": (33, 35)} if name in ("vgg11_bn", "googlenet") else {}
    found = measured(net, **kind)
    seen: dict[str, list[torch.Tensor]] = {}
    names = {id(m): n for n, m in net.named_modules()}
    for _, module in layers(net):
        module.register_forward_hook(lambda m, x, y: seen.setdefault(names[id(m)], []).append(y.clone()))
    with torch.no_grad():
        for batch in batches(**kind):
            net(batch.images)
    assert [layer.index for layer in found.layers] == list(range(1, len(found.layers) + 1))
    for row, (path, module) in zip(found.layers, layers(net), strict=True):
        values = torch.cat(seen[names[id(module)]]).double()
        assert row.layer == path
        assert row.std == pytest.approx(float(values.std(correction=0)), rel=1e-9)
        assert row.mean == pytest.approx(float(values.mean()), rel=1e-7, abs=1e-9)


def test_the_papers_layers_are_measured_and_nothing_else():
    # 6n+1 of the 6n+2 layers are 3x3; projections are not weighted layers of the figure
    for name in ("cifar_resnet20", "cifar_plain20", "cifar_resnet20_B"):
        assert len(list(layers(net_of(name)))) == 19
    for path, module in layers(net_of("cifar_resnet20")):
        assert isinstance(module, nn.BatchNorm2d) and path.rpartition(".")[2].startswith("conv")
    ends = {path: type(m).__name__ for path, m in layers(net_of("cifar_preact14")) if path.startswith("stages.0.1")}
    assert ends == {"stages.0.1.branch.conv1": "BatchNorm2d", "stages.0.1.branch.conv2": "Conv2d"}


def test_a_unit_that_is_zero_has_learned_the_identity():
    net = net_of("cifar_resnet14")
    initialise(net, zero_last=True)
    found = measured(net)
    assert all(u.ratio == 0 and u.cosine == pytest.approx(1, abs=1e-6) and u.last_norm == 0 for u in found.units)
    assert sum(u.gradient_share for u in found.units) == pytest.approx(1)


def test_plain_nets_and_layers_have_the_parts_that_make_sense():
    plain = measured(net_of("cifar_plain14")).units
    assert all(u.ratio is None and u.shortcut == "none" for u in plain)
    assert [u.cosine is None for u in plain] == [False, False, True, False, True, False]
    for name in ("vgg11", "vgg11_bn", "googlenet", "alexnet"):
        side = (63, 65) if name == "alexnet" else (33, 35)
        rows = measured(net_of(name), side=side, n=3).units
        assert all(u.ratio is None for u in rows) and sum(u.gradient_share for u in rows) == pytest.approx(1)
        assert all((u.last_norm is None) == (name in ("vgg11", "alexnet")) for u in rows)


def test_shortcuts_are_named():
    kinds = {
        name: [u.shortcut for u in measured(net_of(name), n=2).units]
        for name in ("cifar_resnet8", "cifar_resnet8_B", "cifar_preact8_B", "cifar_plain8")
    }
    assert kinds == {
        "cifar_resnet8": ["identity", "zero-pad", "zero-pad"],
        "cifar_resnet8_B": ["identity", "projection", "projection"],
        "cifar_preact8_B": ["identity", "projection", "projection"],
        "cifar_plain8": ["none"] * 3,
    }


@pytest.mark.parametrize("name", ["cifar_resnet14", "cifar_preact14", "cifar_plain14"])
def test_the_gradient_is_that_of_the_mean_loss(name):
    net = net_of(name)
    batch = batches(n=40, size=40)[0]
    found = gradients(net, batch, CPU)
    loss = functional.cross_entropy(net(batch.images), batch.targets)
    loss.backward()
    for path, norm in found.items():
        own = [p.grad for p in net.get_submodule(path).branch.parameters()]
        assert norm == pytest.approx(float(torch.cat([g.flatten() for g in own]).norm()), rel=1e-3), path
    assert list(found) == list(parameters(net))


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_measuring_leaves_the_net_as_it_was(error):
    net = net_of("cifar_resnet14").train()
    state, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    grads = [torch.full_like(p, 3.0) for p in net.parameters()]
    for p, g in zip(net.parameters(), grads, strict=True):
        p.grad = g

    def data():
        yield batches()[0]
        if error:
            raise error

    if error:
        with pytest.raises(error):
            list(measure(net, data(), 4, CPU))
    else:
        list(measure(net, data(), 4, CPU))
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert all(p.grad is g and bool((g == 3).all()) for p, g in zip(net.parameters(), grads, strict=True))
    assert [m.training for m in net.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("name", ["cifar_resnet14", "wrn16_1", "vgg11_bn", "googlenet"])
@torch.no_grad()
def test_hooks_leave_the_output_alone(name):
    net = net_of(name)
    x = torch.randn(2, 3, 33, 35)
    expected = net(x)
    with Probe(net):
        assert torch.equal(net(x), expected)
    assert torch.equal(run(chain(net), x), expected)


def test_frozen_and_dropped_parts_are_measured_too():
    net = net_of("cifar_resnet14")
    for u in units(net):
        u.branch = DropBranch(u.branch, 0.5)
    for p in net.stages[0].parameters():
        p.requires_grad = False
    rows = measured(net).units
    assert [u.gradient_share == 0 for u in rows] == [True, True, False, False, False, False]
    assert all(u.ratio for u in rows)


def test_bad_input_is_said():
    with pytest.raises(DataError, match="no images"):
        list(measure(net_of("cifar_resnet8"), [], 4, CPU))
    bare = Net(nn.Identity(), [nn.Sequential()], nn.Identity())
    with pytest.raises(UsageError, match="no units"):
        list(measure(bare, batches(), 4, CPU))
    assert isinstance(units(net_of("cifar_resnet8"))[0], Residual)
