"""`residua export` and `residua verify`: a file that has proved right, or none."""

import sys

import pytest

from residua.files import write


@pytest.fixture(scope="module")
def onnx_file(trained, tmp_path_factory):
    from residua.cli.main import run

    path = tmp_path_factory.mktemp("exported") / "digits.onnx"
    assert run(["export", str(trained), "--to", "onnx", "--check", "digits", "--out", str(path)]) == 0
    return path


def flip(path, amount=0.5):
    """Change one weight of the last layer of an ONNX file."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    node = [n for n in model.graph.node if n.op_type == "Gemm"][-1]
    weight = next(t for t in model.graph.initializer if t.name == node.input[1])
    values = np.array(numpy_helper.to_array(weight))
    values.flat[0] += amount
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    write(path, model.SerializeToString())


def left(folder):
    return sorted(p.name for p in folder.iterdir())


def test_an_export_is_compared_on_the_training_s_own_pictures_and_says_so(residua, trained, tmp_path):
    ran = residua("export", trained, "--to", "pt2", "--out", tmp_path / "a.pt2", "--json", "--licence", "mine")
    assert ran.code == 0 and left(tmp_path) == ["a.pt2"]
    assert ran.json["parity"]["pictures"] == "test pictures of digits" and ran.json["parity"]["agrees"]
    assert [r["batch"] for r in ran.json["parity"]["batches"]] == [1, 3, 17] and ran.json["bytes"] > 1000


def test_an_export_verifies_anywhere(residua, trained, onnx_file):
    ran = residua("verify", onnx_file, trained, "digits", "--json")
    assert ran.code == 0 and ran.json["agrees"] and ran.json["to"] == "onnx"
    assert ran.json["accuracy"]["n"] == ran.json["accuracy"]["same"] == 360
    shown = residua("verify", onnx_file, trained, "digits", "--limit", "50")
    assert "50 of 360 test pictures of digits" in shown.out and "50 answers are the same" in shown.out


def test_one_flipped_weight_ends_an_export_with_4_and_leaves_no_file(residua, trained, tmp_path, monkeypatch):
    from residua.export import to_onnx

    own = to_onnx.write

    def broken(graph, words, folder, name):
        own(graph, words, folder, name)
        flip(folder / f"{name}.onnx")

    monkeypatch.setattr(to_onnx, "write", broken)
    ran = residua("export", trained, "--to", "onnx", "--raw", "--out", tmp_path / "a.onnx")
    assert ran.code == 4 and ran.out == "" and left(tmp_path) == []
    assert "the onnx file does not say what the model says: logits differ by" in ran.err


def test_one_flipped_weight_ends_a_verification_with_4_and_shows_where(residua, trained, onnx_file, tmp_path):
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(onnx_file.read_bytes())
    flip(copy, 0.01)
    ran = residua("verify", copy, trained, "digits", "--limit", "20")
    assert ran.code == 4 and "differs" in ran.out and "logits differ by" in ran.line
    ran = residua("verify", copy, trained, "digits", "--limit", "20", "--json")
    assert ran.code == 4 and ran.json["agrees"] is False


def test_another_temperature_is_another_model(residua, onnx_file, trained, tmp_path):
    from dataclasses import replace

    from residua.nn import modelfile

    net, header = modelfile.load(trained / "model.safetensors")
    modelfile.save(tmp_path / "warm.safetensors", net, replace(header, temperature=3.0))
    ran = residua("verify", onnx_file, tmp_path / "warm.safetensors", "digits", "--limit", "20")
    assert ran.code == 4 and "probabilities differ by" in ran.line


def test_nothing_is_written_over(residua, trained, onnx_file, tmp_path):
    before = onnx_file.read_bytes()
    ran = residua("export", trained, "--to", "onnx", "--out", onnx_file)
    assert ran.code == 3 and "exists and is never overwritten" in ran.line and onnx_file.read_bytes() == before
    (tmp_path / "a.bin").write_text("mine")
    ran = residua("export", trained, "--to", "openvino", "--out", tmp_path / "a.xml")
    assert ran.code == 3 and "a.bin exists" in ran.line and (tmp_path / "a.bin").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("", 2, "--to FORMAT is needed: onnx, pt2, openvino"),
        ("--to onx", 2, "did you mean onnx"),
        ("--to onnx --check digit", 2, "did you mean digits"),
        ("--to onnx --check digits --int8 digits", 2, "leave --check out"),
        ("--to pt2 --int8 digits", 2, "--int8 is for onnx and openvino"),
        ("--to onnx --out a.pt2", 2, "ends in .onnx"),
        ("--to onnx --out no/such/a.onnx", 3, "there is no folder no/such"),
        ("--to pt2 --repository models", 2, "--repository is for onnx and openvino"),
        ("--to onnx --repository models --out a.onnx", 2, "leave --out out"),
        ("--to onnx --name photos", 2, "--name is what a model is called in a --repository"),
        ("--to onnx --repository models --name a/b", 2, "--name a/b: a name is made of"),
        ("--to openvino --repository models --name config.json", 2, "the name of a file of the repository"),
        ("--to onnx --repository no/such/models", 3, "there is no folder no/such"),
        ("--to onnx --repository pyproject.toml", 3, "is not a folder"),
    ],
)
def test_what_does_not_fit_is_one_line(residua, trained, words, code, said):
    ran = residua("export", trained, *words.split())
    assert (ran.code, ran.out) == (code, "") and said in ran.line


def test_an_export_becomes_the_next_version_of_a_model_in_a_repository(residua, trained, tmp_path):
    words = ("export", trained, "--to", "onnx", "--raw", "--repository", tmp_path / "models")
    ran = residua(*words, "--json")
    assert ran.code == 0 and (ran.json["name"], ran.json["version"]) == (trained.name, 1)
    ran = residua(*words)
    assert ran.code == 0 and f"version 2 of {trained.name} in" in ran.out
    assert left(tmp_path / "models" / trained.name) == ["1", "2", "config.pbtxt", "labels.txt"]
    ran = residua("verify", tmp_path / "models" / trained.name / "2" / "model.onnx", trained, "digits", "--limit", "9")
    assert ran.code == 0 and "9 answers are the same" in ran.out


def test_a_missing_library_is_one_line_that_says_how_to_get_it(residua, trained, onnx_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    ran = residua("export", trained, "--to", "onnx", "--out", tmp_path / "a.onnx")
    assert ran.code == 2 and ran.line == "error: --to onnx needs onnxruntime: pip install 'residua[onnx]'"
    ran = residua("verify", onnx_file, trained, "digits")
    assert ran.code == 2 and "pip install 'residua[onnx]'" in ran.line


def test_data_of_other_classes_and_another_model_are_named(residua, trained, onnx_file, photos, tmp_path):
    ran = residua("verify", onnx_file, trained, photos)
    assert ran.code == 3 and "is none of the model's 10 classes" in ran.line
    from export.conftest import saved

    other = saved(tmp_path / "other.safetensors", "cifar_resnet8")
    ran = residua("verify", onnx_file, other, photos)
    assert ran.code == 3
    ran = residua("verify", trained / "model.safetensors", trained, "digits")
    assert ran.code == 2 and "is no exported file: give .onnx, .xml, .pt2" in ran.line
    ran = residua("verify", tmp_path / "none.onnx", trained, "digits")
    assert ran.code == 3 and "no exported file" in ran.line


def test_ctrl_c_leaves_no_file(residua, trained, tmp_path, monkeypatch):
    from residua.export import to_onnx

    def stopped(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr(to_onnx, "opened", stopped)
    ran = residua("export", trained, "--to", "onnx", "--raw", "--out", tmp_path / "a.onnx")
    assert ran.code == 130 and left(tmp_path) == []


def test_names_that_are_unusual_stay_as_they_are(residua, tmp_path):
    from export.conftest import saved
    from residua.export.session import opened

    names = ["a, b", 'c "d" <é>', "e\nf", "[red]g"]
    model = saved(tmp_path / "möd el's.safetensors", "cifar_resnet8", names=names)
    for to, end in (("onnx", "onnx"), ("openvino", "xml")):
        out = tmp_path / f"aus gäng [1].{end}"
        assert residua("export", model, "--to", to, "--raw", "--out", out).code == 0
        assert opened(out).words["classes"] == names


@pytest.mark.slow
@pytest.mark.parametrize(("to", "end"), [("onnx", "onnx"), ("openvino", "xml")])
def test_int8_is_taken_only_where_the_test_pictures_say_so(residua, trained, tmp_path, to, end):
    ran = residua("export", trained, "--to", to, "--int8", "digits", "--tolerance", 5, "--out", tmp_path / f"a.{end}",
                  "--json")  # fmt: skip
    found = ran.json["parity"]["accuracy"]
    assert ran.code == 0 and found["n"] == 360 and found["lost_points"] <= 5 and ran.json["precision"] == "int8"
    ran = residua("verify", tmp_path / f"a.{end}", trained, "digits")
    assert ran.code == 0 and "360 pictures" in ran.out


@pytest.mark.slow
def test_int8_that_gives_no_numbers_ends_with_4_and_leaves_no_file(residua, trained, tmp_path, monkeypatch):
    from residua.export import quantise

    own = quantise.write

    def broken(to, graph, words, folder, name, *, inputs):
        own(to, graph, words, folder, name, inputs=inputs)
        flip(folder / f"{name}.onnx", float("nan"))

    monkeypatch.setattr(quantise, "write", broken)
    ran = residua("export", trained, "--to", "onnx", "--int8", "digits", "--out", tmp_path / "a.onnx")
    assert ran.code == 4 and "logits differ by nan" in ran.err and left(tmp_path) == []
