"""`residua predict --runtime`: what was chosen is said once, answers are the net's, what does not fit is one line."""

import json
import shutil

import pytest

from residua.runtimes.choosing import MANY
from residua.runtimes.words import NEEDS


def labels(out: str) -> list[list[str]]:
    return [line.split("\t")[:2] for line in out.splitlines()]


@pytest.fixture
def many(photos, tmp_path):
    """More pictures than the net as it is answers without a word."""
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(MANY):
        shutil.copy(photos / "dark" / f"{i % 3}.png", folder / f"{i:03}.png")
    return folder


@pytest.mark.parametrize("runtime", NEEDS)
def test_a_runtime_answers_as_the_net_does_and_is_said_once(residua, trained, photos, runtime):
    words = ("predict", trained, *(photos / "dark" / f"{i}.png" for i in range(3)), "--top", "1")
    ran = residua(*words, "--runtime", runtime)
    assert ran.code == 0 and ran.line.startswith(f"runtime: {runtime} (asked for; logits within ")
    assert ran.line.endswith("of the net's; --runtime)")
    assert labels(ran.out) == labels(residua(*words).out)


def test_for_many_pictures_the_choice_is_said_with_its_reason_and_flag(residua, trained, many):
    ran = residua("predict", trained, many)
    assert ran.code == 0 and len(labels(ran.out)) == MANY
    assert ran.line.startswith(f"runtime: eager ({MANY} pictures take ") and ran.line.endswith("--runtime)")
    assert residua("predict", trained, many, "--runtime", "eager").err == ""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--runtime", "openvno"), "did you mean openvino"),
        (("--runtime", "onnx", "--precision", "bf16"), "--runtime onnx does not compute in bf16"),
        (("--runtime", "eager", "--int8", "digits"), "--int8 is for --runtime"),
        (("--int8", "digits", "--engine", "ray"), "--int8 is for --engine local"),
        (("--int8", "digitz"), "digits"),
    ],
)
def test_what_does_not_go_together_is_one_line(residua, trained, photos, words, line):
    ran = residua("predict", trained, photos, *words)
    assert ran.code == 2 and line in ran.line and ran.out == ""


def test_a_missing_extra_is_one_line_with_what_to_install(residua, trained, photos, monkeypatch):
    from residua.runtimes import words

    monkeypatch.setattr(words, "find_spec", lambda name: None)
    ran = residua("predict", trained, photos, "--runtime", "openvino")
    assert ran.code == 2 and ran.line.endswith("--runtime openvino needs openvino: pip install 'residua[openvino]'")


def test_int8_beyond_its_tolerance_ends_with_exit_code_4_and_no_answers(
    residua, trained, photos, tmp_path, monkeypatch
):
    from residua.runtimes import onnx, preparing

    def written(to, graph, words, folder, name, *, inputs):
        onnx.write(graph, words, folder)

    monkeypatch.setattr(preparing.quantise, "write", written)
    opened = onnx.opened
    monkeypatch.setattr(onnx, "opened", lambda *how: lambda x: -opened(*how)(x))
    out = tmp_path / "answers.csv"
    ran = residua("predict", trained, photos, "--runtime", "onnx", "--int8", "digits", "--out", out)
    assert ran.code == 4 and "points are lost, at most 0.5 may be" in ran.err.splitlines()[-1]
    assert not out.exists() and not (tmp_path / "answers.csv.part").exists()


def test_what_was_begun_with_a_runtime_is_gone_on_with_by_it(residua, trained, photos, tmp_path):
    out, part = tmp_path / "answers.csv", tmp_path / "answers.csv.part"
    words = ("predict", trained, photos / "dark" / "0.png", "--out", out)
    assert residua(*words, "--runtime", "onnx").code == 0
    from residua.predict import Journal, asked

    computing = {"runtime": ["onnx"], "precision": ["fp32"], "int8": None}
    about = asked([trained / "model.safetensors"], 5) | computing
    out.unlink()
    Journal(out, about, batch_size=64, resume=False)
    assert json.loads(part.read_text())["runtime"] == ["onnx"]
    assert residua(*words, "--runtime", "eager", "--resume").line.endswith("delete it to begin anew")
    ran = residua(*words, "--resume")
    assert ran.code == 0 and "runtime: onnx" in ran.err and not part.exists()
