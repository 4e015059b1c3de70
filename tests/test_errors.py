"""Laws of errors: one line, whatever files and users put into it."""

import pickle

import pytest

from residua.errors import DataError, Interrupted, NumericError, UsageError
from residua.training.finite import NotFinite


@pytest.mark.parametrize("kind", [DataError, UsageError, NumericError, Interrupted, NotFinite])
def test_an_error_is_one_line_and_travels_between_processes(kind):
    error = kind("field 'br\nch\x1b]0;x\x07\u202e' – ärger")
    assert str(error) == r"field 'br\nch\x1b]0;x\x07\u202e' – ärger"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error)
