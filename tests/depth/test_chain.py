"""A net as a chain: the composition is the net, and what is left out comes back."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from residua.depth.chain import Fit, chain, keeps_shape, remainder, removable, run, without
from residua.errors import UsageError
from residua.nn.arch import Arch
from residua.nn.blocks import DropBranch, Residual, Zero
from residua.nn.cost import cost_of
from residua.nn.resnet import drop_depth, units
from residua.nn.zoo import build, find

SMALL = (
    "cifar_resnet20", "cifar_plain20", "cifar_preact20", "plain_cifar_preact20", "cifar_preact20_A", "cifar_resnet20_B",
    "cifar_resnet20_C", "wrn16_1", "resnext29_2x4d", "cifar_preact164:1-2-1", "resnet18", "resnet50:1-1-2-1", "plain18",
    "preact_resnet50:1-2-1-1", "resnet50_v1:1-1-1-1",
)  # fmt: skip
CLASSIC = ("alexnet", "vgg11", "vgg11_bn", "googlenet")


#: The classics' shapes with few channels.
NARROW = {
    "vgg11": ((4,), (6,), (8, 8), (6, 6), (6, 6)),
    "alexnet": ((6,), (8,), (10, 7, 7)),
}


@pytest.fixture(autouse=True)
def narrow_heads(monkeypatch):
    monkeypatch.setattr("residua.nn.classics.HIDDEN", 16)


def net_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    row = find(name)
    if name.removesuffix("_bn") in NARROW:
        row = replace(row, widths=NARROW[name.removesuffix("_bn")])
    elif isinstance(row, Arch) and len(row.widths) == 4:
        row = replace(row, widths=(8, 16, 24, 32), stem_width=8)
    net = build(row, classes=4).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):  # a fresh norm is nearly the identity
            nn.init.normal_(m.running_mean, std=0.1)
            nn.init.uniform_(m.running_var, 0.5, 1.5)
            nn.init.uniform_(m.weight, 0.5, 1)
    return net


def images(name: str) -> torch.Tensor:
    height, width = (63, 67) if name in CLASSIC else (13, 9)
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [*SMALL, *CLASSIC])
@torch.no_grad()
def test_the_links_in_order_are_the_net_bit_for_bit(name):
    net, x = net_of(name), images(name)
    links = chain(net)
    assert torch.equal(run(links, x), net(x))
    assert (links[0].path, links[0].stage, links[-1].path, links[-1].stage) == ("stem", -1, "head", len(net.stages))
    assert not links[0].removable and not links[-1].removable
    inside = {id(m) for link in links for m in link.module.modules() if not list(m.children())}
    assert inside >= {id(m) for p in (net.stem, net.stages, net.head) for m in p.modules() if not list(m.children())}


@pytest.mark.parametrize("name", [*SMALL, *CLASSIC])
@torch.no_grad()
def test_a_net_without_a_link_is_the_chain_with_its_remainder(name):
    net, x = net_of(name), images(name)
    links = chain(net)
    for i, link in enumerate(links):
        if not link.removable:
            continue
        kept = x = images(name)
        before = run(links[:i], x)
        held = before.clone()
        shape = link.module(before).shape
        rest = remainder(link)(before)
        assert rest.shape == shape, link.path
        expected = run(links[i + 1 :], rest)
        assert torch.equal(before, held), "a remainder leaves its input alone"
        with without(net, [link.path]):
            assert torch.equal(net(kept), expected), link.path


def test_units_carry_the_paths_of_their_residuals():
    for name in ("cifar_resnet20", "cifar_plain20", "wrn16_1"):
        net = net_of(name)
        links = [link for link in chain(net) if link.unit]
        assert [net.get_submodule(link.path) for link in links] == units(net)
        assert [link.stage for link in links] == [int(link.path.split(".")[1]) for link in links]
    assert "stages.1.0.unit" in [link.path for link in chain(net_of("wrn16_1"))]


@pytest.mark.parametrize(("name", "first", "n"), [
    ("vgg11", "stages.0.conv1", 8), ("alexnet", "stages.0.conv1", 5), ("googlenet", "stem.conv1", 12),
])  # fmt: skip
def test_classics_are_chains_of_layers_and_modules(name, first, n):
    links = removable(net_of(name))
    assert (links[0].path, len(links)) == (first, n)
    assert not any(link.unit for link in links)


def test_a_removed_unit_is_what_its_definition_says():
    net, x = net_of("cifar_resnet20"), torch.randn(2, 16, 5, 7).relu()
    same, wider = (link for link in chain(net) if link.path in ("stages.0.1", "stages.1.0"))
    assert torch.equal(remainder(same)(x), x)
    assert torch.equal(remainder(wider)(x), net.stages[1][0].shortcut(x))


def test_a_plain_unit_leaves_the_identity_or_shortcut_a():
    plain, residual = net_of("cifar_plain20"), net_of("cifar_resnet20")
    x = torch.randn(2, 16, 5, 7).relu()
    same, wider = (link for link in chain(plain) if link.path in ("stages.0.1", "stages.1.0"))
    assert torch.equal(remainder(same)(x), x)
    assert torch.equal(remainder(wider)(x), residual.stages[1][0].shortcut(x))


def test_fit_cuts_and_pads_half_on_each_side():
    x = torch.arange(1.0, 6).reshape(1, 5, 1, 1).expand(1, 5, 3, 4)
    assert Fit(5, 2, 1)(x)[0, :, 0, 0].tolist() == [3, 4]
    assert Fit(5, 8, 1)(x)[0, :, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    assert Fit(5, 5, 2)(x).shape == (1, 5, 2, 2)


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_plain20", "wrn16_1", "vgg11_bn", "googlenet"])
def test_the_net_comes_back_whole_also_after_an_error(name):
    net = net_of(name)
    modules = dict(net.named_modules())
    state = {k: v.clone() for k, v in net.state_dict().items()}
    paths = [link.path for link in removable(net)]
    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error), without(net, paths):
            assert sum(p.numel() for p in net.parameters()) < sum(v.numel() for v in state.values())
            raise error
    after = dict(net.named_modules())
    assert list(after) == list(modules) and all(after[k] is m for k, m in modules.items())
    assert list(net.state_dict()) == list(state)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


def test_nested_removals_come_off_in_turn():
    net, x = net_of("cifar_resnet20"), images("cifar_resnet20")
    whole = net(x)
    with without(net, ["stages.0.1"]):
        one = net(x)
        with without(net, ["stages.0.1", "stages.2.0"]):
            assert not torch.equal(net(x), one)
        assert torch.equal(net(x), one)
    assert torch.equal(net(x), whole)


def test_a_path_that_is_no_unit_is_named_with_the_nearest():
    net = net_of("cifar_resnet20")
    with pytest.raises(UsageError, match=r"stages\.0\.1"), without(net, ["stages.0.11"]):
        pass
    with pytest.raises(UsageError), without(net, ["head"]):
        pass
    with pytest.raises(TypeError):
        chain(nn.Linear(1, 1))


def test_stochastic_depth_stays_on_the_units_that_stay():
    net = build("cifar_resnet20")
    drop_depth(net, 0.5)
    net.eval()
    x = images("cifar_resnet20")
    assert torch.equal(run(chain(net), x), net(x))
    with without(net, ["stages.1.1"]):
        assert isinstance(net.stages[1][1].branch, Zero)
    assert all(isinstance(u.branch, DropBranch) for u in units(net)) and isinstance(net.stages[1][1], Residual)


def test_the_cost_of_a_net_without_units_can_be_counted():
    for name, side in (("cifar_plain20", 32), ("cifar_resnet20", 32), ("alexnet", 64), ("googlenet", 32)):
        net = net_of(name)
        whole = cost_of(net, 3, side).macs
        for link in removable(net):
            with without(net, [link.path]):
                assert cost_of(net, 3, side).macs < whole


def test_links_that_keep_the_shape_may_change_places():
    kept = {
        name: [link.path for link in removable(net_of(name)) if keeps_shape(link)] for name in (*CLASSIC, "wrn16_1")
    }
    assert kept["vgg11"] == ["stages.2.conv2", "stages.3.conv2", "stages.4.conv2"]
    assert kept["alexnet"] == ["stages.2.conv3"]
    assert kept["googlenet"] == ["stages.1.b", "stages.1.c"]
    assert kept["wrn16_1"] == ["stages.0.0", "stages.0.1", "stages.1.1", "stages.2.1"]
