import re
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from torch.nn import functional

from residua.nn.arch import Arch
from residua.nn.blocks import DropBranch, Residual, Zero
from residua.nn.cost import blueprint
from residua.nn.names import theirs
from residua.nn.resnet import drop_depth, initialise, last_norms, resnet, units
from residua.nn.zoo import build, find

TORCHVISION = [
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
]
TIMM = [
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200"),
    *("resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
    *("wide_resnet50_2", "wide_resnet101_2"),
]
DEEP = ("101", "152", "200")
KEPT = ("resnet18", "resnet50", "resnext50_32x4d")  # of timm's, whose names are torchvision's
FAMILIES = [
    *("resnet18:1-1-1-1", "resnet50:1-1-1-1", "resnet50_v1:1-1-1-1", "resnext50_32x4d:1-1-1-1", "plain18:1-1-1-1"),
    *("preact_resnet18:1-1-1-1", "preact_resnet50:1-2-1-1", "plain_preact_resnet18:1-1-1-1", "wide_resnet50_2:1-1-1-1"),
    *("cifar_resnet8", "cifar_resnet8_B", "cifar_resnet8_C", "cifar_plain8", "cifar_preact8", "cifar_preact164:1-1-1"),
    *("wrn10_2", "resnext29_8x64d:1-1-1", "resnet18_A:1-1-1-1", "preact_resnet18_C:1-1-1-1"),
]
TINY = Arch(name="tiny", source="", depths=(1,), widths=(4,), stem="3x3", stem_width=4, classes=4)


def slow_if(slow, names):
    return [pytest.param(n, marks=pytest.mark.slow) if slow(n) else n for n in names]


def deep(name):
    return any(d in name for d in DEEP)


@pytest.mark.parametrize("name", slow_if(deep, TORCHVISION))
def test_every_residual_net_equals_torchvision_bit_for_bit(name, twins, same):
    same(*twins(find(name), getattr(torchvision.models, name)))


@pytest.mark.parametrize("name", slow_if(lambda n: n not in KEPT, TIMM))
def test_every_residual_net_equals_timm_bit_for_bit(name, twins, same):
    same(*twins(find(name), lambda: timm.create_model(name)))


@pytest.mark.parametrize("depth", slow_if(deep, ["18", "34", "50", "101", "152"]))
def test_preactivation_nets_equal_timm_bit_for_bit(depth, twins, same):
    row = find(f"preact_resnet{depth}")
    mine, foreign = twins(row, lambda: timm.create_model(f"resnetv2_{depth}"), layout="timm")
    x = torch.randn(2, 3, 33, 47)
    with torch.no_grad():
        y = foreign.eval()(x)
        torch.testing.assert_close(mine.eval()(x), y, rtol=1e-5, atol=1e-5 * float(y.abs().max()))
    # timm's classifier is a 1x1 convolution, whose kernel rounds otherwise: the same weights as a linear layer
    head = torch.nn.Linear(mine.head.fc.in_features, mine.head.fc.out_features)
    head.weight, head.bias = mine.head.fc.weight, mine.head.fc.bias
    assert torch.equal(foreign.head.fc.weight.flatten(1), head.weight) and torch.equal(foreign.head.fc.bias, head.bias)
    foreign.head.fc = torch.nn.Sequential(torch.nn.Flatten(), head)
    same(mine, foreign, names=theirs(row, "timm"))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("resnet50", {}),
        ("resnet50:1-2-1-1", {"depths": [1, 2, 1, 1]}),
        ("resnet18", {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}),
        ("resnet50_v1:1-1-2-1", {"depths": [1, 1, 2, 1], "downsample_in_bottleneck": True}),
    ],
)
def test_residual_nets_equal_hugging_face_bit_for_bit(name, config, twins, same):
    from transformers import ResNetConfig, ResNetForImageClassification

    row = find(name)
    mine, foreign = twins(
        row, lambda: ResNetForImageClassification(ResNetConfig(num_labels=1000, **config)), layout="huggingface"
    )
    same(mine, foreign, names=theirs(row, "huggingface"))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_gets_a_gradient(name):
    net = build(name, classes=4)
    functional.cross_entropy(net(torch.randn(2, 3, 35, 41)), torch.tensor([0, 3])).backward()
    assert [k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(("name", "size"), [("vgg11_bn", (32, 35)), ("alexnet", (63, 65)), ("googlenet", (33, 47))])
def test_every_parameter_of_the_classics_gets_a_gradient_auxiliary_heads_included(name, size, filled):
    torch.manual_seed(0)
    row = replace(find(name), classes=4)
    if row.family == "vgg":  # a hundred million weights behind 512 channels would take seconds
        row = replace(row, widths=tuple((8,) * len(w) for w in row.widths))
    net = filled(row)
    outputs = net(torch.randn(2, 3, *size))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(functional.cross_entropy(y, torch.tensor([0, 3])) for y in outputs).backward()
    assert [k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_one_unit_net_trains():
    torch.manual_seed(0)
    net = resnet(TINY)
    x, y = torch.randn(12, 3, 5, 7), torch.arange(12) % 4
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_units_are_found_by_their_class_one_for_each_in_the_row(name):
    row = find(name)
    assert len(units(blueprint(row))) == sum(row.depths)


@pytest.mark.parametrize("name", FAMILIES)
def test_names_tell_the_stage_the_unit_and_the_layer(name):
    net = blueprint(find(name))
    weighted = [k for k, m in net.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    unit = r"stages\.\d+\.\d+\.(unit\.)?(branch\.conv[123]|shortcut\.conv)"
    assert [k for k in weighted if not re.fullmatch(rf"stem\.conv1|head\.fc|{unit}", k)] == []
    assert weighted[0] == "stem.conv1" and weighted[-1] == "head.fc"


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18", "cifar_resnet8", "vgg11", "googlenet"])
def test_features_are_finest_first_and_the_head_reads_the_last(name):
    net = blueprint(find(name)).eval()
    x = torch.empty(2, 3, 64, 96, device="meta")
    maps = net.features(x)
    areas = [m.shape[2] * m.shape[3] for m in maps]
    assert areas == sorted(areas, reverse=True) and len(set(areas)) == len(maps) == len(net.stages)
    assert net.head(maps[-1]).shape == net(x).shape == (2, net(x).shape[1])


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_resnet32_B", "cifar_preact20", "resnet18_A:1-1-1-1"])
def test_zero_last_makes_every_identity_unit_the_identity(name):
    net = build(name, classes=4)
    initialise(net, zero_last=True)
    net.eval()
    chain = [u for u in units(net) if isinstance(u.shortcut, torch.nn.Identity)]
    assert chain
    for u in chain:
        first = next(m for m in u.branch.children() if hasattr(m, "weight"))
        c = getattr(first, "in_channels", None) or first.num_features
        x = torch.randn(2, c, 5, 7).relu()  # what a unit of a post-activation net receives
        assert torch.equal(u(x), x)


def test_a_hook_on_a_branch_sees_f_untouched():
    net = resnet(TINY).eval()
    (unit,) = units(net)
    seen = []
    unit.branch.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    x = net.stem(torch.randn(2, 3, 5, 7))
    before = x.clone()
    y = unit(x)
    ((entered, f),) = seen
    assert torch.equal(entered, before) and torch.equal(x, before)
    assert torch.equal(f, unit.branch(x))
    assert torch.equal(y, (x + f).relu())


def test_a_unit_without_its_branch_is_its_shortcut():
    net = build("resnet18:1-1-1-1", classes=4).eval()
    for unit in units(net):
        c = next(unit.branch.children()).in_channels
        unit.branch = Zero()
        x = torch.randn(2, c, 5, 7)
        assert torch.equal(unit(x), unit.shortcut(x).relu())


def test_a_plain_unit_is_its_branch():
    unit = units(build("cifar_plain8").eval())[1]
    assert isinstance(unit, Residual) and isinstance(unit.shortcut, Zero)
    x = torch.randn(2, 16, 5, 7)
    assert torch.equal(unit(x), unit.branch(x).relu())


def test_last_norms_end_each_branch():
    net = build("resnet50:1-1-1-1")
    assert [n.num_features for n in last_norms(net)] == [256, 512, 1024, 2048]
    assert list(last_norms(build("cifar_preact8"))) == []


def test_stochastic_depth_keeps_names_and_evaluation_to_the_bit():
    plain, dropping = (build(replace(find("cifar_resnet14"), drop_depth=p)) for p in (0.0, 0.5))
    assert list(plain.state_dict()) == list(dropping.state_dict())
    dropping.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 15, 17)
    assert torch.equal(plain.eval()(x), dropping.eval()(x))


def test_units_are_dropped_more_and_more_often_with_depth():
    net = build("cifar_resnet14")
    drop_depth(net, 0.6)
    assert [u.branch.p for u in units(net)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert all(isinstance(u.branch, DropBranch) for u in units(net))


def test_initialisation_is_he_s_fan_out():
    torch.manual_seed(0)
    net = build("cifar_resnet8")
    weight = net.stages[2][0].branch.conv2.weight
    assert float(weight.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert float(weight.detach().mean()) == pytest.approx(0, abs=1e-3)
