"""The loss around a net: the net is left as it was found, and a point depends on nothing but its place."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from residua.data.batches import Batch
from residua.depth.landscape import Grid, Point, direction, fingerprint, plane, surface
from residua.depth.survey import heights
from residua.depth.terrain import connected, minima, nonconvex, terrain
from residua.engine import Engine
from residua.errors import NumericError, UsageError
from residua.evaluate import evaluate
from residua.nn.zoo import build, find, with_depths

ENGINE = Engine("cpu")
SMALL = Grid(resolution=3, span=0.5)


@pytest.fixture
def net():
    torch.manual_seed(0)
    made = build(with_depths(find("cifar_resnet20"), (1, 1, 1)), classes=4, channels=1)
    return made.train()  # evaluation mode is the surface's own business


@pytest.fixture
def batches():
    numbers = torch.Generator().manual_seed(1)
    return [
        Batch(torch.randn(n, 1, 5, 7, generator=numbers), torch.arange(n) % 4, np.arange(n) + first)
        for n, first in ((6, 0), (3, 6))
    ]


def state(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


def same(net, before):
    return all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_every_filter_of_a_direction_has_the_norm_of_the_nets_own(net):
    found = direction(net, 0, "first")
    weights = {k: p for k, p in net.named_parameters() if p.ndim > 1}
    assert found.keys() == weights.keys()  # biases and norms stay where they are
    for name, d in found.items():
        torch.testing.assert_close(d.flatten(1).norm(dim=1), weights[name].flatten(1).norm(dim=1).detach())


def test_a_direction_is_keyed_by_its_seed_and_axis(net):
    first, again, other = (direction(net, seed, "first")["head.fc.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first, direction(net, 0, "second")["head.fc.weight"])


def test_the_net_is_as_it_was_found_after_the_last_point_a_stop_and_an_error(net, batches):
    before = state(net)
    list(surface(net, batches, ENGINE, SMALL))
    assert same(net, before) and net.training
    stopped = surface(net, batches, ENGINE, SMALL)
    next(stopped), next(stopped)
    assert not same(net, before)
    stopped.close()
    assert same(net, before) and net.training
    with pytest.raises(RuntimeError, match="out"), plane(net, 0) as move:
        move(1.0, -1.0)
        raise RuntimeError("out")
    assert same(net, before)


def test_the_middle_is_the_net_itself(net, batches):
    found = evaluate(net, batches, tuple("abcd"), ENGINE)
    middle = next(surface(net, batches, ENGINE, SMALL))
    assert (middle.i, middle.j, middle.alpha, middle.beta) == (1, 1, 0.0, 0.0)
    assert (middle.wrong, middle.n) == (found.wrong, found.n)
    assert middle.loss == pytest.approx(found.loss, rel=1e-6)


def test_a_point_does_not_depend_on_those_before_it(net, batches):
    whole = {(p.i, p.j): p for p in surface(net, batches, ENGINE, SMALL)}
    assert len(whole) == 9
    late = list(surface(net, batches, ENGINE, SMALL, done=set(whole) - {(2, 1), (0, 2)}))
    assert late == [whole[0, 2], whole[2, 1]]


def test_a_point_is_the_loss_of_the_moved_weights(net, batches):
    point = next(p for p in surface(net, batches, ENGINE, SMALL) if (p.i, p.j) == (2, 0))
    first, second = (direction(net, 0, "landscape", axis) for axis in ("first", "second"))
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name in first:
                p += 0.5 * first[name] - 0.5 * second[name]
    assert evaluate(net, batches, tuple("abcd"), ENGINE).loss == pytest.approx(point.loss, rel=1e-5)


def test_what_is_not_finite_has_no_loss_and_counts_as_wrong(net, batches):
    far = [p for p in surface(net, batches, ENGINE, replace(SMALL, span=1e30)) if (p.i, p.j) != (1, 1)]
    assert {(p.loss, p.wrong, p.n) for p in far} == {(None, 9, 9)}


def test_a_net_that_is_nan_has_no_surface(net, batches):
    torch.nn.init.constant_(net.head.fc.bias, math.nan)
    with pytest.raises(NumericError, match=r"NaN everywhere: head\.fc\.bias"):
        next(surface(net, batches, ENGINE, SMALL))


@pytest.mark.parametrize(
    ("words", "said"),
    [({"resolution": 20}, "odd number.*21"), ({"span": 0.0}, "positive"), ({"span": math.nan}, "positive")],
)
def test_a_grid_has_the_net_in_its_middle(words, said):
    with pytest.raises(UsageError, match=said):
        Grid(**words)


def test_the_grid_goes_through_every_point_once_from_the_middle_outwards():
    grid = Grid(resolution=5, span=2)
    assert grid.points()[0] == (2, 2) and len(set(grid.points())) == 25
    assert [grid.at(i) for i in range(5)] == [-2, -1, 0, 1, 2]


def test_a_fingerprint_tells_nets_apart(net):
    before = fingerprint(net)
    assert before == fingerprint(net)
    with torch.no_grad():
        net.stages[0][0].branch.bn1.running_mean[0] += 1e-6
    assert before != fingerprint(net)


# -- terrain --------------------------------------------------------------------------------------------------------

X, Y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9), indexing="ij")


def test_a_bowl_is_convex_and_has_one_minimum():
    bowl = X**2 + 3 * (Y - X / 2) ** 2
    assert nonconvex(bowl) == 0 and minima(bowl).sum() == 1
    assert nonconvex(np.abs(X) + np.abs(Y)) == 0  # convex without being smooth


def test_a_saddle_is_nowhere_convex():
    assert nonconvex(X * Y) == 1 and nonconvex(Y**2 - X**2) == 1


def test_two_valleys_count_as_two_minima_and_only_the_nets_own_is_its_valley():
    losses = np.full((9, 9), 5.0)
    losses[3:6, 3:6], losses[4, 4] = 1.0, 0.5
    losses[0, 8] = 0.1
    found = terrain(losses, np.full((9, 9), 0.25), classes=4)
    assert found.minima == 2
    assert (found.valley, found.below_chance) == (9 / 81, 10 / 81)
    assert (found.middle, found.middle_error, found.lowest, found.highest) == (0.5, 0.25, 0.1, 5.0)


def test_steps_lead_to_the_four_neighbours_only():
    assert connected(np.eye(3, dtype=bool), (1, 1)).sum() == 1


def test_holes_are_no_land():
    losses = X**2 + Y**2
    losses[0, 0] = np.nan
    found = terrain(losses, X * 0, classes=10)
    assert (found.finite, found.points, found.minima, found.nonconvex) == (80, 81, 1, 0)
    empty = terrain(np.full((3, 3), np.nan), np.ones((3, 3)), classes=10)
    assert (empty.finite, empty.middle, empty.lowest, empty.nonconvex, empty.valley) == (0, None, None, None, 0)


def test_points_become_a_surface_with_the_first_direction_along_its_rows():
    losses, errors = heights({(0, 1): Point(0, 1, -1, 0, 2.0, 1, 4), (2, 2): Point(2, 2, 1, 1, None, 4, 4)}, 3)
    assert losses[0, 1] == 2 and errors[0, 1] == 0.25 and errors[2, 2] == 1
    assert np.isnan(losses).sum() == 8
