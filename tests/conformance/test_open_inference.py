"""Laws of the Open Inference Protocol, version 2, for any server (see conftest.py).

Source: the protocol's specification of HTTP/REST, gRPC and the binary tensor data extension.
"""

import json
import math

import numpy as np
import pytest

HEADER = "Inference-Header-Content-Length"


def test_the_server_is_alive_and_ready(target):
    assert target.get("/v2/health/live").status_code == 200
    assert target.get("/v2/health/ready").status_code == 200


def test_the_server_says_what_it_is(target):
    said = target.get("/v2").json()
    assert isinstance(said["name"], str) and isinstance(said["version"], str)
    assert all(isinstance(e, str) for e in said["extensions"])


def test_a_model_says_what_it_takes_and_gives(target):
    said = target.metadata()
    assert said["name"] == target.model and isinstance(said["platform"], str)
    for of in (*said["inputs"], *said["outputs"]):
        assert isinstance(of["name"], str) and isinstance(of["datatype"], str)
        assert all(type(side) is int and side >= -1 for side in of["shape"])


def test_a_model_is_ready_by_name_and_by_version(target):
    assert target.get(f"{target.base}/ready").status_code == 200
    for version in target.metadata().get("versions", []):
        assert target.get(f"{target.base}/versions/{version}/ready").status_code == 200
        assert target.get(f"{target.base}/versions/{version}").json()["name"] == target.model


def test_an_inference_answers_with_the_tensors_that_the_metadata_promise(target):
    answer = target.infer(target.request(target.arrays(), id="forty-two")).json()
    assert (answer["model_name"], answer["id"]) == (target.model, "forty-two")
    promised = {t["name"]: t for t in target.metadata()["outputs"]}
    assert {t["name"] for t in answer["outputs"]} == promised.keys()
    for t in answer["outputs"]:
        of = promised[t["name"]]
        assert t["datatype"] == of["datatype"] and len(t["shape"]) == len(of["shape"])
        assert all(side in (-1, n) for side, n in zip(of["shape"], t["shape"], strict=True))
        assert np.array(t["data"]).size == math.prod(t["shape"])


def test_only_the_outputs_that_are_asked_for_come_back(target):
    name = target.metadata()["outputs"][0]["name"]
    assert list(target.outputs(target.request(target.arrays(), outputs=[{"name": name}]))) == [name]


def same(a, b, exact=True):
    assert a.keys() == b.keys()
    for name in a:
        if exact or a[name].dtype == np.object_:
            assert np.array_equal(a[name], b[name]), name
        else:
            assert np.allclose(a[name], b[name], rtol=1e-4, atol=1e-5), name


def test_nested_and_flat_data_are_the_same(target):
    arrays = target.arrays()
    same(target.outputs(target.request(arrays)), target.outputs(target.request(arrays, nested=True)), exact=False)


def test_a_version_in_the_path_gives_the_same_answer(target):
    request = target.request(target.arrays())
    for version in target.metadata().get("versions", []):
        answer = target.infer(request, f"/versions/{version}")
        assert answer.status_code == 200 and answer.json()["model_version"] in (version, None)


def test_what_is_said_of_a_row_does_not_depend_on_its_company(target):
    if any(t["shape"][0] != -1 for t in target.metadata()["outputs"] + target.metadata()["inputs"]):
        pytest.skip("this model has no batch side")
    arrays = target.arrays(3)
    whole = target.outputs(target.request(arrays))
    for i in range(3):
        alone = target.outputs(target.request({k: v[i : i + 1] for k, v in arrays.items()}))
        same({k: v[i : i + 1] for k, v in whole.items()}, alone, exact=False)


def test_numbers_as_bytes_are_the_numbers_of_json_both_ways(target):
    if "binary_tensor_data" not in target.get("/v2").json()["extensions"]:
        pytest.skip("this server does not have the extension")
    arrays = target.arrays()
    request = target.request(arrays, parameters={"binary_data_output": True})
    for of, array in zip(request["inputs"], arrays.values(), strict=True):
        del of["data"]
        of["parameters"] = {"binary_data_size": array.nbytes}
    head = json.dumps(request).encode()
    body = head + b"".join(a.tobytes() for a in arrays.values())
    answer = target.client.post(f"{target.base}/infer", content=body, headers={HEADER: str(len(head))})
    assert answer.status_code == 200, answer.text
    end = int(answer.headers[HEADER])
    raw, found = answer.content[end:], {}
    for t in json.loads(answer.content[:end])["outputs"]:
        size = t["parameters"]["binary_data_size"]
        part, raw = raw[:size], raw[size:]
        if t["datatype"] == "FP32":
            found[t["name"]] = np.frombuffer(part, "<f4").reshape(t["shape"])
    assert raw == b"" and found
    plain = target.outputs(target.request(arrays))
    same(found, {name: plain[name] for name in found}, exact=False)


def test_what_does_not_exist_is_an_error_in_json(target):
    for path in ("/v2/models/no-such-model", "/v2/models/no-such-model/ready"):
        assert 400 <= target.get(path).status_code < 500
    answer = target.client.post("/v2/models/no-such-model/infer", json=target.request(target.arrays()))
    assert 400 <= answer.status_code < 500 and isinstance(answer.json()["error"], str)


def wrong(request):
    """Requests that are wrong in one way each, and what is wrong."""
    first = request["inputs"][0]
    yield "an unknown input", request | {"inputs": [first | {"name": "no-such-input"}]}
    yield "an unknown datatype", request | {"inputs": [first | {"datatype": "FP31"}]}
    yield "another datatype", request | {"inputs": [first | {"datatype": "BOOL", "data": [True] * len(first["data"])}]}
    yield "too few numbers", request | {"inputs": [first | {"data": first["data"][:-1]}]}
    yield "another rank", request | {"inputs": [first | {"shape": [len(first["data"])]}]}
    yield "a negative side", request | {"inputs": [first | {"shape": [-1, *first["shape"][1:]]}]}
    yield "no inputs", request | {"inputs": []}
    yield "an unknown output", request | {"outputs": [{"name": "no-such-output"}]}
    yield "inputs of another kind", {"inputs": 7}
    yield "no object", []


def test_what_is_wrong_with_a_request_is_an_error_in_json_and_the_server_lives(target):
    for what, request in wrong(target.request(target.arrays())):
        answer = target.infer(request)
        assert 400 <= answer.status_code < 500, what
        assert isinstance(answer.json()["error"], str), what
    for body in (b"", b"{", b"\xff\xfe", b'{"inputs": ['):
        answer = target.client.post(f"{target.base}/infer", content=body)
        assert 400 <= answer.status_code < 500 and isinstance(answer.json()["error"], str)
    assert target.infer(target.request(target.arrays())).status_code == 200


# -- gRPC -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rpc(target):
    """A client of the protocol over gRPC."""
    if target.rpc is None:
        pytest.skip("say where gRPC is (OIP_GRPC)")
    from tritonclient.grpc import InferenceServerClient

    client = InferenceServerClient(target.rpc)
    yield client
    client.close()


def asked(target, arrays):
    from tritonclient.grpc import InferInput

    kinds = {t["name"]: t["datatype"] for t in target.metadata()["inputs"]}
    made = [InferInput(name, list(a.shape), kinds[name]) for name, a in arrays.items()]
    for of, array in zip(made, arrays.values(), strict=True):
        of.set_data_from_numpy(array)
    return made


def test_both_transports_say_the_same_of_server_and_model(target, rpc):
    assert rpc.is_server_live() and rpc.is_server_ready() and rpc.is_model_ready(target.model)
    assert rpc.get_server_metadata().name == target.get("/v2").json()["name"]
    ours, theirs = target.metadata(), rpc.get_model_metadata(target.model)
    for name in ("inputs", "outputs"):
        assert [(t.name, t.datatype, list(t.shape)) for t in getattr(theirs, name)] == [
            (t["name"], t["datatype"], t["shape"]) for t in ours[name]
        ]


def test_both_transports_give_the_same_numbers(target, rpc):
    arrays = target.arrays()
    plain = target.outputs(target.request(arrays))
    found = rpc.infer(target.model, asked(target, arrays))
    numbers = {k: v for k, v in plain.items() if v.dtype != np.object_}
    same({name: found.as_numpy(name) for name in numbers}, numbers, exact=False)


def test_errors_have_the_codes_of_grpc(target, rpc):
    from tritonclient.utils import InferenceServerException

    inputs = asked(target, target.arrays())
    with pytest.raises(InferenceServerException) as unknown:
        rpc.infer("no-such-model", inputs)
    assert unknown.value.status() == "StatusCode.NOT_FOUND"
    wrong_shape = asked(target, {k: v.reshape(-1) for k, v in target.arrays().items()})
    with pytest.raises(InferenceServerException) as wrong_input:
        rpc.infer(target.model, wrong_shape)
    assert wrong_input.value.status() == "StatusCode.INVALID_ARGUMENT"
