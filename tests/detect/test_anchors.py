"""Laws of fitted anchors: they find the sizes and ratios that are there, and overlap no worse than what was."""

import numpy as np
import pytest

from residua.boxes.anchors import means
from residua.detect.anchors import fitted, mean_overlap
from residua.detect.row import detector_row
from residua.nn.zoo import find

ROW = detector_row(find("resnet18"), 2, small=True)


def boxes(seed: int, sizes: tuple[float, ...], ratios: tuple[float, ...], n: int = 600) -> np.ndarray:
    """Widths and heights of some sizes (roots of areas) and ratios (height over width), a little scattered."""
    rng = np.random.default_rng(seed)
    size, ratio = rng.choice(sizes, n), np.sqrt(rng.choice(ratios, n))
    return np.stack([size / ratio, size * ratio], axis=1) * rng.normal(1, 0.02, (n, 2))


@pytest.mark.parametrize("seed", range(3))
def test_sizes_and_ratios_that_are_there_are_found(seed):
    made = fitted(ROW, boxes(seed, (12, 25, 50, 110, 200), (0.4, 1.0, 2.5)))
    assert np.allclose([s for of in made.anchor_sizes for s in of], (12, 25, 50, 110, 200), rtol=0.05)
    assert np.allclose(made.anchor_ratios, (0.4, 1.0, 2.5), rtol=0.05)


@pytest.mark.parametrize("form", ["fpn", "c4"])
def test_fitted_anchors_overlap_more(form):
    row, sides = detector_row(find("resnet18"), 2, form=form), boxes(1, (20, 60), (0.5, 3.0))
    made = fitted(row, sides)
    assert mean_overlap(made, sides) > mean_overlap(row, sides) + 0.1
    assert [len(of) for of in made.anchor_sizes] == [len(of) for of in row.anchor_sizes]


def test_a_box_that_is_an_anchor_overlaps_it_wholly():
    size, ratio = ROW.anchor_sizes[2][0], ROW.anchor_ratios[0]
    assert mean_overlap(ROW, np.array([[size / ratio**0.5, size * ratio**0.5]])) == pytest.approx(1)


def test_equal_boxes_and_few_boxes_leave_numbers_that_make_a_detector():
    same = fitted(ROW, np.full((50, 2), 40.0))
    assert all(30 < s < 50 for of in same.anchor_sizes for s in of)
    assert fitted(ROW, np.array([[10.0, 10.0]])) == ROW == fitted(ROW, np.zeros((9, 2)))


def test_means_rise_and_do_not_depend_on_the_order():
    values = np.random.default_rng(0).normal(0, 1, 300)
    made = means(values, 4)
    assert (np.diff(made) > 0).all() and np.allclose(made, means(values[::-1].copy(), 4))
