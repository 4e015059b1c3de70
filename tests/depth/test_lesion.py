"""Lesions: the shared evaluation counts what evaluating every edited net would, and the net is left as found."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from residua.data.batches import Batch
from residua.depth.chain import removable, without
from residua.depth.lesion import Variants, cost, kendall_tau, lesions
from residua.depth.variants import Family, counts
from residua.engine import Engine
from residua.errors import DataError, UsageError
from residua.evaluate import evaluate, wilson
from residua.nn.names import adopt
from residua.nn.resnet import Net, resnet, units
from residua.nn.zoo import build, find, with_depths

CLASSES = ("a", "b", "c", "d")
CPU = Engine("cpu")


def batches(n: int = 24, side: tuple[int, int] = (9, 7), size: int = 10) -> list[Batch]:
    numbers = torch.Generator().manual_seed(3)
    images = torch.randn(n, 3, *side, generator=numbers)
    targets = torch.randint(4, (n,), generator=numbers)
    places = np.arange(n)
    return [Batch(images[i : i + size], targets[i : i + size], places[i : i + size]) for i in range(0, n, size)]


def net_of(name: str) -> Net:
    torch.manual_seed(1)
    net = build(name, classes=4).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean, std=0.2)
            nn.init.uniform_(m.weight, 0.5, 1.5)
    return net


def last(steps):
    return list(steps)[-1]


@pytest.mark.parametrize(
    "name", ["cifar_resnet14", "cifar_plain14", "cifar_preact20", "wrn16_1", "resnext29_2x4d:1-2-1"]
)
def test_the_shared_evaluation_equals_evaluating_each_edited_net(name):
    net, data = net_of(name), batches()
    table = last(lesions(net, data, CLASSES, CPU))
    whole = evaluate(net, data, CLASSES, CPU)
    assert (table.n, table.base_wrong) == (24, whole.wrong)
    assert [row.path for row in table.rows] == [link.path for link in removable(net)]
    for row in table.rows:
        with without(net, [row.path]):
            naive = evaluate(net, data, CLASSES, CPU)
        assert (row.n, row.wrong, row.interval) == (naive.n, naive.wrong, naive.interval), row.path
        assert row.loss == pytest.approx(naive.loss, rel=1e-6)
    assert len({row.loss for row in table.rows}) > 1


def test_it_agrees_with_torchvision_and_a_hook_that_silences_the_branch():
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(2)
    theirs = ResNet(BasicBlock, [1, 2, 1, 1], num_classes=4).eval()
    row = with_depths(find("resnet18"), (1, 2, 1, 1))
    state, row, _ = adopt(theirs.state_dict(), row)
    ours = resnet(row)
    ours.load_state_dict(state)
    ours.eval()
    data = batches(side=(33, 35))
    blocks = [m for m in theirs.modules() if isinstance(m, BasicBlock)]
    table = last(lesions(ours, data, CLASSES, CPU))
    assert len(blocks) == len(table.rows) == 5
    for block, found in zip(blocks, table.rows, strict=True):
        handle = block.bn2.register_forward_hook(lambda m, x, y: torch.zeros_like(y))
        expected = evaluate(theirs, data, CLASSES, CPU)
        handle.remove()
        assert found.wrong == expected.wrong
        assert found.loss == pytest.approx(expected.loss, rel=1e-6)


def test_counts_run_after_every_batch():
    tables = list(lesions(net_of("cifar_resnet8"), batches(), CLASSES, CPU, paths=["stages.1.0"]))
    assert [t.n for t in tables] == [10, 20, 24]
    assert all([row.path for row in t.rows] == ["stages.1.0"] for t in tables)
    assert all(0 <= b.rows[0].wrong - a.rows[0].wrong <= 10 for a, b in pairwise(tables))
    assert tables[-1].rows[0].interval == wilson(tables[-1].rows[0].wrong, 24)


@pytest.mark.parametrize("stop", ["end", "exception", "abandoned"])
def test_the_net_is_left_as_found(stop):
    net = net_of("cifar_resnet14")
    net.train()
    net.stages[1].eval()
    modules, modes = dict(net.named_modules()), {k: m.training for k, m in net.named_modules()}
    state = copy.deepcopy(net.state_dict())

    def data():
        yield batches()[0]
        if stop == "exception":
            raise KeyboardInterrupt
        yield batches()[1]

    found = lesions(net, data(), CLASSES, CPU)
    if stop == "exception":
        with pytest.raises(KeyboardInterrupt):
            list(found)
    elif stop == "end":
        list(found)
    else:
        next(found)
    after = dict(net.named_modules())
    assert list(after) == list(modules) and all(after[k] is m for k, m in modules.items())
    assert {k: m.training for k, m in net.named_modules()} == modes
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert not torch.is_inference_mode_enabled()


def test_every_link_runs_once_for_all_variants_that_share_its_beginning():
    net = net_of("cifar_resnet20")
    made = Variants(net)
    ran: list[str] = []
    for path in (link.path for link in made.removable):
        net.get_submodule(path).register_forward_hook(lambda m, x, y, path=path: ran.append(path))
    list(counts(net, made.each(made.removable), batches(4), 4, CPU))
    expected = [made.removable[i].path for i in range(9) for _ in range(i + 1)]
    assert sorted(ran) == sorted(expected)


def test_the_cost_is_about_half_of_naive_evaluation():
    made = Variants(net_of("cifar_resnet56"))
    factor = cost(made.each(made.removable), (3, 32, 32))
    assert len(made.removable) == 27 and factor == pytest.approx(1 + 26 / 2, abs=0.1)
    assert cost(made.each([]), (3, 32, 32)) == 1


def test_activations_do_not_pile_up_with_depth():
    made = Variants(net_of("cifar_resnet50"))
    family = Family(made.each(made.removable))
    alive: list[int] = []

    class Counted:
        held = 0

        def __init__(self):
            Counted.held += 1

        def __del__(self):
            Counted.held -= 1

    def step(module, x):
        alive.append(Counted.held)
        return Counted()

    assert sum(len(numbers) for numbers, _ in family._walk(Counted(), step)) == 25
    assert max(alive) <= 4


def test_random_removals_count_like_nets_without_them():
    net, data = net_of("cifar_resnet20"), batches()
    made = Variants(net)
    removals = made.removals([1, 3, 9], seeds=2)
    assert [(r.k, r.seed, len(r.units)) for r in removals] == [(k, s, k) for k in (1, 3, 9) for s in (0, 1)]
    assert made.removals([3], 2) == removals[2:4]
    found = last(counts(net, [made.without(r.units) for r in removals], data, 4, CPU))
    for removal, count in zip(removals, found, strict=True):
        with without(net, removal.units):
            assert count.wrong == evaluate(net, data, CLASSES, CPU).wrong


def test_other_orders_exchange_units_within_stages_and_say_how_far_they_are():
    net, data = net_of("cifar_resnet20"), batches()
    made = Variants(net)
    orders = made.orders(6)
    paths = [link.path for link in made.removable]
    assert [o.swaps for o in orders] == [1, 1, 2, 3, 5, 7]  # seven units keep the shape
    for order in orders:
        assert sorted(order.units) == sorted(paths)
        assert [p[:8] for p in order.units] == [p[:8] for p in paths]
        assert [p for p in order.units if p in ("stages.1.0", "stages.2.0")] == ["stages.1.0", "stages.2.0"]
        assert order.units[3] == "stages.1.0" and order.units[6] == "stages.2.0"
    assert orders[0].tau in (1 - 4 * 1 / 72, 1 - 4 * 3 / 72)
    found = last(counts(net, [made.ordered(o.units) for o in orders], data, 4, CPU))
    for order, count in zip(orders, found, strict=True):
        edited = copy.deepcopy(net)
        there = dict(zip(paths, units(net), strict=True))
        for place, path in zip(paths, order.units, strict=True):
            stage, unit = place.split(".")[1:]
            edited.stages[int(stage)][int(unit)] = there[path]
        expected = evaluate(edited, data, CLASSES, CPU)
        assert count.wrong == expected.wrong and count.loss == pytest.approx(expected.loss, rel=1e-6)


def test_kendall_tau_is_the_mean_agreement_of_pairs():
    rng = np.random.default_rng(0)
    for n in (2, 5, 27):
        order = rng.permutation(n)
        agreement = np.sign(order[:, None] - order) * np.sign(np.arange(n)[:, None] - np.arange(n))
        assert kendall_tau(order.tolist()) == pytest.approx(agreement.sum() / (n * (n - 1)))
    assert (kendall_tau([0]), kendall_tau([0, 1, 2]), kendall_tau([2, 1, 0])) == (1, 1, -1)


def test_an_output_that_is_not_finite_counts_as_wrong():
    net = net_of("cifar_resnet8")
    nn.init.constant_(net.stages[2][0].branch.bn2.weight, math.inf)
    table = last(lesions(net, batches(), CLASSES, CPU))
    assert table.base_wrong == 24 and math.isnan(table.base.loss)
    assert table.rows[-1].wrong < 24 and math.isfinite(table.rows[-1].loss)


def test_what_cannot_be_done_is_one_clear_line():
    made = Variants(net_of("cifar_resnet8"))
    with pytest.raises(UsageError, match="9 units cannot leave a net that has 3"):
        made.removals([9], 1)
    with pytest.raises(UsageError, match="no stage of this net has two units"):
        made.orders(3)
    with pytest.raises(UsageError, match=r"stages\.0\.0"):
        list(lesions(net_of("cifar_resnet8"), batches(), CLASSES, CPU, paths=["stages.0.00"]))
    with pytest.raises(DataError, match="no images"):
        list(lesions(net_of("cifar_resnet8"), [], CLASSES, CPU))
