"""The law of readers: bytes from anywhere are a value, or a refusal in one line; never another error."""

import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import targets
from fuzz.targets import TARGETS, WORDS


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    yield
    targets.tidy()


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A small valid file with some bytes changed, cut out, doubled, or put into it."""
    data = bytearray(draw(st.sampled_from(list(TARGETS[name].seeds()))))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("set", "cut", "word", "bytes", "again"))):
            case "set" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.sampled_from((1, 2, 7, 40)))]
            case "word":
                data[at:at] = draw(st.sampled_from(WORDS))
            case "bytes":
                data[at : at + 4] = draw(st.binary(min_size=1, max_size=8))
            case "again":
                data[at:at] = data[max(0, at - 20) : at]
    return bytes(data)


def tried(name: str, examples: int) -> None:
    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(damaged(name))
    def one(data: bytes) -> None:
        with warnings.catch_warnings(action="ignore"):
            targets.law(name, data)

    one()


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_bytes_are_a_value_or_one_line(name: str) -> None:
    tried(name, 25)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_bytes_are_a_value_or_one_line(name: str) -> None:
    tried(name, 1500)


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("model", "words")])
def test_the_files_to_begin_with_are_taken(name: str) -> None:
    """Else the fuzzing would only ever see refusals."""
    assert any(targets.law(name, seed) for seed in TARGETS[name].seeds())
