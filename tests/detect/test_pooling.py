"""Laws of pooling regions: torchvision's RoI align is the reference, values and gradients."""

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from residua.detect.pooling import Pooling

STRIDES = (4, 8, 16)


def maps(seed: int, height: int = 96, width: int = 128) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        str(i): torch.randn(2, 5, height // s, width // s, generator=g).requires_grad_() for i, s in enumerate(STRIDES)
    }


def boxes(seed: int, n: int = 40) -> list[torch.Tensor]:
    """Boxes of all sizes, some of them beyond the edges, some of less than a place."""
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(n, 2, generator=g) * torch.tensor([140.0, 110.0]) - 10
    sides = torch.rand(n, 2, generator=g) ** 3 * 300
    every = torch.cat([low, low + sides], 1)
    return [every[: n // 3], every[n // 3 :]]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("size", "ratio"), [(7, 2), (14, 2), (3, 1)])
def test_values_and_gradients_are_torchvisions(seed, size, ratio):
    ours, theirs = maps(seed), maps(seed)
    reference = MultiScaleRoIAlign(["0", "1", "2"], size, ratio)
    expected = reference(theirs, boxes(seed), [(96, 128)] * 2)
    found = Pooling(STRIDES, size, ratio)(ours, boxes(seed), [(96, 128)] * 2)
    assert torch.allclose(found, expected, atol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(9))
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    for name in ours:
        assert torch.allclose(ours[name].grad, theirs[name].grad, atol=1e-4)


def test_without_gradients_it_is_torchvision_itself():
    with torch.no_grad():
        expected = MultiScaleRoIAlign(["0", "1", "2"], 7, 2)(maps(0), boxes(0), [(96, 128)] * 2)
        assert torch.equal(Pooling(STRIDES, 7, 2)(maps(0), boxes(0), [(96, 128)] * 2), expected)


def test_no_boxes_are_no_regions():
    made = Pooling(STRIDES, 7, 2)(maps(0), [torch.zeros(0, 4), torch.zeros(0, 4)], [(96, 128)] * 2)
    assert made.shape == (0, 5, 7, 7)
