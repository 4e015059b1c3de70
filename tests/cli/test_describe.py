"""`residua describe` of several nets, and its drawings. (One net: test_archs.py.)"""

from xml.etree import ElementTree

import pytest


def test_several_nets_are_compared_a_line_each(residua):
    out = residua("describe", "resnet34", "plain34", "vgg19").out
    for words in ("resnet34", "21,797,672", "21,623,848", "143,667,240", "3-4-6-3", "19.6 G"):
        assert words in out
    assert "stages.0.0" not in out


def test_one_net_is_one_document_and_several_are_a_list(residua, tmp_path):
    one, several = (
        residua("describe", "resnet18", "--json").json,
        residua("describe", "resnet18", "vgg11", "--json").json,
    )
    assert [d["name"] for d in several] == ["resnet18", "vgg11"] and several[0] == one and "drawing" not in one
    drawn = residua("describe", "resnet18", "--json", "--draw", tmp_path / "a.svg").json
    assert drawn == one | {"drawing": str(tmp_path / "a.svg")}


def test_nets_are_drawn_into_a_new_file(residua, tmp_path):
    ran = residua("describe", "cifar_resnet20", "cifar_plain20", "--draw", tmp_path / "a.svg")
    assert ran.code == 0 and "a.svg" in ran.out and "269,722" in ran.out
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert residua("describe", "cifar_resnet20", "--draw", tmp_path / "a.png").code == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_trained_net_is_drawn_from_its_file_or_folder(residua, trained, tmp_path):
    for i, name in enumerate((trained, trained / "model.safetensors")):
        assert residua("describe", name, "--draw", tmp_path / f"{i}.svg").code == 0
    text = (tmp_path / "0.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "1.svg").read_text(encoding="utf-8") and "8×8 picture" in text


def test_the_history_is_drawn_and_listed(residua, tmp_path):
    ran = residua("describe", "--history", "--draw", tmp_path / "h.svg")
    assert ran.code == 0 and "GoogLeNet" in ran.out and "3.57 %" in ran.out
    assert "The history of depth" in (tmp_path / "h.svg").read_text(encoding="utf-8")
    assert [w["layers"] for w in residua("describe", "--history", "--json").json] == [8, 8, 19, 22, 152]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("", 2, "give the NAME of one or more nets, or --history alone"),
        ("resnet18 --history", 2, "or --history alone"),
        ("resnet18 --draw a.pdf", 2, "--draw a.pdf: drawings are written as .svg or .png"),
        ("resnet18 --draw a", 2, "written as .svg or .png"),
        ("resnet18 resnet51", 2, "unknown net 'resnet51': did you mean resnet50"),
        ("resnet18 --draw nowhere/a.svg", 3, "cannot write nowhere/a.svg"),
        ("vgg19 --image-size 8 --draw a.svg", 2, "needs images of at least 32 px"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(residua, tmp_path, monkeypatch, words, code, said):
    monkeypatch.chdir(tmp_path)
    ran = residua("describe", *words.split())
    assert ran.code == code and said in ran.line and not list(tmp_path.iterdir())


def test_an_existing_file_is_never_overwritten(residua, tmp_path):
    path = tmp_path / "mine.svg"
    path.write_text("mine")
    for words in (("resnet18",), ("--history",)):
        ran = residua("describe", *words, "--draw", path)
        assert ran.code == 3 and "exists and is never overwritten: choose another --draw" in ran.line
    assert path.read_text() == "mine"
