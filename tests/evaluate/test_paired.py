"""Laws of two nets on the same images; SciPy's exact binomial test is the reference."""

import numpy as np
import pytest
from scipy.stats import binomtest

from residua.evaluate.paired import holm, mcnemar, paired


@pytest.mark.parametrize(("b", "c"), [(0, 1), (1, 0), (5, 0), (12, 31), (31, 12), (3, 4), (100, 60), (700, 801)])
def test_the_test_is_scipys_exact_binomial(b: int, c: int) -> None:
    assert mcnemar(b, c) == pytest.approx(binomtest(b, b + c, 0.5).pvalue, rel=1e-9)


def test_nets_that_nothing_tells_apart_differ_by_chance() -> None:
    assert mcnemar(0, 0) == 1 and mcnemar(7, 7) == 1
    assert mcnemar(10_000, 20_000) == 0  # below what a float can hold, and no overflow


def test_images_are_counted_by_who_is_right() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(301) < 0.8, rng.random(301) < 0.7
    found = paired(a.tolist(), b.tolist())
    assert (found.both, found.only_a) == ((a & b).sum(), (a & ~b).sum())
    assert (found.only_b, found.neither, found.n) == ((~a & b).sum(), (~a & ~b).sum(), 301)
    assert paired(b.tolist(), a.tolist()).p == found.p
    with pytest.raises(ValueError, match="cannot be paired"):
        paired([True], [])


def test_several_tests_count_together_as_holm_says() -> None:
    # the worked example of Holm's procedure with four tests: 4 x 0.005, 3 x 0.01, 2 x 0.03, then never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.2]) == [0.2] and holm([0.9, 0.8]) == [1, 1]
