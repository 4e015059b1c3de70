"""Nets without norms, and nets with more channels everywhere: suffixes of a name."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from residua.errors import UsageError
from residua.nn import modelfile
from residua.nn.arch import from_json, to_json
from residua.nn.cost import cost
from residua.nn.names import to_torchvision
from residua.nn.resnet import units
from residua.nn.zoo import build, find

NETS = ("cifar_plain8", "cifar_resnet8_B", "cifar_preact8", "cifar_preact164:1-1-1", "resnext11_2x4d:1-1-1")


@pytest.mark.parametrize("name", NETS)
def test_a_net_without_norms_has_biases_instead(name):
    with_norms, net = build(name), build(name.replace(":", "_nobn:") if ":" in name else f"{name}_nobn")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == sum(isinstance(m, nn.Conv2d) for m in with_norms.modules())
    assert all(m.bias is not None and not m.bias.any() for m in convs)


@pytest.mark.parametrize("name", NETS)
def test_a_unit_without_norms_leaves_its_input_as_it_is(name):
    net = build(name.replace(":", "_nobn:") if ":" in name else f"{name}_nobn", channels=1)
    seen: list[bool] = []
    before: dict[nn.Module, torch.Tensor] = {}
    for unit in units(net):
        unit.register_forward_pre_hook(lambda m, args: before.update({m: args[0].clone()}))
        unit.register_forward_hook(lambda m, args, y: seen.append(torch.equal(before[m], args[0])))
    net(torch.randn(2, 1, 16, 18)).sum().backward()
    assert seen and all(seen)
    assert all(p.grad is not None for p in net.parameters())


def test_a_row_from_before_there_was_a_choice_has_norms():
    old = {k: v for k, v in to_json(find("cifar_resnet8")).items() if k != "norm"}
    assert from_json(json.loads(json.dumps(old))) == find("cifar_resnet8")
    with pytest.raises(UsageError, match="unknown norm 'layer'"):
        from_json({**old, "norm": "layer"})


def test_a_net_without_norms_survives_its_model_file(tmp_path):
    row = replace(find("cifar_preact8_nobn"), classes=3, channels=1)
    net = build(row).eval()
    header = modelfile.Header(row=row, classes=("a", "b", "c"), view={})
    modelfile.save(tmp_path / "m.safetensors", net, header)
    again, _ = modelfile.load(tmp_path / "m.safetensors")
    x = torch.randn(2, 1, 5, 7)
    assert torch.equal(again(x), net(x))


def test_torchvision_has_no_nets_without_norms():
    with pytest.raises(UsageError, match="none without norms"):
        to_torchvision(build("resnet18_nobn").state_dict(), find("resnet18_nobn"))


def test_twice_the_channels_cost_about_four_times_as_much():
    row, wide = find("cifar_resnet20"), find("cifar_resnet20_w2")
    assert (wide.widths, wide.stem_width) == (tuple(2 * w for w in row.widths), 2 * row.stem_width)
    assert 3.9 < cost(wide).macs / cost(row).macs < 4.1
    assert find("cifar_resnet20_B_w2_nobn").name == "cifar_resnet20_B_w2_nobn"
    with pytest.raises(UsageError, match="no form _w2"):
        find("vgg16_w2")
