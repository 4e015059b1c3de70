"""Laws of optimisers: groups that miss nothing, LAMB equal to timm's, averages that are averages."""

import copy

import pytest
import torch
from timm.optim import Lamb as TimmLamb
from torch import nn
from torch.nn import functional

from residua.nn.zoo import build
from residua.training.optimise import Ema, Lamb, groups, optimiser, set_lr
from residua.training.recipe import RECIPES, recipe


def small():
    torch.manual_seed(0)
    return build("cifar_resnet20:1-1-1", classes=4)


def steps(net, opt, n=3):
    """n steps on random pictures, the same for every net."""
    x = torch.randn(6, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    y = torch.arange(6) % 4
    for _ in range(n):
        opt.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        opt.step()
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_every_trainable_parameter_is_in_exactly_one_group():
    net = small()
    net.stem.conv1.weight.requires_grad_(False)
    for r in (RECIPES["quick"], RECIPES["he2015-cifar"]):
        members = [id(p) for g in groups(net, r) for p in g["params"]]
        assert sorted(members) == sorted(id(p) for p in net.parameters() if p.requires_grad)


def test_norms_and_biases_are_decayed_only_where_the_recipe_says_so():
    net = small()
    decayed = {id(p) for g in groups(net, RECIPES["quick"]) if g["weight_decay"] for p in g["params"]}
    assert decayed == {id(p) for n, p in net.named_parameters() if "conv" in n or n == "head.fc.weight"}
    (only,) = groups(net, RECIPES["he2015-cifar"])
    assert only["weight_decay"] == 1e-4


@pytest.mark.parametrize("words", [["optimiser=sgd"], ["optimiser=adamw", "nesterov=false", "lr=0.001"]])
def test_fused_optimisers_equal_the_plain_ones_in_any_memory_format(words):
    r = recipe("quick", words)
    plain, fused = small(), small().to(memory_format=torch.channels_last)
    reference = optimiser(plain, r)
    for g in reference.param_groups:
        g["fused"], g["foreach"] = None, False
    assert optimiser(fused, r).param_groups[0]["fused"]
    torch.testing.assert_close(steps(plain, reference), steps(fused, optimiser(fused, r)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("words", [["optimiser=sgd"], ["optimiser=adamw", "nesterov=false", "lr=0.001"]])
def test_without_what_shields_them_from_the_compiler_they_are_torchs_own_bit_for_bit(words):
    r = recipe("quick", words)
    ours, theirs = small(), small()
    a, parts = optimiser(ours, r), groups(theirs, r)
    if r.optimiser == "sgd":
        b = torch.optim.SGD(parts, r.lr, momentum=r.momentum, nesterov=r.nesterov, fused=True)
    else:
        b = torch.optim.AdamW(parts, r.lr, betas=r.betas, eps=r.eps, fused=True)
    assert type(a).__name__ == type(b).__name__ and isinstance(a, type(b))
    assert torch.equal(steps(ours, a), steps(theirs, b))
    mine, its = a.state_dict(), b.state_dict()
    assert mine["param_groups"] == its["param_groups"] and mine["state"].keys() == its["state"].keys()
    assert all(torch.equal(v, its["state"][i][k]) for i, s in mine["state"].items() for k, v in s.items())


@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
def test_lamb_equals_timms(weight_decay):
    ours, theirs = small(), small()
    a = Lamb(ours.parameters(), 0.01, betas=(0.8, 0.99), weight_decay=weight_decay)
    b = TimmLamb(theirs.parameters(), 0.01, betas=(0.8, 0.99), weight_decay=weight_decay, max_grad_norm=None)
    torch.testing.assert_close(steps(ours, a, 5), steps(theirs, b, 5), rtol=1e-5, atol=1e-6)


def test_lamb_with_clipping_equals_timms_own_clipping():
    ours, theirs = small(), small()
    a = Lamb(ours.parameters(), 0.01, weight_decay=0.02)
    a.register_step_pre_hook(lambda *_: nn.utils.clip_grad_norm_(ours.parameters(), 1.0) and None)
    b = TimmLamb(theirs.parameters(), 0.01, weight_decay=0.02, max_grad_norm=1.0)
    torch.testing.assert_close(steps(ours, a), steps(theirs, b), rtol=1e-4, atol=1e-5)


def test_lamb_goes_on_from_its_state():
    whole, halves = small(), small()
    expected = steps(whole, Lamb(whole.parameters(), 0.01, weight_decay=0.1), 4)
    first = Lamb(halves.parameters(), 0.01, weight_decay=0.1)
    steps(halves, first, 2)
    second = Lamb(halves.parameters(), 0.01, weight_decay=0.1)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert torch.equal(steps(halves, second, 2), expected)


def test_set_lr_reaches_every_group():
    opt = optimiser(small(), RECIPES["quick"])
    set_lr(opt, 0.123)
    assert [g["lr"] for g in opt.param_groups] == [0.123, 0.123]


def test_averages_are_averages_of_parameters_and_buffers():
    net = nn.BatchNorm1d(1)
    ema = Ema(net, 0.5)
    expected = float(net.running_mean)
    for n, value in enumerate([1.0, 5.0, 2.0, 8.0]):
        net.running_mean.fill_(value)
        net.num_batches_tracked.fill_(n)
        ema.update(net)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * value
    assert float(ema.net.running_mean) == pytest.approx(expected)
    assert int(ema.net.num_batches_tracked) == 3
    assert not any(p.requires_grad for p in ema.net.parameters())


def test_without_averaging_the_average_is_the_net_itself():
    net = small()
    ema = Ema(net, None)
    ema.update(net)
    assert ema.net is net
    assert ema.state_dict() == {}
    assert all(p.requires_grad for p in net.parameters())


def test_averages_go_on_from_their_state():
    net = nn.Linear(2, 3)
    whole = Ema(net, 0.9)
    net.weight.data.add_(1)
    whole.update(net)
    again = Ema(nn.Linear(2, 3), 0.9)
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    for ema in (whole, again):
        ema.update(net)
    assert torch.equal(whole.net.weight, again.net.weight)
