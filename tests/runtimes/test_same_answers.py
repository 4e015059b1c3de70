"""What a runtime says is what the net says: to rounding in fp32, and as ONNX Runtime says it when run by hand."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from residua import predict
from residua.engine import facts
from residua.errors import NumericError
from residua.export.session import Options, export
from residua.predict import Failure, Model, Prediction
from residua.runtimes import loading, onnx, openvino, preparing

GRAPHS = ["onnx", "openvino"]


def logits(model: Model, n: int) -> torch.Tensor:
    return model.run(images(n)) if model.run else preparing.eager(model, images(n))


def images(n: int) -> torch.Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize("runtime", [*GRAPHS, pytest.param("compiled", marks=pytest.mark.slow)])
def test_logits_are_the_nets_to_rounding_for_every_batch(small: Path, runtime: str) -> None:
    said: list[str] = []
    model, net = loading.load(small, runtime=runtime, device="cpu", tell=said.append), predict.load(small, device="cpu")
    assert said == [] and model.run is not None and loading.decision_of(model).value == runtime
    for n in (1, 2, 9, 33):
        found = logits(model, n)
        assert found.dtype == torch.float32 and found.shape == (n, 4)
        torch.testing.assert_close(found, preparing.eager(net, images(n)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("runtime", GRAPHS)
def test_logits_are_those_of_onnx_runtime_run_by_hand(small: Path, tmp_path: Path, runtime: str) -> None:
    export(small, tmp_path / "raw.onnx", Options(to="onnx", raw=True))
    session = onnxruntime.InferenceSession(str(tmp_path / "raw.onnx"), providers=["CPUExecutionProvider"])
    model = loading.load(small, runtime=runtime, device="cpu")
    for n in (1, 17):
        (expected,) = session.run(None, {"images": images(n).numpy()})
        np.testing.assert_allclose(logits(model, n).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("runtime", GRAPHS)
def test_answers_probabilities_and_their_order_are_the_nets(small: Path, pictures: list, runtime: str) -> None:
    given = [b"no picture" if i % 7 == 3 else p for i, p in enumerate(pictures)]
    ours = loading.load(small, runtime=runtime, device="cpu").predict(given, batch_size=5)
    for a, b in zip(ours, predict.load(small, device="cpu").predict(given, batch_size=5), strict=True):
        assert type(a) is type(b) and a.path == b.path
        if isinstance(a, Prediction):
            assert isinstance(b, Prediction) and a.classes == b.classes
            assert a.probabilities == pytest.approx(b.probabilities, abs=1e-4)
    assert sum(isinstance(r, Failure) for r in ours) == 5


def test_however_many_pictures_come_few_are_in_memory(small: Path) -> None:
    """An endless stream, every third picture bad: no more is read than three batches and what readers hold."""
    read: list[int] = []

    def endless():
        while True:
            read.append(len(read))
            yield b"no picture" if len(read) % 3 == 0 else np.full((20, 20, 3), len(read) % 256, np.uint8)

    model = loading.load(small, runtime="onnx", device="cpu", readers=2)
    for i, result in enumerate(model.stream(endless(), batch_size=4)):
        assert result.path == f"picture {i}" and isinstance(result, Failure) == (i % 3 == 2)
        assert len(read) <= i + 3 * 4 + 1
        if i == 100:
            break


def test_an_ensemble_may_have_a_runtime_in_each_model(small: Path, pictures: list) -> None:
    one, two = (loading.load(small, runtime=r, device="cpu") for r in ("openvino", "eager"))
    for a, b in zip(predict.together([one, two]).predict(pictures), two.predict(pictures), strict=True):
        assert a.classes == b.classes and a.probabilities == pytest.approx(b.probabilities, abs=1e-4)


def test_eager_is_the_net_bit_for_bit(small: Path, pictures: list) -> None:
    for runtime, n in (("eager", None), ("auto", 3)):
        model = loading.load(small, runtime=runtime, pictures=n, device="cpu")
        assert model.run is None
        assert model.predict(pictures) == predict.load(small, device="cpu").predict(pictures)


@pytest.mark.skipif(not facts().cpu_bf16, reason="needs bf16 arithmetic")
def test_bf16_differs_by_no_more_than_its_bits_and_only_where_it_is_close(small: Path) -> None:
    model, net = loading.load(small, runtime="openvino", precision="bf16", device="cpu"), predict.load(small)
    ours, theirs = logits(model, 64), preparing.eager(net, images(64))
    limit = preparing.BF16 * max(1.0, float(theirs.abs().max()))
    assert 1e-4 < float((ours - theirs).abs().max()) <= limit  # it is not fp32 by another name
    best = theirs.max(1).values
    assert bool((best - theirs.gather(1, ours.argmax(1, keepdim=True))[:, 0] <= 2 * limit).all())


@pytest.mark.parametrize("module", [onnx, openvino])
@pytest.mark.parametrize("wrong", [lambda x: x + 0.001, lambda x: x[:, ::-1], lambda x: x * np.nan])
def test_a_runtime_that_says_something_else_is_not_taken(small: Path, monkeypatch, pictures, module, wrong) -> None:
    opened = module.opened
    monkeypatch.setattr(module, "opened", lambda *a: lambda x: np.ascontiguousarray(wrong(opened(*a)(x))))
    runtime, said = module.__name__.rpartition(".")[2], list[str]()
    model = loading.load(small, runtime=runtime, device="cpu", tell=said.append)
    assert len(said) == 1 and "does not say what the model says" in said[0] and "going on without it" in said[0]
    assert model.run is None and model.predict(pictures) == predict.load(small, device="cpu").predict(pictures)
    with pytest.raises(NumericError):
        preparing.ready(model, small, runtime, several=True, tell=said.append)


@pytest.mark.parametrize(("runtime", "place"), [("onnx", onnx), ("openvino", openvino)])
def test_an_exporter_that_fails_is_told_in_one_line_and_the_net_answers(
    small: Path, empty: Path, monkeypatch, pictures, runtime, place
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such operation\nand a long trace")

    monkeypatch.setattr(place, "write", fails)
    said = list[str]()
    model = loading.load(small, runtime=runtime, device="cpu", tell=said.append)
    assert said == [f"--runtime {runtime} failed: no such operation; going on without it (--runtime eager)"]
    assert model.predict(pictures) == predict.load(small, device="cpu").predict(pictures)
    assert list(empty.iterdir()) == []


def test_a_compiler_that_fails_is_told_in_one_line_and_the_net_answers(small: Path, monkeypatch, pictures) -> None:
    def compiled(net: torch.nn.Module, **_: object) -> object:
        def fails(x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no g++")

        return fails

    monkeypatch.setattr(torch, "compile", compiled)
    said = list[str]()
    model = loading.load(small, runtime="compiled", device="cpu", tell=said.append)
    assert said == ["--runtime compiled failed: no g++; going on without it (--runtime eager)"]
    assert model.predict(pictures) == predict.load(small, device="cpu").predict(pictures)
