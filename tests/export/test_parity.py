"""What counts as the same: rounding and ties do, anything else does not."""

import numpy as np
import pytest

from residua.errors import NumericError
from residua.export.parity import TOLERANCE, Parity, accuracy, row


def logits(*rows):
    return np.array(rows, np.float32)


def test_rounding_is_the_same_and_twice_the_limit_is_not():
    a = logits([1.0, 0.2, 0.1])
    near, far = row(a, a + np.float32(0.9e-4), (8, 8), exact=True), row(a, a + np.float32(2e-4), (8, 8), exact=True)
    assert near.agrees and not far.agrees and near.limit == TOLERANCE


def test_the_limit_grows_with_the_largest_logit_and_never_shrinks():
    assert row(logits([200.0, 1]), logits([200.01, 1]), (8, 8), exact=True).agrees
    assert not row(logits([0.02, 0]), logits([0.0202, 0.0002]), (8, 8), exact=True).agrees


def test_another_answer_is_not_the_same_unless_the_model_itself_cannot_tell():
    tie = row(logits([1.0, 1.00005]), logits([1.00005, 1.0]), (8, 8), exact=True)
    assert tie.agrees and tie.same == 1
    clear = row(logits([1.0, 1.4]), logits([1.4, 1.0]), (8, 8), exact=True)
    assert clear.same == 0 and not clear.agrees


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_never_agrees(bad):
    made = row(logits([1.0, 2.0]), logits([bad, 2.0]), (8, 8), exact=False)
    assert not made.agrees
    with pytest.raises(NumericError, match="does not say what the model says"):
        Parity("x", (made,)).demand("the file")


def test_another_shape_or_nothing_at_all_never_agrees():
    assert not row(logits([1, 2]), logits([1, 2, 3]), (8, 8), exact=True).agrees
    with pytest.raises(NumericError, match="nothing to compare"):
        Parity("x", ()).demand("the file")


def test_points_of_accuracy_are_counted_over_all_pictures():
    a = np.eye(4, dtype=np.float32)[[0, 1, 2, 3] * 50]
    b = a.copy()
    b[0] = a[1]
    found = accuracy([a[:100], a[100:]], [b[:100], b[100:]], np.array([0, 1, 2, 3] * 50), 0.5)
    assert (found.n, found.model, found.exported, found.same, found.lost) == (200, 200, 199, 199, 0.5) and found.agrees
    stricter = accuracy([a], [b], np.array([0, 1, 2, 3] * 50), 0.4)
    with pytest.raises(NumericError, match=r"right on 199 of 200 pictures, the model on 200: 0\.50 points"):
        Parity("x", (row(a, a, (8, 8), exact=False),), stricter).demand("the file")


def test_without_a_tolerance_not_one_answer_may_be_lost():
    a = np.eye(4, dtype=np.float32)[[0, 1, 2, 3] * 500]
    b = a.copy()
    b[0] = a[1]
    assert not accuracy([a], [b], np.array([0, 1, 2, 3] * 500), None).agrees
