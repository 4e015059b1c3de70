"""Laws of intervals over images that are wrong or right in groups; scipy's Wilson interval is the reference."""

import numpy as np
import pytest
from scipy.stats import binomtest

from residua.evaluate import in_groups, wilson


def wilsons(wrong, n):
    found = binomtest(wrong, n).proportion_ci(method="wilson")
    return pytest.approx((found.low, found.high), abs=1e-12)


def test_groups_of_one_image_are_wilsons():
    wrong = np.random.default_rng(0).random(83) < 0.2
    assert in_groups(wrong, np.arange(83) * 5 - 9) == wilsons(int(wrong.sum()), 83)


@pytest.mark.parametrize("each", [2, 7])
def test_copies_of_an_image_tell_no_more_than_the_image(each):
    wrong = np.random.default_rng(1).random(61) < 0.3
    low, high = in_groups(np.repeat(wrong, each), np.repeat(np.arange(61), each))
    alone = wilson(int(wrong.sum()), 61)
    assert (low, high) == pytest.approx(alone, rel=0.02) and high - low >= alone[1] - alone[0]


@pytest.mark.parametrize("value", [False, True])
def test_where_all_or_none_are_wrong_a_group_counts_as_one_image(value):
    groups = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert in_groups(np.full(45, value), groups) == wilsons(9 * value, 9)


def test_it_is_never_narrower_than_that_of_single_images():
    wrong = np.tile([True, False, False], 20)  # every group has the same share: its variance is less than chance's
    assert in_groups(wrong, np.repeat(np.arange(20), 3)) == wilsons(20, 60)


def test_of_groups_that_err_together_it_holds_the_truth_as_often_as_it_says():
    rng, held, single = np.random.default_rng(0), 0, 0
    for _ in range(400):
        groups = np.repeat(np.arange(50), rng.integers(1, 12, 50))
        wrong = rng.random(len(groups)) < rng.beta(0.6, 2.4, 50)[groups]  # patients differ: 20 % wrong on average
        low, high = in_groups(wrong, groups)
        held += low <= 0.2 <= high
        low, high = wilson(int(wrong.sum()), len(groups))
        single += low <= 0.2 <= high
    assert held >= 0.92 * 400 and single < 0.8 * 400
