"""Scores know a good map from a bad one where the answer is known, and maps forget what the net forgets."""

import copy

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from explain.conftest import CPU, images, net_of
from residua.explain.maps import stage_maps
from residua.explain.scores import Judge, area, blurred, likeness, random_maps, randomised, rank_correlation, ranked

SIDE = 28


class Corner(nn.Module):
    """A net whose answer is known: class 1 by as much as the upper left corner is bright, nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stages = nn.Identity(), nn.Sequential()
        self.head = self._head

    def _head(self, x: Tensor) -> Tensor:
        bright = 8 * x[:, :, : SIDE // 4, : SIDE // 4].mean((1, 2, 3))
        return torch.stack([torch.full_like(bright, 4), bright], 1)


def corner(strength: float) -> Tensor:
    heat = torch.full((SIDE, SIDE), 0.5)
    heat[: SIDE // 4, : SIDE // 4] = strength
    return heat


def lit() -> Tensor:
    image = torch.zeros(3, SIDE, SIDE)
    image[:, : SIDE // 4, : SIDE // 4] = 1
    return image


def test_the_map_that_knows_the_net_scores_best_and_its_opposite_worst():
    judge = Judge(Corner(), CPU)
    right = judge.scores(lit(), 1, corner(1.0))
    wrong = judge.scores(lit(), 1, corner(0.0))
    assert right.insertion > right.insertion_random > wrong.insertion
    assert right.deletion < right.deletion_random < wrong.deletion
    assert right.deletion < 0.1 and right.insertion > 0.9


def test_scores_are_the_same_each_time_and_do_not_touch_the_net():
    net = net_of("cifar_resnet8").train()
    before = copy.deepcopy(net.state_dict())
    first, again = (Judge(net, CPU).scores(images(1, 16, 16)[0], 2, torch.ones(16, 16), "a") for _ in range(2))
    assert first == again
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()) and net.training


def test_pixels_come_in_the_order_of_the_map_and_equal_ones_by_chance():
    heat = torch.rand(9, 9, generator=torch.Generator().manual_seed(2))
    order = ranked(heat)
    assert torch.equal(order.flatten().argsort(), heat.flatten().argsort(descending=True))
    flat = torch.zeros(9, 9)
    assert sorted(ranked(flat).flatten().tolist()) == sorted(order.flatten().tolist())
    assert torch.equal(ranked(flat, "a"), ranked(flat, "a")) and not torch.equal(ranked(flat, "a"), ranked(flat, "b"))


def test_the_area_is_by_trapezoids():
    assert area(torch.tensor([0.0, 1.0])) == 0.5
    assert area(torch.ones(29)) == pytest.approx(1) and area(torch.linspace(0, 1, 29)) == pytest.approx(0.5)


@pytest.mark.parametrize("side", [1, 2, 8, 33, 224])
def test_blurring_keeps_the_mean_colour_and_takes_the_detail(side):
    assert torch.allclose(blurred(torch.full((3, side, side), 0.7)), torch.full((3, side, side), 0.7), atol=1e-5)
    noise = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))
    assert side < 3 or blurred(noise).std() < 0.8 * noise.std()


def test_random_maps_are_smooth_and_each_another():
    a, b = random_maps(40, 2, "x")
    assert a.shape == (40, 40) and not torch.equal(a, b) and (a[1:] - a[:-1]).abs().max() < 0.3


def test_rank_correlation_is_scipys():
    made = torch.Generator().manual_seed(1)
    for _ in range(3):
        a, b = torch.randint(0, 5, (2, 6, 7), generator=made).float()
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a.flatten(), b.flatten()).statistic, abs=1e-12)
    assert rank_correlation(a, torch.zeros(6, 7)) == 0


def test_the_net_is_randomised_from_the_top_down_and_itself_stays():
    net = net_of("cifar_resnet8")
    before = copy.deepcopy(net.state_dict())
    names, changed = [], []
    for name, made in randomised(net):
        names.append(name)
        now = made.state_dict()
        changed.append({k.rsplit(".", 1)[0].split(".branch")[0] for k in before if not torch.equal(before[k], now[k])})
    assert names == ["head", "stages.2", "stages.1", "stages.0", "stem"]
    assert all(a < b for a, b in zip(changed, changed[1:], strict=False))
    assert all(k.startswith("head") for k in changed[0])
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_randomising_does_not_move_the_users_random_numbers():
    net, state = net_of("cifar_resnet8"), torch.get_rng_state()
    list(randomised(net))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_map_changes_when_the_weights_do():
    net, x, y = net_of("cifar_resnet14"), images(8, 32, 32), torch.arange(8) % 4
    found = likeness(net, lambda n: stage_maps(n, x, y, CPU, method="grad-cam", stage=1))
    assert list(found) == ["head", "stages.2", "stages.1", "stages.0", "stem"]
    assert abs(found["stem"]) < 0.5 and max(map(abs, found.values())) < 0.95
    same = likeness(net, lambda n: x[:, 0])
    assert all(v == pytest.approx(1) for v in same.values()), "a map that only shows the picture stays as it was"
