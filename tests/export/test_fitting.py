"""The view's scaling in the graph is torch's, to the last bit: for every fit, interpolation and odd size."""

import numpy as np
import pytest
import torch

from residua.data.view import View
from residua.export.fitting import Fitting


def view(fit, interpolation, side, room=0, channels=3):
    mode, mean = ("RGB", (0.3, 0.6, 0.5)) if channels == 3 else ("L", (0.3,))
    return View(side, fit, side + (room if fit == "crop" else 0), mode, mean, (0.2,) * channels, interpolation)


def same(of, height, width, seed=0):
    numbers = np.random.default_rng(seed)
    pictures = torch.from_numpy(numbers.integers(0, 256, (2, of.channels, height, width), dtype=np.uint8))
    assert torch.equal(Fitting(of)(pictures), torch.stack([of.picture(p) for p in pictures]).double())


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (37, 53), (53, 37), (24, 24), (29, 29), (300, 41), (9, 400), (11, 80), (700, 500)]
)
def test_pictures_are_fitted_as_the_view_does_it_bit_for_bit(fit, interpolation, height, width):
    same(view(fit, interpolation, 24, 5), height, width)
    same(view(fit, interpolation, 24, 0, channels=1), height, width)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_so_are_pictures_a_little_larger_than_the_square_where_no_row_at_the_edge_has_the_largest_weight(interpolation):
    for n, out in ((61, 33), (727, 374), (57, 32), (63, 33)):
        same(view("squash", interpolation, out), n, n + 3)


def test_a_very_large_picture_in_a_very_small_view_is_exact_too():
    same(view("squash", "bilinear", 8), 3000, 2100)
    same(view("crop", "bicubic", 8, 1), 2100, 3000)


def test_a_side_that_is_half_a_pixel_is_rounded_as_the_view_rounds_it():
    same(view("pad", "bilinear", 42), 3, 36)  # 3 * 42 / 36 is 3.5, and 3 * 42 * (1 / 36) is not


@pytest.mark.slow
def test_thousands_of_random_views_and_sizes_are_exact():
    numbers = np.random.default_rng(1)
    for i in range(2000):
        fit, interpolation = (
            str(numbers.choice(["crop", "pad", "squash"])),
            str(numbers.choice(["bilinear", "bicubic"])),
        )
        of = view(fit, interpolation, int(numbers.integers(2, 80)), int(numbers.integers(0, 20)))
        height, width = (int(np.exp(numbers.uniform(0, 6.3))) + 1 for _ in range(2))
        same(of, height, width, seed=i)
