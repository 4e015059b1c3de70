"""Laws of times and sizes as words."""

import pytest

from residua.amounts import duration, gigabytes, in_numbers, seconds, size, size_or_off
from residua.errors import UsageError


@pytest.mark.parametrize(
    ("words", "value"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), ("10", 600), ("2 min", 120),
     ("1d", 86400), ("1H 5M 10S", 3910), ("45 sec", 45)],
)  # fmt: skip
def test_times_are_read(words, value):
    assert seconds(words, "--budget") == value


@pytest.mark.parametrize("words", ["", "m", "10x", "-5m", "1h-5m", "0", "0s", "inf", "nan", "1:30", "10m5"])
def test_what_is_no_time_is_one_line_that_names_the_flag(words):
    with pytest.raises(UsageError, match=r"^--budget") as error:
        seconds(words, "--budget")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "value"),
    [("8G", 8 * 2**30), ("8", 8 * 2**30), ("512M", 2**29), ("1.5gb", 3 * 2**29), ("2 GiB", 2**31), ("1T", 2**40)],
)
def test_sizes_are_read(words, value):
    assert size(words, "--memory") == value


@pytest.mark.parametrize("words", ["", "G", "0G", "-1G", "8K", "eight", "nan"])
def test_what_is_no_size_is_one_line_that_names_the_flag(words):
    with pytest.raises(UsageError, match=r"^--memory") as error:
        size(words, "--memory")
    assert "\n" not in str(error.value)


def test_off_is_no_room():
    assert [size_or_off(words, "--cache-size") for words in ("off", " OFF ", "8G")] == [0, 0, 8 * 2**30]
    assert in_numbers({"cache_size": "off"}) == {"cache_size": 0}
    for words in ("on", "0", ""):
        with pytest.raises(UsageError, match=r"^--cache-size .*: give a size such as 8G or 512M, or off$"):
            in_numbers({"cache_size": words})


def test_times_and_sizes_are_shown_in_people_s_units():
    assert [duration(s) for s in (3.21, 75, 3700, float("nan"))] == ["3.2 s", "1 min 15 s", "1 h 01 min", "–"]
    assert duration(5 * 86400) == "5.0 days"
    assert [gigabytes(n) for n in (340 * 2**20, 3.14 * 2**30)] == ["340 MB", "3.1 GB"]
