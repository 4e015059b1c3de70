"""Scores of maps, by nets whose answer is known; and maps of nets that forgot."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from explain.conftest import CLASSICS, CPU, images, net_of
from residua.explain.maps import stage_maps
from residua.explain.scores import (
    GRID,
    PARTS,
    Judge,
    area,
    blurred,
    likeness,
    random_maps,
    randomised,
    rank_correlation,
    ranked,
)

S = 28


class Spot(nn.Module):
    """A net that sees only a place: class 1 is as probable as the mean of the square there, in [0, 1], is bright."""

    def __init__(self, top: int, left: int, side: int) -> None:
        super().__init__()
        self.place = slice(top, top + side), slice(left, left + side)
        self.stem, self.stages = nn.Identity(), nn.Sequential()

    def head(self, x: Tensor) -> Tensor:
        p = x[:, :, *self.place].mean((1, 2, 3)).clamp(1e-6, 1 - 1e-6)
        return torch.stack([(1 - p).log(), p.log()], 1)


def spot(top: int = 0, left: int = 0, side: int = 14) -> tuple[Judge, Tensor]:
    """A judge, and the map of where it looks: the square is a quarter of the picture."""
    heat = torch.zeros(S, S)
    heat[top : top + side, left : left + side] = 1
    return Judge(Spot(top, left, side), CPU), heat


def test_deletion_of_the_right_place_first_is_the_area_under_a_line_that_falls_within_a_quarter():
    judge, heat = spot()
    _, deletion = judge.areas(torch.ones(1, S, S), 1, heat)
    # 1 falls to 0 over the first quarter, in equal steps: a triangle of half a quarter.
    assert deletion == pytest.approx(0.125, abs=1e-3)


def test_deletion_of_the_right_place_last_is_the_area_under_a_line_that_falls_in_the_last_quarter():
    judge, heat = spot()
    assert judge.areas(torch.ones(1, S, S), 1, 1 - heat)[1] == pytest.approx(0.875, abs=1e-3)


def test_insertion_rises_within_a_quarter_for_the_right_map_and_in_the_last_one_for_the_wrong():
    judge, heat = spot(7, 7)
    image = torch.zeros(1, S, S)
    image[:, 7:21, 7:21] = 1
    start = float(blurred(image)[:, 7:21, 7:21].mean())
    assert judge.areas(image, 1, heat)[0] == pytest.approx(1 - (1 - start) / 8, abs=2e-3)
    assert judge.areas(image, 1, 1 - heat)[0] == pytest.approx(start + (1 - start) / 8, abs=2e-3)


def test_the_right_map_beats_random_ones_and_the_wrong_one_does_not():
    judge, heat = spot(7, 7)
    image = torch.ones(1, S, S)
    good, bad = judge.scores(image, 1, heat, "a"), judge.scores(image, 1, 1 - heat, "a")
    assert good.deletion < good.deletion_random - 0.1 and bad.deletion > bad.deletion_random + 0.1
    assert (good.insertion_random, good.deletion_random) == (bad.insertion_random, bad.deletion_random)
    assert judge.scores(image, 1, heat, "a") == good and judge.scores(image, 1, heat, "b") != good


def test_a_temperature_makes_the_curve_flatter():
    net, heat = spot()[0].net, spot()[1]
    one, hot = (Judge(net, CPU, t).areas(torch.ones(1, S, S), 1, heat)[1] for t in (None, 10.0))
    assert one < hot


def test_the_strongest_pixel_comes_first_and_equal_ones_in_random_order():
    assert ranked(torch.tensor([[0.1, 0.9], [0.5, 0.2]])).tolist() == [[0.875, 0.125], [0.375, 0.625]]
    same = ranked(torch.zeros(20, 20), "x")
    assert sorted(same.flatten().tolist()) == [(i + 0.5) / 400 for i in range(400)]
    assert torch.equal(same, ranked(torch.zeros(20, 20), "x")) and not torch.equal(
        same, ranked(torch.zeros(20, 20), "y")
    )
    assert abs(np.corrcoef(same.flatten(), np.arange(400))[0, 1]) < 0.2


def test_the_area_is_by_trapezoids():
    assert area(torch.ones(PARTS + 1)) == 1 and area(torch.linspace(0, 1, PARTS + 1)) == pytest.approx(0.5)
    assert area(torch.tensor([0.0, 1.0, 0.0])) == 0.5


def test_random_maps_are_smooth_and_different():
    a, b = random_maps(S, 2, "x")
    assert a.shape == (S, S) and not torch.equal(a, b) and a.min() >= 0 and a.max() <= 1
    assert a.diff(dim=0).abs().max() < 2 * GRID / S
    assert torch.equal(a, next(iter(random_maps(S, 1, "x"))))


@pytest.mark.parametrize("side", [1, 2, 5, 28])
def test_blurring_keeps_plain_areas_and_the_mean(side):
    plain = torch.full((3, side, side), 0.7)
    assert torch.allclose(blurred(plain), plain, atol=1e-6)
    if side > 5:
        noisy = torch.randn(3, side, side)
        soft = blurred(noisy)
        assert soft.std() < 0.7 * noisy.std()
        assert torch.allclose(soft.mean((1, 2)), noisy.mean((1, 2)), atol=0.1)


# -- without training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar_resnet14", "cifar_preact14_B", *CLASSICS])
def test_parts_become_random_from_the_top_down_in_a_copy(name):
    net = net_of(name)
    before, names = copy.deepcopy(net.state_dict()), []
    for part, other in randomised(net):
        names.append(part)
        changed = {k.split(".")[0] + ("." + k.split(".")[1] if k.startswith("stages") else "")
                   for k, v in other.state_dict().items()
                   if k.endswith("weight") and v.ndim > 1 and not torch.equal(v, before[k])}  # fmt: skip
        assert changed == {n for n in names if n in {key_of(k) for k, v in before.items() if v.ndim > 1}}
    assert names == ["head", *(f"stages.{i}" for i in reversed(range(len(net.stages)))), "stem"]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def key_of(path: str) -> str:
    words = path.split(".")
    return ".".join(words[:2]) if words[0] == "stages" else words[0]


def test_randomising_leaves_the_users_random_numbers_alone():
    net = net_of("cifar_resnet8")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert len(list(randomised(net))) == 5
    assert torch.equal(torch.rand(3), expected)


def test_a_map_that_shows_the_net_changes_with_its_weights_and_one_that_shows_the_picture_does_not():
    net, x, targets = net_of("cifar_resnet14"), images(3, 21, 23), torch.tensor([2, 0, 3])
    of_the_net = likeness(net, lambda n: stage_maps(n, x, targets, CPU, method="layer-cam", stage=1))
    of_the_picture = likeness(net, lambda n: x.abs().sum(1))
    assert list(of_the_net) == ["head", "stages.2", "stages.1", "stages.0", "stem"]
    assert of_the_net["stem"] < 0.6
    assert all(rho == pytest.approx(1) for rho in of_the_picture.values())


def test_a_map_without_contrast_is_like_none():
    net = net_of("cifar_resnet8")
    assert set(likeness(net, lambda n: torch.zeros(2, 4, 4)).values()) == {0.0}
    assert set(likeness(net, lambda n: torch.full((2, 4, 4), 0.0 if n is net else float("nan"))).values()) == {0.0}


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 6, (7, 5)), rng.integers(0, 6, (7, 5))
        expected = spearmanr(a.ravel(), b.ravel()).statistic
        found = rank_correlation(torch.from_numpy(a).float(), torch.from_numpy(b).float())
        assert found == pytest.approx(expected, abs=1e-9)
