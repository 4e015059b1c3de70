"""Every structure in every format, at 1, 3 and 17 pictures, with what a consumer needs to use it without us."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from export.conftest import saved, written
from export.structures import EXPORTED, WHOLE, structure
from residua.errors import DataError
from residua.export.session import Options, export, opened

SUFFIX = {"onnx": ".onnx", "pt2": ".pt2", "openvino": ".xml"}


@pytest.fixture(scope="module")
def files(small, tmp_path_factory):
    """The small net in each format."""
    folder = tmp_path_factory.mktemp("files")
    made = {to: export(small, folder / f"a{end}", Options(to=to, author="Ada")) for to, end in SUFFIX.items()}
    return {to: done.paths[0] for to, done in made.items()}, {to: done.parity for to, done in made.items()}


@pytest.mark.parametrize("to", SUFFIX)
def test_a_file_was_asked_with_1_3_and_17_pictures_and_agrees(files, to):
    parity = files[1][to]
    assert [r.batch for r in parity.rows] == [1, 3, 17] and parity.agrees and parity.difference < 1e-4
    assert not [p.name for p in files[0][to].parent.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("to", SUFFIX)
def test_a_file_says_what_it_takes_and_gives(files, to):
    words = opened(files[0][to]).words
    assert words["classes"] == [f"class {i}" for i in range(4)] and words["temperature"] == 0.6
    assert words["arch"] == "cifar_resnet8" and words["author"] == "Ada" and words["precision"] == "fp32"
    side = [16, 16] if to == "openvino" else ["height", "width"]
    assert words["input"]["shape"] == ["n", 3, *side] and words["input"]["dtype"] == "uint8"
    assert ("scale the short side to 18" in words["input"]["before"]) == (to == "openvino")
    assert [o["name"] for o in words["outputs"]] == ["probabilities", "logits"] and words["view"]["side_px"] == 16


def test_probabilities_are_predict_s_own(files, small):
    from residua.predict import load

    picture = torch.randint(0, 256, (3, 40, 31), dtype=torch.uint8)
    wanted = load(small, device="cpu").predict(picture, top=1)[0]
    for to in ("onnx", "pt2"):
        got = opened(files[0][to]).run(picture[None].numpy())["probabilities"][0]
        assert np.isclose(got.sum(), 1) and abs(got.max() - wanted.probability) < 1e-5
        assert f"class {got.argmax()}" == wanted.label


def test_an_onnx_file_is_used_by_its_metadata_alone_and_names_no_file_of_ours(files):
    import onnx
    import onnxruntime

    session = onnxruntime.InferenceSession(str(files[0]["onnx"]), providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["names"]) == {str(i): f"class {i}" for i in range(4)} and told["author"] == "Ada"
    text = str(onnx.load(files[0]["onnx"]).graph)
    assert ".py" not in text and "stack_trace" not in text


def test_a_pt2_file_runs_without_residua(files):
    program = (
        "import sys; sys.modules['residua'] = None\n"
        "import torch\n"
        "words = {'residua.json': ''}\n"
        "module = torch.export.load(sys.argv[1], extra_files=words).module()\n"
        "for n in (1, 3, 17): assert module(torch.zeros(n, 3, 20, 30, dtype=torch.uint8))[0].shape == (n, 4)\n"
        "assert 'class 3' in words['residua.json']\n"
    )
    subprocess.run([sys.executable, "-c", program, str(files[0]["pt2"])], check=True)


def test_a_pt2_file_with_a_pickle_in_it_is_not_opened(files, tmp_path):
    import pickle
    import zipfile

    class Bad:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    bad = tmp_path / "bad.pt2"
    with zipfile.ZipFile(files[0]["pt2"]) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(Bad()) if name.endswith("sample_inputs/model.pt") else old.read(name))
    with pytest.raises(DataError, match="is not opened"):
        opened(bad)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("to", SUFFIX)
def test_a_damaged_or_foreign_file_is_one_line(files, tmp_path, to):
    bad = tmp_path / f"bad{SUFFIX[to]}"
    bad.write_bytes(files[0][to].read_bytes()[:900])
    with pytest.raises(DataError):
        opened(bad)


def test_the_bare_net_takes_normalised_numbers(small, tmp_path):
    done = export(small, tmp_path / "raw.onnx", Options(to="onnx", raw=True))
    assert done.words["input"]["shape"] == ["n", 3, 16, 16] and done.words["input"]["dtype"] == "float32"
    assert [o["name"] for o in done.words["outputs"]] == ["logits"] and done.parity.agrees


@pytest.mark.slow
@pytest.mark.parametrize("what", EXPORTED)
def test_every_structure_agrees_in_every_format(what, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = written(tmp_path / "m.safetensors", *structure(what, monkeypatch))
    for to in SUFFIX:
        assert export(model, tmp_path / f"x{SUFFIX[to]}", Options(to=to, raw=True)).parity.agrees


@pytest.mark.slow
@pytest.mark.parametrize(("fit", "interpolation"), [("crop", "bicubic"), ("pad", "bilinear"), ("squash", "bicubic")])
def test_every_view_agrees(fit, interpolation, tmp_path):
    words = {"fit": fit, "interpolation": interpolation, "resize_px": 20 if fit == "crop" else 16}
    model = saved(tmp_path / "m.safetensors", "cifar_resnet8", channels=1, view=words)
    for to in ("onnx", "pt2"):
        assert export(model, tmp_path / f"x{SUFFIX[to]}", Options(to=to)).parity.agrees


@pytest.mark.whole
@pytest.mark.parametrize("to", SUFFIX)
@pytest.mark.parametrize(("name", "side"), WHOLE)
def test_every_whole_net_agrees_in_every_format_with_pictures_in(name, side, to, tmp_path):
    model = saved(tmp_path / "m.safetensors", name, side=side)
    assert export(model, tmp_path / f"x{SUFFIX[to]}", Options(to=to)).parity.agrees
