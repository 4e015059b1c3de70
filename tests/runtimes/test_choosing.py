"""Which runtime is taken, and what is said where none can be: words, extras, precisions, the number of pictures."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from residua.errors import UsageError
from residua.runtimes import loading, words
from residua.runtimes.choosing import MANY, WORTH, Candidate, chosen, usual
from residua.runtimes.words import GRAPHS, check, check_precision

QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
TIMES = st.floats(0.1, 20)
CANDIDATES = st.lists(st.builds(Candidate, st.sampled_from(GRAPHS), st.floats(0, 500), TIMES), max_size=3)


@QUICK
@given(st.integers(1, 10**6), st.floats(1e-5, 10), CANDIDATES)
def test_what_is_taken_ends_sooner_by_far_or_is_the_net_itself(n: int, each: float, candidates: list) -> None:
    value = chosen(n, each, candidates).value
    alone = n * each
    if value == "eager":
        assert all(c.total(n, each) > WORTH * alone for c in candidates)
    else:
        assert min(c.total(n, each) for c in candidates if c.name == value) <= WORTH * alone


@QUICK
@given(st.integers(1, 10**5), st.integers(1, 10**5), st.floats(1e-5, 10), CANDIDATES)
def test_more_pictures_never_bring_the_net_itself_back(n: int, more: int, each: float, candidates: list) -> None:
    if chosen(n, each, candidates).value != "eager":
        assert chosen(n + more, each, candidates).value != "eager"


def test_a_decision_says_why_and_how_to_change_it() -> None:
    found = chosen(2000, 0.1, [usual("openvino", 54, 0.1), usual("compiled", 54, 0.1)])
    assert found.value == "openvino" and found.flag == "--runtime"
    assert found.why.startswith("2,000 pictures take about ") and found.why.endswith(
        "200 s without".replace("200 s", "3 min")
    )
    assert "does not pay" in chosen(MANY, 0.001, [usual("openvino", 54, 0.001)]).why
    assert "residua[openvino]" in chosen(2000, 0.1, [], ["openvino"]).why


def test_auto_never_lowers_the_precision(small: Path) -> None:
    for n in (1, 10**6, None):
        model = loading.load(small, runtime="auto", pictures=n, device="cpu", tell=pytest.fail)
        assert model.engine.precision == "fp32"


def test_a_word_that_is_no_runtime_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="openvino"):
        check("openvno")


@pytest.mark.parametrize("runtime", GRAPHS)
def test_a_runtime_that_is_not_installed_names_the_extra(runtime: str, small: Path, monkeypatch) -> None:
    monkeypatch.setattr(words, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"--runtime {runtime} needs .*pip install 'residua\[{runtime}\]'"):
        loading.load(small, runtime=runtime)
    with pytest.raises(UsageError, match=r"--int8 needs .*pip install 'residua\[openvino\]'"):
        check("auto", int8=True)
    found = loading.load(small, runtime="auto", pictures=100, device="cpu")  # what is missing is no mistake then
    assert found.run is None


@pytest.mark.parametrize(
    ("runtime", "precision", "line"),
    [
        ("onnx", "bf16", "--runtime onnx does not compute in bf16: use --runtime openvino, or --precision fp32"),
        ("openvino", "fp16", "--runtime openvino does not compute in fp16: use --runtime compiled"),
    ],
)
def test_a_precision_that_a_runtime_lacks_is_one_line(runtime: str, precision: str, line: str) -> None:
    with pytest.raises(UsageError) as e:
        check_precision(runtime, precision)
    assert str(e.value).startswith(line)


@pytest.mark.parametrize("runtime", ["eager", "compiled"])
def test_int8_is_for_runtimes_with_a_way_to_it(runtime: str) -> None:
    with pytest.raises(UsageError, match="--int8 is for"):
        check(runtime, int8=True)
