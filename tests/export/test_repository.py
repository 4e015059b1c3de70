"""Versions in a model repository: what Triton and OpenVINO Model Server read there is what the file takes and gives."""

import json
import os

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2

from export.conftest import saved
from export.served import config, told
from residua.errors import DataError, NumericError
from residua.export.repository import Slot
from residua.export.session import Options, export, opened

NAMES = ["ant", 'b "q"', "c\nd", "=é"]
#: What OpenVINO Model Server's own schema asks of the entries that are written here (src/schema.cpp of it).
SCHEMA = {
    "type": "object", "required": ["model_config_list"], "additionalProperties": False,
    "properties": {"model_config_list": {"type": "array", "items": {
        "type": "object", "required": ["config"], "properties": {"config": {
            "type": "object", "required": ["name", "base_path"], "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "base_path": {"type": "string"}},
        }},
    }}},
}  # fmt: skip


def tree(folder):
    """All files with what is in them."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("m") / "m.safetensors", "cifar_resnet8", names=NAMES, temperature=0.6)


@pytest.fixture(scope="module")
def repository(model, tmp_path_factory):
    """The model in a repository, in both formats, and bare."""
    root = tmp_path_factory.mktemp("around") / "models"
    for to in ("onnx", "openvino"):
        export(model, Slot(root=root, name=f"by-{to}", to=to), Options(to=to))
    export(model, Slot(root=root, name="bare", to="onnx"), Options(to="onnx", raw=True))
    return root


def test_a_repository_is_laid_out_as_the_servers_read_it_and_nothing_else_is_there(repository):
    assert sorted(tree(repository)) == [
        "bare/1/model.onnx", "bare/config.pbtxt", "bare/labels.txt",
        "by-onnx/1/model.onnx", "by-onnx/config.pbtxt", "by-onnx/labels.txt", "by-openvino/1/model.bin",
        "by-openvino/1/model.xml", "by-openvino/config.pbtxt", "by-openvino/labels.txt", "config.json",
    ]  # fmt: skip
    assert os.listdir(repository.parent) == ["models"]


def test_tritons_configuration_says_what_onnx_runtime_says_of_the_file(repository):
    import onnxruntime

    slot = Slot(root=repository, name="by-onnx", to="onnx")
    made, session = config(slot), onnxruntime.InferenceSession(str(slot.paths()[0]))
    assert (made.name, made.backend, made.max_batch_size) == ("by-onnx", "onnxruntime", 16)
    assert made.HasField("dynamic_batching")
    kinds = {"tensor(uint8)": "UINT8", "tensor(float)": "FP32"}
    for ours, theirs in ((made.input, session.get_inputs()), (made.output, session.get_outputs())):
        assert told(ours) == {
            t.name: (kinds[t.type], [n if isinstance(n, int) else -1 for n in t.shape[1:]]) for t in theirs
        }  # fmt: skip
        assert all(isinstance(t.shape[0], str) for t in theirs), "the first axis is the batch, of any length"
    probabilities = session.run(None, {"pictures": np.zeros((made.max_batch_size, 3, 20, 31), np.uint8)})[0]
    assert probabilities.shape == (made.max_batch_size, 4)


def test_tritons_configuration_says_what_openvino_says_of_the_file(repository):
    import openvino

    slot = Slot(root=repository, name="by-openvino", to="openvino")
    made, network = config(slot), openvino.Core().read_model(slot.paths()[0])
    assert (made.backend, made.max_batch_size, made.HasField("dynamic_batching")) == ("openvino", 0, False)
    assert [g.kind for g in made.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_CPU]
    kinds = {"u8": "UINT8", "f32": "FP32"}
    for ours, theirs in ((made.input, network.inputs), (made.output, network.outputs)):
        assert told(ours) == {
            t.any_name: (
                kinds[t.element_type.get_type_name()], [-1 if d.is_dynamic else d.get_length() for d in t.partial_shape]
            )
            for t in theirs
        }  # fmt: skip


def test_labels_stand_on_one_line_each_in_the_order_of_the_outputs_that_name_them(repository):
    for name in ("by-onnx", "by-openvino"):
        slot = Slot(root=repository, name=name, to=name.removeprefix("by-"))
        assert {t.name: t.label_filename for t in config(slot).output} == dict.fromkeys(
            ["probabilities", "logits"], "labels.txt"
        )
        lines = (slot.model / "labels.txt").read_text(encoding="utf-8").splitlines()
        assert lines == ["ant", 'b "q"', r"c\nd", "=é"]


def test_openvino_model_servers_configuration_fits_its_schema_and_leads_to_versions_of_models(repository):
    import jsonschema
    import openvino

    served = json.loads((repository / "config.json").read_text())
    jsonschema.validate(served, SCHEMA)
    (entry,) = served["model_config_list"]
    (version,) = [p for p in (repository / entry["config"]["base_path"]).iterdir() if p.is_dir()]
    (network,) = version.glob("*.xml")
    assert version.name == "1" and network.with_suffix(".bin").is_file() and openvino.Core().read_model(network)


def test_a_model_that_is_there_gets_its_next_version_and_nothing_of_it_changes(model, repository, tmp_path):
    import shutil

    root = shutil.copytree(repository, tmp_path / "models")
    edited = root / "bare" / "config.pbtxt"
    edited.write_text(edited.read_text() + "instance_group [ { count: 2 } ]\n")
    (root / "bare" / "7").mkdir()
    (root / "bare" / "7" / "model.onnx").write_bytes((root / "bare" / "1" / "model.onnx").read_bytes())
    (root / "bare" / "08").mkdir()
    before = tree(root)
    done = export(model, Slot(root=root, name="bare", to="onnx"), Options(to="onnx", raw=True))
    assert [str(p.relative_to(root)) for p in done.paths] == ["bare/8/model.onnx"]
    after = tree(root)
    assert {k: after[k] for k in before} == before and after.keys() - before.keys() == {"bare/8/model.onnx"}
    assert opened(done.paths[0]).words["classes"] == NAMES


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ["a", "b", "c", "d"]}, "has other classes"),
        ({"names": NAMES, "channels": 1}, "has other inputs"),
    ],
)
def test_a_model_that_its_clients_would_not_get_along_with_is_refused(repository, tmp_path, change, said):
    other, before = saved(tmp_path / "other.safetensors", "cifar_resnet8", **change), tree(repository)
    with pytest.raises(DataError, match=said):
        export(other, Slot(root=repository, name="by-onnx", to="onnx"), Options(to="onnx"))
    assert tree(repository) == before


def test_a_mismatch_leaves_nothing_not_even_the_repository(model, tmp_path, monkeypatch):
    from residua.export import classifier

    monkeypatch.setattr(classifier.Classifier, "logits", lambda self, pictures: np.ones((len(pictures), 4), np.float32))
    with pytest.raises(NumericError):
        export(model, Slot(root=tmp_path / "models", name="a", to="onnx"), Options(to="onnx", raw=True))
    assert os.listdir(tmp_path) == []


def test_what_breaks_off_leaves_what_was_there(tmp_path):
    slot = Slot(root=tmp_path / "models", name="a", to="onnx")
    with pytest.raises(KeyboardInterrupt), slot.proved() as folder:
        (folder / "model.onnx").write_bytes(b"half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
    with slot.proved() as folder:
        assert not (tmp_path / "models").exists(), "no server sees a half of it"
        (folder / "model.onnx").write_bytes(b"whole")
    with pytest.raises(DataError, match="No space left"), slot.proved() as folder:
        (folder / "model.onnx").write_bytes(b"other")
        raise OSError(28, "No space left on device")
    assert tree(tmp_path) == {"models/a/1/model.onnx": b"whole"}


def test_a_model_that_somebody_else_wrote_meanwhile_stays(tmp_path):
    slot = Slot(root=tmp_path / "models", name="a", to="onnx")
    with pytest.raises(DataError, match="meanwhile"), slot.proved() as folder:
        (folder / "model.onnx").write_bytes(b"ours")
        (slot.model / "1").mkdir(parents=True)
        (slot.model / "1" / "model.onnx").write_bytes(b"theirs")
    assert tree(tmp_path) == {"models/a/1/model.onnx": b"theirs"}


def test_folders_of_other_makers_are_refused(tmp_path):
    slot = Slot(root=tmp_path, name="a", to="onnx")
    for path in ("1/model.py", "1/model.xml", "notes.txt"):
        place = slot.model / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("mine")
        with pytest.raises(DataError, match="holds no onnx file of ours"):
            slot.check()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="is not a folder"):
        Slot(root=tmp_path / "file", name="a", to="onnx").check()
    with pytest.raises(DataError, match="there is no folder"):
        Slot(root=tmp_path / "no" / "such", name="a", to="onnx").check()


def test_models_that_are_served_already_stay_served_as_they_are(tmp_path):
    own = {"model_config_list": [{"config": {"name": "b", "base_path": "/b", "nireq": 2}}], "monitoring": {"x": 1}}
    (tmp_path / "config.json").write_text(json.dumps(own))
    for _ in range(2):
        with Slot(root=tmp_path, name="a", to="openvino").proved() as folder:
            (folder / "model.xml").write_bytes(b"x")
    mine = {"config": {"name": "a", "base_path": "a"}}
    assert json.loads((tmp_path / "config.json").read_text()) == own | {
        "model_config_list": [*own["model_config_list"], mine]
    }


@pytest.mark.parametrize(
    "text", ["", "[]", '{"model_config_list": 1}', '{"model_config_list": [{"name": "a"}]}', "[" * 9999]
)
def test_a_config_json_that_is_something_else_is_refused_before_anything_is_done(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"config\.json is no configuration of OpenVINO Model Server"):
        Slot(root=tmp_path, name="a", to="openvino").check()
    Slot(root=tmp_path, name="a", to="onnx").check()
