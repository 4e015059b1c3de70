"""`residua depth landscape`: a folder with every point, that a stopped one goes on from, bit for bit."""

import json

import pytest
import torch

WORDS = ("--resolution", 3, "--images", 24, "--threads", 1)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, trained):
    from residua.cli.main import run

    folder = tmp_path_factory.mktemp("landscape") / "made"
    assert run(["depth", "landscape", str(trained), "digits", *map(str, WORDS), "--out", str(folder)]) == 0
    return folder


def test_every_point_is_in_the_folder_with_the_picture_and_the_numbers(drawn):
    points = [json.loads(line) for line in (drawn / "landscape.jsonl").read_text().splitlines()]
    assert len({(p["i"], p["j"]) for p in points}) == 9 and {p["n"] for p in points} == {24}
    about = json.loads((drawn / "landscape.json").read_text())
    (entry,) = about["surfaces"]
    assert entry["terrain"]["middle"] == next(p["loss"] for p in points if p["alpha"] == p["beta"] == 0)
    assert (about["resolution"], about["images"], about["norms"]) == (3, 24, "running statistics")
    assert (drawn / "landscape.png").read_bytes().startswith(b"\x89PNG")


def test_a_stopped_landscape_goes_on_bit_for_bit(residua, drawn, trained, tmp_path):
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    lines = (drawn / "landscape.jsonl").read_bytes().splitlines(keepends=True)
    (stopped / "landscape.json").write_bytes((drawn / "landscape.json").read_bytes())
    (stopped / "landscape.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:20])  # cut in the middle of a line
    ran = residua("depth", "landscape", trained, "digits", "--resume", stopped, "--json")
    assert ran.code == 0 and ran.json["surfaces"][0]["terrain"]["points"] == 9
    for name in ("landscape.jsonl", "landscape.json", "landscape.png"):
        assert (stopped / name).read_bytes() == (drawn / name).read_bytes()


def test_two_nets_are_drawn_beside_each_other_and_compared(residua, trained, tmp_path):
    ran = residua("depth", "landscape", trained, "digits", "--beside", trained, *WORDS, "--out", tmp_path / "two")
    assert ran.code == 0 and ("The two valleys are equally wide." in ran.out or "Neither net" in ran.out)
    points = [json.loads(line) for line in (tmp_path / "two" / "landscape.jsonl").read_text().splitlines()]
    first, second = ([{**p, "surface": 0} for p in points if p["surface"] == s] for s in (0, 1))
    assert first == second  # one net twice: the same pictures, the same directions, the same numbers


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--resume", "FOLDER", "--resolution", 5), "was made with resolution 3, not 5"),
        (("--resume", "FOLDER", "--seed", 1), "was made with seed 0, not 1"),
        (("--resume", "FOLDER", "--images", 25), "was made with images 24, not 25"),
        (("--resume", "FOLDER", "--beside", "MODEL"), "is of other weights"),
        (("--resume", "RUN"), "is no landscape's folder"),
        (("--resume", "FOLDER", "--out", "x"), "leave --out away"),
        (("--out", "FOLDER"), "exists and is never overwritten"),
        (("--resolution", 4), "give an odd number"),
        (("--span", "-1"), "--span -1: give a positive number"),
        (("--beside", "missing.safetensors"), "no model file missing.safetensors"),
    ],
)
def test_what_does_not_fit_is_one_line_and_nothing_is_touched(residua, drawn, trained, words, said):
    before = {p.name: p.read_bytes() for p in drawn.iterdir()}
    real = {"FOLDER": drawn, "RUN": trained, "MODEL": trained}
    ran = residua("depth", "landscape", trained, "digits", *(real.get(w, w) for w in words))
    assert ran.code in (2, 3) and said in ran.line
    assert {p.name: p.read_bytes() for p in drawn.iterdir()} == before


def test_other_weights_do_not_go_on(residua, drawn, trained, tmp_path):
    from residua.nn import modelfile

    net, header = modelfile.load(trained / "model.safetensors")
    net.head.fc.bias.data += 1
    modelfile.save(tmp_path / "other.safetensors", net, header)
    ran = residua("depth", "landscape", tmp_path / "other.safetensors", "digits", "--resume", drawn)
    assert ran.code == 3 and "is of other weights (cifar_resnet8)" in ran.line


def test_a_surface_that_is_nan_is_said_in_one_line(residua, trained, tmp_path):
    from residua.nn import modelfile

    net, header = modelfile.load(trained / "model.safetensors")
    torch.nn.init.constant_(net.head.fc.bias, float("nan"))
    modelfile.save(tmp_path / "nan.safetensors", net, header)
    ran = residua("depth", "landscape", tmp_path / "nan.safetensors", "digits", *WORDS, "--out", tmp_path / "out")
    assert ran.code == 4 and "NaN everywhere" in ran.line and not (tmp_path / "out").exists()
