"""Numbers and names as people read them."""

import json
import math

import numpy as np
import pytest

from residua.cli.results import bar_of
from residua.cli.terminal import counted, duration, emit, one_line, percent, short


@pytest.mark.parametrize(
    ("number", "said"),
    [(640, "640"), (40_551_424, "40.6 M"), (1_814_073_344, "1.81 G"), (125_485_706, "125 M"), (999_999, "1000 k")],
)
def test_large_numbers_have_three_digits_and_a_letter(number, said):
    assert short(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (75, "1 min 15 s"), (7380, "2 h 03 min"),
     (math.nan, "–")],
)  # fmt: skip
def test_durations_name_their_two_largest_units(seconds, said):
    assert duration(seconds) == said


def test_fractions_are_printed_as_percent_and_what_is_none_as_a_dash():
    assert [percent(0.0111), percent(1.0, 1), percent(math.nan)] == ["1.11 %", "100.0 %", "–"]


def test_counts_agree_with_their_noun():
    assert [counted(1, "picture"), counted(2000, "picture")] == ["1 picture", "2,000 pictures"]


@pytest.mark.parametrize(
    ("fraction", "bar"), [(0, ""), (1, "████"), (0.5, "██"), (1e-9, "▏"), (0.3, "█▎"), (7, "████")]
)
def test_bars_grow_by_eighths_and_show_anything_above_nothing(fraction, bar):
    assert bar_of(fraction, 4) == bar


def test_control_characters_in_names_are_spelled_out():
    assert one_line("a\nb\x1b[31mc\u202e é") == r"a\nb\x1b[31mc\u202e é"


def test_json_has_no_nan_and_takes_numpy(capsys):
    emit({"a": math.nan, "b": [np.float64(1.5), math.inf], "c": np.arange(2), "d": {1: None}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": [0, 1], "d": {"1": None}}
