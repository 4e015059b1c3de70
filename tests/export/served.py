"""What Triton reads of a model in a repository, by protobuf's own reader of Triton's own message."""

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2


def config(slot):
    """The config.pbtxt of a model."""
    return text_format.Parse((slot.model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def told(tensors):
    """Names, types and dimensions of a configuration."""
    names = model_config_pb2.DataType
    return {t.name: (names.Name(t.data_type).removeprefix("TYPE_"), list(t.dims)) for t in tensors}


def agrees(slot, *, batched):
    """Assert that Triton is told what ONNX Runtime says of the file of a model that finds boxes."""
    import onnxruntime

    session, ours = onnxruntime.InferenceSession(str(slot.paths()[0])), config(slot)
    assert ours.max_batch_size == (16 if batched else 0) and ours.HasField("dynamic_batching") == batched
    assert [t.label_filename for t in ours.output] == [""] * len(ours.output), "labels are places, not numbers"
    kinds = {"tensor(uint8)": "UINT8", "tensor(float)": "FP32", "tensor(int64)": "INT64"}
    for there, theirs in ((ours.input, session.get_inputs()), (ours.output, session.get_outputs())):
        found = told(there)
        assert found.keys() == {t.name for t in theirs}
        for t in theirs:
            kind, dims = found[t.name]
            shape = [n if isinstance(n, int) else -1 for n in t.shape[batched:]]
            assert kind == kinds[t.type] and len(dims) == len(shape)
            assert all(-1 in (d, n) or d == n for d, n in zip(dims, shape, strict=True))
