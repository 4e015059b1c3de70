from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from residua.depth import deepen
from residua.depth.deepen import deepened, difference, grown, row_named, row_with, tolerance
from residua.engine import Engine
from residua.errors import UsageError
from residua.nn.blocks import DropBranch
from residua.nn.resnet import units
from residua.nn.zoo import build, find
from residua.training import carry
from residua.training.recipe import Recipe
from residua.training.state import begin
from residua.training.step import take_step

EXACT = [
    "resnet18:1-1-1-1", "resnet50:1-1-1-1", "resnet50_v1:1-1-1-1", "resnext50_32x4d:1-1-1-1", "wide_resnet50_2:1-1-1-1",
    "preact_resnet50:1-1-1-1", "cifar_resnet8", "cifar_resnet8_B", "cifar_resnet8_C", "cifar_preact8",
    "cifar_preact8_B", "wrn10_2", "resnext29_2x8d:1-2-1",
]  # fmt: skip
PLAIN = ["cifar_plain8", "plain18:1-1-1-1", "plain_resnext101_32x8d:1-1-1-1"]
RECIPE = Recipe(steps=10, batch_size=4, lr=0.05, weight_decay=1e-4)
CPU = Engine("cpu")


def lived(name, classes=4):
    """A net whose norms have seen something and whose weights are not fresh."""
    torch.manual_seed(0)
    row = replace(find(name), classes=classes)
    net = build(row)
    for _ in range(2):
        net(torch.randn(4, 3, 17, 19))
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight, 1, 0.2)
            nn.init.normal_(m.bias, 0, 0.2)
    return net.eval(), row


def pictures(n=3, side=(17, 19)):
    return torch.randn(n, 3, *side, generator=torch.Generator().manual_seed(1))


def more(row):
    return tuple(d + 1 + i % 2 for i, d in enumerate(deepen.depths_of(row)))


@pytest.mark.parametrize("name", EXACT)
def test_deepening_leaves_the_function_unchanged_to_the_last_bit(name):
    net, row = lived(name)
    made = deepened(net, row, more(row))
    x = pictures()
    with torch.no_grad():
        assert torch.equal(made.net(x), net(x))
    assert made.row.depths == more(row) and made.row.name.endswith("-".join(map(str, more(row))))
    assert len(units(made.net)) == sum(more(row)) and not made.net.training


@pytest.mark.parametrize("name", [*PLAIN, "cifar_resnet8_C"])
def test_identity_layers_keep_the_function_of_nets_without_free_shortcuts(name):
    net, row = lived(name)
    made = deepened(net, row, more(row), images=[pictures(8), pictures(4)])
    x = pictures()
    with torch.no_grad():
        y = net(x)
        assert (made.net(x) - y).abs().max() <= tolerance(row, y.abs().max().item())


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
def test_a_vgg_gets_identity_layers(name, monkeypatch):
    monkeypatch.setattr("residua.nn.classics.HIDDEN", 32)
    row = replace(find(name), classes=4, widths=((4,), (6,), (8, 8), (8, 8), (8, 8)))
    torch.manual_seed(0)
    net = build(row)
    net(pictures(4, (32, 35)))
    net.eval()
    made = deepened(net, row, (2, 1, 3, 4, 2), images=[pictures(4, (32, 35))])
    x = pictures(3, (33, 40))
    with torch.no_grad():
        assert (made.net(x) - net(x)).abs().max() <= tolerance(row, net(x).abs().max().item())
    assert made.row.widths == ((4, 4), (6,), (8, 8, 8), (8, 8, 8, 8), (8, 8)) and made.row.layers == 11 + 4
    assert "stages.0.conv2" in made.new and made.row.name == f"{name}:2-1-3-4-2"


def test_with_images_a_plain_net_keeps_its_function_in_training_too():
    net, row = lived("cifar_plain8")
    x = pictures(16)
    made, bare = deepened(net, row, (3, 3, 3), images=[x]), deepened(net, row, (3, 3, 3))
    with torch.no_grad():
        y = net(x)
        for m in made.net.modules():  # the old norms as in evaluation: the question is what the new ones do
            m.train(isinstance(m, nn.BatchNorm2d))
        for name, m in made.net.named_modules():
            if isinstance(m, nn.BatchNorm2d):
                m.train(any(name.startswith(f"{p}.") for p in made.new))
        assert torch.allclose(made.net(x), y, atol=1e-3)
        assert not torch.allclose(bare.net.train()(x), y, atol=1e-1)


@pytest.mark.parametrize("name", ["cifar_resnet8", "cifar_preact8", "cifar_plain8"])
def test_old_parameters_keep_their_names_and_every_bit(name):
    net, row = lived(name)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    made = deepened(net, row, (2, 3, 1))
    after = made.net.state_dict()
    assert list(made.kept) == list(before)
    assert all(torch.equal(after[made.kept[k]], v) for k, v in before.items())
    assert all(torch.equal(net.state_dict()[k], v) for k, v in before.items())
    new = set(after) - set(before)
    assert new and all(any(k.startswith(f"{p}.") for p in made.new) for k in new)
    assert made.new == ("stages.0.1", "stages.1.1", "stages.1.2")


def test_deepening_twice_gives_the_same_weights_and_leaves_the_random_state_alone():
    net, row = lived("cifar_resnet8")
    state = torch.get_rng_state()
    one, two = deepened(net, row, (2, 2, 2)).net, deepened(net, row, (2, 2, 2)).net
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize(
    "name", ["cifar_resnet8", "cifar_resnet8_C", "cifar_preact8", "resnet50:1-1-1-1", "cifar_plain8"]
)
def test_new_units_learn_at_once(name):
    net, row = lived(name)
    made = deepened(net, row, more(row), images=[pictures(8)])
    new = {k: p for k, p in made.net.named_parameters() if any(k.startswith(f"{u}.") for u in made.new)}
    before = {k: p.detach().clone() for k, p in new.items()}
    sgd = torch.optim.SGD(made.net.parameters(), 0.05)
    made.net.train()
    for step in range(3):
        sgd.zero_grad()
        functional.cross_entropy(made.net(pictures(8)), torch.arange(8) % 4).backward()
        if step == 0:
            for unit in made.new:
                assert any(p.grad.abs().max() > 0 for k, p in new.items() if k.startswith(f"{unit}."))
        sgd.step()
    assert not [k for k, p in new.items() if torch.equal(p, before[k])]


def test_stochastic_depth_keeps_its_law_in_the_deeper_net():
    net, row = lived("cifar_resnet8")
    row = replace(row, drop_depth=0.5)
    made = deepened(build(row), row, (2, 3, 2))
    chain = units(made.net)
    assert [u.branch.p for u in chain] == [pytest.approx(i / 7 * 0.5) for i in range(1, 8)]
    assert all(isinstance(u.branch, DropBranch) for u in chain)
    net = build(row).eval()
    with torch.no_grad():
        assert torch.equal(deepened(net, row, (2, 3, 2)).net(pictures()), net(pictures()))


def test_the_difference_is_found_where_there_is_one():
    from residua.data.batches import Batch

    net, row = lived("cifar_resnet8")
    other = deepened(net, row, (2, 2, 2)).net
    batch = Batch(pictures(5), torch.zeros(5, dtype=torch.int64), None)
    same = difference(net, other, [batch, batch])
    assert same.largest == 0 and same.n == 10 and same.wrong[0] == same.wrong[1] and same.logit > 0
    nn.init.constant_(units(other)[1].branch.bn2.bias, 0.1)
    assert difference(net, other, [batch]).largest > 0
    nn.init.constant_(units(other)[1].branch.bn2.bias, torch.nan)
    assert difference(net, other, [batch]).largest == torch.inf


# -- the optimiser ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sgd", "adamw", "lamb"])
def test_growing_in_training_carries_buffers_averages_and_position(kind):
    recipe = replace(RECIPE, optimiser=kind, ema=0.9, lr=0.01)
    net, row = lived("cifar_resnet8")
    state = begin(net.train(), recipe, CPU)
    for step in range(2):
        take_step(state, pictures(4), torch.arange(4), 0.01, recipe, CPU)
        state.step = step + 1
    state.epoch += 3
    new, deeper = grown(state, row, (2, 2, 2), recipe, CPU)
    assert deeper.depths == (2, 2, 2) and new.step == 2 and torch.equal(new.epoch, state.epoch) and new.net.training
    old, now = carry.buffers(state), carry.buffers(new)
    assert old and all(torch.equal(now[k], v) for k, v in old.items())
    assert new.ema.updates == state.ema.updates == 2
    assert all(torch.equal(new.ema.net.state_dict()[k], v) for k, v in state.ema.net.state_dict().items())
    with torch.no_grad():
        assert torch.equal(new.net.eval()(pictures()), state.net.eval()(pictures()))
        assert torch.equal(new.ema.net.eval()(pictures()), state.ema.net.eval()(pictures()))
    new.net.train()
    take_step(new, pictures(4), torch.arange(4), 0.01, recipe, CPU)
    assert any(".0.1." in k for k in carry.buffers(new))


def test_old_units_go_on_exactly_as_they_would_have():
    """The step after growing moves the old parameters as without growing: the function, gradient and momentum agree."""
    net, row = lived("cifar_resnet8")
    net.eval()  # norms by their running statistics, so that the function is the same
    state = begin(net, RECIPE, CPU)
    take_step(state, pictures(4), torch.arange(4), 0.05, RECIPE, CPU)
    new, _ = grown(state, row, (2, 2, 2), RECIPE, CPU)
    for s in (state, new):
        take_step(s, pictures(4), torch.arange(4), 0.05, RECIPE, CPU)
    after = new.net.state_dict()
    assert all(torch.allclose(after[k], v, atol=1e-7) for k, v in state.net.state_dict().items())


def test_buffers_of_another_optimiser_or_shape_are_not_taken():
    net, _ = lived("cifar_resnet8")
    state = begin(net.train(), RECIPE, CPU)
    take_step(state, pictures(4), torch.arange(4), 0.05, RECIPE, CPU)
    other = begin(lived("cifar_resnet8", classes=7)[0], RECIPE, CPU)
    parameters = len(list(net.parameters()))
    assert carry.give(other, carry.buffers(state)) == parameters - 2  # the classifier's are of another shape
    adam = begin(lived("cifar_resnet8")[0], replace(RECIPE, optimiser="adamw"), CPU)
    assert carry.give(adam, carry.buffers(state)) == 0 and not carry.buffers(adam)
    (decision,) = carry.take_up(adam, carry.buffers(state))
    assert decision.value == "begins anew" and "sgd" in decision.why


# -- depths that do not fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "depths", "says"),
    [
        ("cifar_resnet20", (3, 3), "give 3 depths"),
        ("cifar_resnet20", (3, 2, 4), "`residua depth prune` takes units out"),
        ("cifar_resnet20", (3, 3, 3), "nothing to add"),
        ("alexnet", (2, 2, 2), "cannot be made deeper"),
        ("googlenet", (2, 2, 2), "cannot be made deeper"),
        ("vgg16", (1, 2, 3, 3, 3), "takes units out"),
        ("plain_resnet50", (4, 4, 6, 3), "narrow to 0.25"),
        ("plain_cifar_preact20", (4, 4, 4), "a ReLU cuts it"),
        ("cifar_preact20_C", (4, 4, 4), "a ReLU cuts it"),
    ],
)
def test_depths_that_do_not_fit_are_refused_in_one_line(name, depths, says):
    with pytest.raises(UsageError, match=says) as refused:
        row_with(find(name), depths)
    assert "\n" not in str(refused.value) and name in str(refused.value)


def test_a_name_is_a_target_where_nothing_but_depth_differs():
    ours = replace(find("cifar_resnet20"), classes=4, channels=1, stem="7x7", drop_depth=0.2)
    deeper = row_named(ours, "cifar_resnet56")
    assert deeper == replace(ours, name="cifar_resnet56", depths=(9, 9, 9))
    assert row_named(find("resnet50"), "resnet152").depths == (3, 8, 36, 3)
    assert replace(row_named(find("vgg11_bn"), "vgg19_bn"), source="") == replace(find("vgg19_bn"), source="")


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        ("cifar_resnet20", "cifar_preact56", "its unit is post_act, not pre_act"),
        ("cifar_resnet20", "cifar_resnet56_B", "its shortcut is A, not B"),
        ("cifar_resnet20", "cifar_plain56", "not none"),
        ("cifar_resnet20", "vgg19", "another kind of net"),
        ("resnet18", "resnet50", "its widths"),
        ("vgg11", "vgg13_bn", "its norm is False, not True"),
        ("cifar_resnet56", "cifar_resnet20", "`residua depth prune` takes units out"),
    ],
)
def test_a_name_is_no_target_where_more_differs(ours, theirs, says):
    with pytest.raises(UsageError, match=says):
        row_named(find(ours), theirs)
