"""What exporters have done wrong, by the number of the report, and that none of it is in our files."""

import numpy as np
import pytest

from export.conftest import written
from export.structures import structure
from residua.export.session import Options, export, opened


@pytest.fixture(scope="module", params=["basic, 7x7 stem", "bottleneck"])
def done(request, tmp_path_factory):
    """A net of basic units and one of bottlenecks, as ONNX files."""
    folder = tmp_path_factory.mktemp("known")
    with pytest.MonkeyPatch.context() as patched:
        net, row, _ = structure(request.param, patched)
        model = written(folder / "m.safetensors", net, row, 32)
    return model, export(model, folder / "x.onnx", Options(to="onnx", raw=True))


def test_pytorch_169178_no_answer_changes(done):
    assert all(r.same == r.answers for r in done[1].parity.rows)


def test_pytorch_168224_outputs_do_not_differ(done):
    assert done[1].parity.difference <= 1e-4 * max(1, *(r.scale for r in done[1].parity.rows))


def test_pytorch_166797_every_bias_has_one_number_a_channel(done):
    import onnx

    graph = onnx.load(done[1].paths[0]).graph
    shapes = {t.name: list(t.dims) for t in graph.initializer}
    convolutions = [n for n in graph.node if n.op_type == "Conv"]
    assert convolutions and all(shapes[n.input[2]] == shapes[n.input[1]][:1] for n in convolutions)


def test_pytorch_157621_the_batch_is_not_frozen(done):
    import onnx

    (into,) = onnx.load(done[1].paths[0]).graph.input
    assert [d.dim_param or d.dim_value for d in into.type.tensor_type.shape.dim] == ["n", 3, 32, 32]
    for n in (1, 2, 5):
        assert opened(done[1].paths[0]).run(np.zeros((n, 3, 32, 32), np.float32))["logits"].shape == (n, 4)


def test_onnxscript_3027_no_norm_is_left_to_be_fused(done):
    import onnx

    kinds = {n.op_type for n in onnx.load(done[1].paths[0]).graph.node}
    assert "BatchNormalization" not in kinds and "Conv" in kinds
