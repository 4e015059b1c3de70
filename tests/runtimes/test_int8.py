"""int8 is taken only where held-out pictures say that it costs no more than it may, and nothing is left otherwise."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from residua.errors import NumericError, UsageError
from residua.runtimes import loading, onnx
from residua.runtimes.words import Int8

ALL = Int8("digits", 100)


@pytest.fixture(scope="session")
def grey(tmp_path_factory: pytest.TempPathFactory, saved_model: Callable[..., Path]) -> Path:
    """A model for the digits, untrained."""
    return saved_model(tmp_path_factory.mktemp("grey") / "grey.safetensors", side=8, classes=10, channels=1)


def load(grey: Path, int8: Int8, said: list[str], **how: str) -> loading.Model:
    return loading.load(grey, runtime="onnx", int8=int8, device="cpu", tell=said.append, **how)


@pytest.mark.slow
def test_int8_is_calibrated_on_training_pictures_judged_on_others_and_kept(grey: Path, empty: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        model = load(grey, ALL, said)
    assert said == ["calibrating int8 on 300 training pictures, to be judged by 360 of 360 test pictures of digits"]
    why = loading.decision_of(model).why
    assert why.startswith("int8, asked for; int8 is right on ") and "of 360 held-out pictures, the model on" in why
    net = loading.load(grey, device="cpu")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (8, 8), dtype=np.uint8) for _ in range(9)]
    ours, theirs = model.predict(pictures, top=10), net.predict(pictures, top=10)
    assert ours != theirs  # it is not fp32 by another name
    assert len(list(empty.iterdir())) == 1


@pytest.mark.slow
def test_int8_that_loses_too_much_is_an_error_and_leaves_nothing(grey: Path, empty: Path, monkeypatch) -> None:
    opened = onnx.opened
    best = loading.load(grey, device="cpu")

    def worse(folder: Path, precision: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
        run = opened(folder, precision, threads)
        return lambda x: -run(x)

    monkeypatch.setattr(onnx, "opened", worse)
    with pytest.raises(
        NumericError, match=r"int8 on onnx is right on [\d,]+ of 360 pictures, the model on .* at most -100"
    ):
        load(grey, Int8("digits", -100), [])
    assert list(empty.iterdir()) == [] and best.run is None


def test_int8_and_another_precision_are_not_asked_for_together(grey: Path) -> None:
    with pytest.raises(UsageError, match="bf16"):
        loading.load(grey, runtime="openvino", int8=ALL, precision="bf16", device="cpu")
