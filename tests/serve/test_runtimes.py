"""A server with another runtime: the same answers, reasons from the net itself, one line for what it is not for."""

import numpy as np
import pytest

from residua.errors import UsageError
from residua.serve.answerer import Wish
from residua.serve.hosted import Machine, edition


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_answers_are_the_nets_and_reasons_too(kinds, runtime: str) -> None:
    told: list[str] = []
    fast = edition(kinds.classifier, Machine("cpu", runtime=runtime, tell=told.append)).model
    net = edition(kinds.classifier, Machine("cpu")).model
    assert told == [] and fast.about()["runtime"] == runtime and net.about()["runtime"] == "eager"
    picture = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    a, b = (m.answer([m.read(picture)] * 3)[0].probabilities for m in (fast, net))
    assert a.tolist() == pytest.approx(b.tolist(), abs=1e-4)
    assert fast.explain([picture], Wish(explain=True)) == net.explain([picture], Wish(explain=True))


def test_runtimes_are_for_classifiers(kinds) -> None:
    for file in (kinds.detector, kinds.localizer):
        with pytest.raises(UsageError, match="--runtime onnx is for classifiers"):
            edition(file, Machine("cpu", runtime="onnx"))
