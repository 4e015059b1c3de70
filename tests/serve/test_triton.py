"""An unmodified tritonclient, the client of the Open Inference Protocol's first server, works against ours."""

import numpy as np
import pytest
import torch
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from residua.api import load
from residua.data.decode import decode
from residua.serve.messages import FIELDS, messages
from serve.conftest import CLASSES, VIEW, picture, serving

PICTURES = [picture(i, (20 + i, 30)) for i in range(3)]


@pytest.fixture(scope="module", params=["http", "grpc"])
def triton(request, served):
    """The client's module, and a client."""
    module, at = (over_http, served.url.removeprefix("http://")) if request.param == "http" else (over_grpc, served.rpc)
    client = module.InferenceServerClient(at)
    yield module, client
    client.close()


def strings(values):
    made = np.empty(len(values), np.object_)
    made[:] = values
    return made


def given(module, name, array, datatype):
    made = module.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def said(found, name):
    """A message of gRPC or JSON, by field."""
    return found[name] if isinstance(found, dict) else getattr(found, name)


def test_the_server_and_its_models_are_alive_ready_and_described(triton):
    _, client = triton
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("classifier") and client.is_model_ready("classifier", "1")
    assert said(client.get_server_metadata(), "name") == "residua"
    about = client.get_model_metadata("classifier")
    assert list(said(about, "versions")) == ["1"]
    inputs = {said(t, "name"): (said(t, "datatype"), [int(n) for n in said(t, "shape")]) for t in said(about, "inputs")}
    assert inputs == {
        "image": ("BYTES", [-1]), "pixels": ("UINT8", [-1, -1, -1, -1]), "tensor": ("FP32", [-1, 3, 12, 12])
    }  # fmt: skip


def test_files_pixels_and_normalised_tensors_are_answered_as_predict_does(triton, kinds):
    module, client = triton
    wanted = load(kinds.classifier).predict(PICTURES, top=4)
    same = [picture(i, (20, 30)) for i in range(3)]
    pixels = np.stack([decode(p).permute(1, 2, 0).numpy() for p in same])
    seen = torch.stack([VIEW.tensor(decode(p)) for p in same]).numpy()
    by_file = client.infer("classifier", [given(module, "image", strings(PICTURES), "BYTES")], request_id="7")
    probabilities = by_file.as_numpy("probabilities")
    assert said(by_file.get_response(), "id") == "7" and probabilities.dtype == np.float32
    assert [sorted(row.tolist(), reverse=True) for row in probabilities] == [list(w.probabilities) for w in wanted]
    assert [n.decode() for n in by_file.as_numpy("labels")] == [w.label for w in wanted]
    softmax = torch.from_numpy(by_file.as_numpy("logits").copy()).softmax(1).numpy()
    assert np.array_equal(softmax, probabilities)
    ways = [("image", strings(same), "BYTES"), ("pixels", pixels, "UINT8"), ("tensor", seen, "FP32")]
    ways = [client.infer("classifier", [given(module, *way)]).as_numpy("probabilities") for way in ways]
    assert np.array_equal(ways[0], ways[1]) and np.array_equal(ways[0], ways[2])


def test_outputs_may_be_chosen_and_come_as_json_where_wanted(served, kinds):
    client = over_http.InferenceServerClient(served.url.removeprefix("http://"))
    outputs = [
        over_http.InferRequestedOutput("labels", binary_data=False),
        over_http.InferRequestedOutput("probabilities", binary_data=True),
    ]
    found = client.infer("classifier", [given(over_http, "image", strings(PICTURES), "BYTES")], outputs=outputs)
    assert found.as_numpy("logits") is None and found.as_numpy("probabilities").shape == (3, 4)
    assert set(found.as_numpy("labels").tolist()) <= set(CLASSES)
    client.close()


@pytest.mark.slow
def test_detectors_and_localizers_answer_with_boxes(triton, kinds):
    module, client = triton
    found = client.infer("detector", [given(module, "image", strings(PICTURES), "BYTES")])
    wanted = load(kinds.detector).predict(PICTURES)
    assert np.array_equal(found.as_numpy("scores"), np.concatenate([w.found.scores for w in wanted]).astype(np.float32))
    assert np.bincount(found.as_numpy("picture"), minlength=3).tolist() == [len(w.found.labels) for w in wanted]
    found = client.infer("localizer", [given(module, "image", strings(PICTURES), "BYTES")])
    boxes = np.stack([w.found.boxes for w in load(kinds.localizer).predict(PICTURES)])
    assert np.array_equal(found.as_numpy("boxes"), boxes.astype(np.float32))


WRONG = [
    ("clasifier", "image", strings([b"x"]), "BYTES", "no model 'clasifier' here: did you mean classifier?"),
    ("classifier", "picture", strings([b"x"]), "BYTES", "no input 'picture'"),
    ("classifier", "image", strings([b"x"]), "BYTES", "picture 0: not an image"),
    ("classifier", "image", np.zeros((1, 2), np.uint8), "UINT8", "input 'image' is BYTES, not UINT8"),
    ("classifier", "pixels", np.zeros((5, 5, 3), np.uint8), "UINT8", "has the shape [-1, -1, -1, -1], not [5, 5, 3]"),
    ("classifier", "pixels", np.zeros((1, 5, 5, 2), np.uint8), "UINT8", "1, 3 or 4 channels"),
    ("classifier", "pixels", np.zeros((0, 5, 5, 3), np.uint8), "UINT8", "not [0, 5, 5, 3]"),
    ("classifier", "tensor", np.zeros((1, 3, 12, 13), np.float32), "FP32", "not [1, 3, 12, 13]"),
    ("classifier", "tensor", np.full((1, 3, 12, 12), np.nan, np.float32), "FP32", "not finite"),
    ("detector", "tensor", np.zeros((1, 3, 12, 12), np.float32), "FP32", "no input 'tensor'"),
    ("classifier", "image", strings([b"x"] * 300), "BYTES", "300 pictures in a request: at most 256"),
]  # fmt: skip


@pytest.mark.parametrize("model, name, array, datatype, words", WRONG, ids=[w[-1][:30] for w in WRONG])
def test_what_is_wrong_is_said_in_one_line(triton, model, name, array, datatype, words):
    module, client = triton
    with pytest.raises(InferenceServerException, match=r".") as error:
        client.infer(model, [given(module, name, array, datatype)])
    assert words in error.value.message() and "\n" not in error.value.message()


def test_two_inputs_and_unknown_outputs_are_refused(triton):
    module, client = triton
    image = given(module, "image", strings(PICTURES), "BYTES")
    with pytest.raises(InferenceServerException, match="2 inputs: give one"):
        client.infer("classifier", [image, given(module, "pixels", np.zeros((1, 5, 5, 3), np.uint8), "UINT8")])
    with pytest.raises(InferenceServerException, match="no output 'scores'"):
        client.infer("classifier", [image], outputs=[module.InferRequestedOutput("scores")])
    with pytest.raises(InferenceServerException, match="has version 1 only"):
        client.infer("classifier", [image], model_version="2")


def test_a_token_is_needed_over_both(hosted):
    with serving([hosted["classifier"]], token="s3cret", farewell_seconds=0.0) as there:
        for module, at in ((over_http, there.url.removeprefix("http://")), (over_grpc, there.rpc)):
            client = module.InferenceServerClient(at)
            assert client.is_server_live()
            with pytest.raises(InferenceServerException, match="a token is needed"):
                client.get_model_metadata("classifier")
            good = client.get_model_metadata("classifier", headers={"authorization": "Bearer s3cret"})
            assert said(good, "name") == "classifier"
            client.close()


def test_a_message_that_is_too_long_is_refused_over_grpc(hosted):
    with serving([hosted["classifier"]], body_bytes=10_000, farewell_seconds=0.0) as there:
        client = over_grpc.InferenceServerClient(there.rpc)
        with pytest.raises(InferenceServerException, match="larger than max"):
            client.infer("classifier", [given(over_grpc, "image", strings([b"x" * 3_000_000]), "BYTES")])
        assert client.is_server_live()
        client.close()


def test_the_messages_are_tritons_field_by_field():
    def fields(message):
        kinds = {f.name: f.message_type and f.message_type.full_name for f in message.fields}
        return {f.name: (f.number, f.type, f.is_repeated, kinds[f.name]) for f in message.fields}

    for name, ours in messages().items():
        theirs = service_pb2
        for part in name.split("."):
            theirs = getattr(theirs, part)
        assert fields(ours.DESCRIPTOR) == fields(theirs.DESCRIPTOR), name
        assert [o.name for o in ours.DESCRIPTOR.oneofs] == [o.name for o in theirs.DESCRIPTOR.oneofs]
    assert len(FIELDS) == 18
