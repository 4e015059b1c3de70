"""By depth: contributions add up, units come one by one, and the net is left as it was."""

import copy

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from explain.conftest import CLASSICS, CPU, RESIDUAL, images, images_for, net_of
from residua.depth.chain import removable, without
from residua.explain import units as by_depth
from residua.explain.units import CLOSE, added, contributions, gated, paths, why_not
from residua.nn.blocks import DropBranch, Zero
from residua.nn.resnet import initialise, units

TARGETS = torch.tensor([2, 0, 3])


def logit(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).gather(1, TARGETS[:, None])[:, 0]


@pytest.mark.parametrize("name", RESIDUAL)
def test_contributions_sum_up_to_the_logit_of_all_units_less_that_of_none(name):
    net, x = net_of(name), images()
    found = contributions(net, x, TARGETS, CPU)
    with without(net, [path for path, _ in paths(net)]):
        bare = logit(net, x)
    full = logit(net, x)
    assert torch.allclose(found.logit, full, rtol=1e-4, atol=1e-4) and torch.allclose(found.bare, bare, atol=1e-4)
    due = full - bare
    missed = (found.contribution.sum(1) - due).abs()
    assert torch.allclose(missed, found.error, atol=1e-3)
    assert bool((missed <= CLOSE * due.abs().clamp_min(1) + 1e-3).all())
    assert found.contribution.shape == (3, len(units(net)))


@pytest.mark.parametrize("name", ["cifar_resnet14", "cifar_preact14_B"])
def test_contributions_are_captums_integrated_gradients_of_the_branches_factors(name):
    net, x = net_of(name), images()
    found = contributions(net, x, TARGETS, CPU, most=16)
    n, u = int(found.points[0]), len(units(net))

    def logits(factors: Tensor) -> Tensor:
        for k, gate in enumerate(gates):
            gate.factor = factors[:, k, None, None, None]
        return net(x.repeat(len(factors) // len(x), 1, 1, 1))

    with gated(net) as gates:
        expected = captum.attr.IntegratedGradients(logits).attribute(
            torch.ones(3, u), baselines=0, target=TARGETS, n_steps=n, method="riemann_middle"
        )
    assert torch.allclose(found.contribution, expected.detach().float(), rtol=1e-3, atol=1e-4)


def test_a_unit_that_is_zero_contributes_nothing():
    net, x = net_of("cifar_resnet14"), images()
    nn.init.zeros_(units(net)[1].branch.bn2.weight)
    nn.init.zeros_(units(net)[1].branch.bn2.bias)
    found, course = contributions(net, x, TARGETS, CPU), added(net, x, TARGETS, CPU)
    assert bool((found.contribution[:, 1] == 0).all()) and bool((found.contribution[:, 0] != 0).all())
    assert torch.allclose(course.probability[:, 1], course.probability[:, 2], atol=1e-6)
    initialise(net, zero_last=True)
    assert bool((contributions(net, x, TARGETS, CPU).contribution == 0).all())


@pytest.mark.parametrize("name", RESIDUAL)
def test_the_answer_with_k_units_is_that_of_the_net_without_the_later_ones(name):
    net, x = net_of(name), images()
    course = added(net, x, TARGETS, CPU, temperature=1.7)
    where = [path for path, _ in paths(net)]
    assert course.probability.shape == course.leads.shape == (3, len(where) + 1)
    for k in range(len(where) + 1):
        with without(net, where[k:]), torch.no_grad():
            p = (net(x) / 1.7).softmax(1)
        assert torch.allclose(course.probability[:, k], p.gather(1, TARGETS[:, None])[:, 0], atol=1e-5), k
        assert torch.equal(course.leads[:, k], p.argmax(1))


def test_steps_of_the_course_telescope_to_the_whole():
    net, x = net_of("cifar_resnet14"), images()
    p = added(net, x, TARGETS, CPU).probability
    with torch.no_grad():
        whole = net(x).softmax(1).gather(1, TARGETS[:, None])[:, 0]
    assert torch.allclose(p[:, 0] + p.diff(dim=1).sum(1), whole, atol=1e-5)


def test_an_images_numbers_do_not_depend_on_the_others():
    net, x = net_of("cifar_resnet14_B"), images()
    together, course = contributions(net, x, TARGETS, CPU), added(net, x, TARGETS, CPU)
    for i in range(3):
        one = slice(i, i + 1)
        alone = contributions(net, x[one], TARGETS[one], CPU)
        assert alone.points[0] == together.points[i]
        assert torch.allclose(alone.contribution[0], together.contribution[i], rtol=1e-3, atol=1e-4)
        assert torch.allclose(added(net, x[one], TARGETS[one], CPU).probability[0], course.probability[i], atol=1e-5)


def test_paths_are_those_of_the_links_that_can_be_left_out():
    for name in RESIDUAL:
        net = net_of(name)
        assert paths(net) == [(link.path, link.stage) for link in removable(net)]


@pytest.mark.parametrize("name", ["cifar_plain14", *CLASSICS])
def test_nets_without_shortcuts_say_why_there_is_no_depth_to_tell_of(name):
    net = net_of(name)
    assert why_not(net)
    for f in (contributions, added):
        with pytest.raises(ValueError, match=r"shortcuts|residual units"):
            f(net, images_for(name), TARGETS, CPU)
    assert why_not(net_of("cifar_resnet8")) is None


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_net_is_left_exactly_as_it_was(wrapped):
    net = net_of("cifar_preact14_B").train()
    if wrapped:
        for u in units(net):
            u.branch = DropBranch(u.branch, 0.5)
    before, modules = copy.deepcopy(net.state_dict()), [id(m) for m in net.modules()]
    modes = [m.training for m in net.modules()]
    contributions(net, images(), TARGETS, CPU)
    added(net, images(), TARGETS, CPU)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes and [id(m) for m in net.modules()] == modules
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("times", [0, 1, 4])
def test_a_bound_on_bytes_holds_for_each_pass_and_changes_no_number(times, monkeypatch):
    net, x, y = net_of("cifar_resnet8").eval(), images()[:1], TARGETS[:1]
    kept = by_depth.Kept()
    with gated(net) as gates, kept:
        by_depth._slopes(net, gates, x, y, torch.tensor([0.5]))
    wanted = contributions(net, x, y, CPU, most=16)
    together = []

    def slopes(*args, original=by_depth._slopes):
        together.append(len(args[-1]))
        return original(*args)

    monkeypatch.setattr(by_depth, "_slopes", slopes)
    found = contributions(net, x, y, CPU, most=16, together=times * kept.bytes)
    assert sum(together) == 16 and max(together) == max(1, times)
    torch.testing.assert_close(found.contribution, wanted.contribution, rtol=1e-5, atol=1e-6)


def test_branches_come_back_also_after_an_error():
    net = net_of("cifar_resnet8")
    branches = [u.branch for u in units(net)]
    with pytest.raises(KeyboardInterrupt), gated(net):
        assert not any(u.branch is b for u, b in zip(units(net), branches, strict=True))
        raise KeyboardInterrupt
    assert all(u.branch is b for u, b in zip(units(net), branches, strict=True))
    assert not any(isinstance(u.branch, Zero) for u in units(net))
