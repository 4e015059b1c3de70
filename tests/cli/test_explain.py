"""`residua explain`: an overlay for each picture, a sheet, a document; what cannot be explained is named."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from acceptance import oriented, picture
from residua.data.decode import decode

KEYS = {
    "model", "arch", "method", "stage", "target", "engine", "items", "failures", "why_not", "notes", "check", "out",
    "files",
}  # fmt: skip
ITEM = {
    "file", "picture", "truth", "name", "prediction", "probability", "classes", "probabilities", "target",
    "target_probability", "logit", "nothing", "units", "bare", "bare_logit", "bare_leads", "missed", "points", "scores",
}  # fmt: skip
UNIT = {"unit", "stage", "contribution", "added", "leads"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A model that is no residual net."""
    from residua.cli.main import run

    folder = tmp_path_factory.mktemp("plain") / "run"
    words = ["--arch", "cifar_plain8", "--epochs", "1", "--limit", "32"]
    assert run(["train", *words, "--out", str(folder)]) == 0
    return folder


def test_each_picture_has_an_overlay_of_its_own_size_and_the_document_says_all(residua, trained, photos, tmp_path):
    out = tmp_path / "why"
    (photos / "dark" / "notes.jpg").unlink()
    ran = residua("explain", trained, photos / "dark", "--json", "--out", out)
    assert (ran.code, ran.err) == (0, "")
    found = ran.json
    assert found.keys() == KEYS and found == json.loads((out / "explanations.json").read_text())
    assert len(found["items"]) == 10 and found["failures"] == [] and found["check"] is None
    assert (found["method"], found["stage"], found["why_not"]) == ("grad-cam", "stages.2", None)
    for item in found["items"]:
        assert item.keys() == ITEM and all(u.keys() == UNIT for u in item["units"])
        with Image.open(out / item["file"]) as overlay, Image.open(item["picture"]) as photo:
            assert overlay.size == photo.size
        whole = item["logit"] - item["bare_logit"]
        assert sum(u["contribution"] for u in item["units"]) == pytest.approx(
            whole, abs=0.02 * max(1, abs(whole)) + 1e-3
        )
        assert item["units"][-1]["added"] == pytest.approx(item["target_probability"], abs=1e-4)
    assert {p.name for p in out.iterdir()} == {i["file"] for i in found["items"]} | {"explanations.json", "sheet.png"}
    assert found["files"] == [str(out / "explanations.json"), str(out / "sheet.png")]


def test_an_explanation_says_what_predict_says(residua, trained, photos, tmp_path):
    files = [photos / "bright" / f"{i}.png" for i in range(3)]
    said = residua("predict", trained, *files, "--json").json["predictions"]
    found = residua("explain", trained, *files, "--json", "--out", tmp_path / "why").json["items"]
    for one, item in zip(said, found, strict=True):
        assert (one["path"], one["classes"]) == (item["picture"], item["classes"])
        assert item["probabilities"] == pytest.approx(one["probabilities"], abs=1e-5)


def test_overlays_are_upright(residua, trained, tmp_path):
    files, out = [tmp_path / f"{orientation}.jpg" for orientation in range(1, 9)], tmp_path / "why"
    for orientation, file in enumerate(files, 1):
        Image.fromarray(picture(30, 40)).save(file, exif=oriented(orientation), quality=95)
    assert residua("explain", trained, *files, "--out", out).code == 0
    for file in files:
        upright = decode(str(file), "RGB")
        with Image.open(out / f"{file.stem}.png") as overlay:
            assert overlay.size == (upright.shape[2], upright.shape[1])
            assert not overlay.getexif()
            light = np.asarray(overlay.convert("L"), np.float32)
        photo = np.asarray(Image.fromarray(upright.permute(1, 2, 0).numpy()).convert("L"), np.float32)
        assert np.corrcoef(light.ravel(), photo.ravel())[0, 1] > 0.3


def test_everything_that_may_go_wrong_is_explained_or_named(residua, trained, acceptance, tmp_path):
    out = tmp_path / "why"
    ran = residua("explain", trained, acceptance.root, "--json", "--out", out)
    assert ran.code == 3 and "Traceback" not in ran.err
    found = ran.json
    named = {f["path"] for f in found["failures"]}
    assert len(found["items"]) >= len(acceptance.good) - 1 and named
    for f in found["failures"]:
        assert "\n" not in f["reason"]
    assert f"{len(named)} of {len(named) + len(found['items'])} pictures could not be read" in ran.err.splitlines()[-1]
    files = [i["file"] for i in found["items"]]
    assert len(set(map(str.casefold, files))) == len(files) and all("/" not in f and "<" not in f for f in files)


def test_no_picture_at_all_writes_nothing(residua, trained, photos, tmp_path):
    ran = residua("explain", trained, photos / "dark" / "notes.jpg", "--out", tmp_path / "why")
    assert (ran.code, ran.out) == (3, "") and not (tmp_path / "why").exists()
    assert "notes.jpg" in ran.err.splitlines()[0] and "1 of 1 picture could not be read" in ran.err.splitlines()[1]


def test_a_net_without_shortcuts_has_maps_and_says_why_no_depth(residua, plain, photos, tmp_path):
    ran = residua("explain", plain, photos / "bright" / "0.png", "--out", tmp_path / "why")
    assert ran.code == 0 and "nothing by depth: a plain net has no shortcuts" in ran.out
    assert {p.name for p in (tmp_path / "why").iterdir()} == {"0.png", "sheet.png", "explanations.json"}
    found = json.loads((tmp_path / "why" / "explanations.json").read_text())
    assert found["items"][0]["units"] == [] and found["why_not"].startswith("a plain net")


def test_another_class_can_be_asked_for_and_the_check_says_its_numbers(residua, trained, photos, tmp_path):
    words = ("--class", "3", "--check", "--stage", "1", "--method", "layer-cam", "--json", "--out", tmp_path / "why")
    found = residua("explain", trained, photos / "bright" / "0.png", *words).json
    item = found["items"][0]
    assert (found["target"], item["target"], found["stage"], found["method"]) == ("3", "3", "stages.1", "layer-cam")
    assert item["scores"].keys() == {"insertion", "deletion", "insertion_random", "deletion_random"}
    assert all(0 <= v <= 1 for v in item["scores"].values())
    assert list(found["check"]["randomised"]) == ["head", "stages.2", "stages.1", "stages.0", "stem"]
    assert found["check"]["n"] == 1 and all(-1 <= v <= 1 for v in found["check"]["randomised"].values())


def test_more_pictures_than_a_sheet_holds_make_more_sheets(residua, trained, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("residua.report.explained_sheet.ROWS", 2)
    ran = residua("explain", trained, *(photos / "bright" / f"{i}.png" for i in range(5)), "--out", tmp_path / "why")
    assert ran.code == 0
    assert {p.name for p in (tmp_path / "why").glob("sheet*")} == {"sheet.png", "sheet-2.png", "sheet-3.png"}


def test_names_that_meet_in_the_folder_are_told_apart(residua, trained, photos, tmp_path):
    for a, b in (("bright", "sheet.png"), ("dark", "sheet-2.png")):
        (photos / a / "1.png").rename(photos / a / b)
    files = [photos / d / n for d, n in (("bright", "0.png"), ("dark", "0.png"), ("bright", "sheet.png"))]
    ran = residua("explain", trained, *files, photos / "dark" / "sheet-2.png", "--json", "--out", tmp_path / "why")
    assert [i["file"] for i in ran.json["items"]] == ["0.png", "0-2.png", "sheet_.png", "sheet-2_.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "gradcam"), "did you mean grad-cam"),
        (("--stage", "3"), "--stage 3: this net has stages 0 to 2"),
        (("--class", "33"), "class '33'"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused_before_any_picture_is_read(residua, trained, photos, tmp_path, words, said):
    ran = residua("explain", trained, photos, *words, "--out", tmp_path / "why")
    assert ran.code == 2 and said in ran.line and not (tmp_path / "why").exists()


def test_a_folder_that_exists_is_not_written_into(residua, trained, photos, tmp_path):
    ran = residua("explain", trained, photos, "--out", tmp_path)
    assert ran.code in (2, 3) and str(tmp_path) in ran.line


@pytest.mark.parametrize("method", ["occlusion", "integrated-gradients"])
def test_without_captum_one_line_says_how_to_get_it(residua, trained, photos, tmp_path, monkeypatch, method):
    for name in [n for n in sys.modules if n.partition(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    ran = residua("explain", trained, photos, "--method", method, "--out", tmp_path / "why")
    assert ran.code == 2 and "pip install 'residua[explain]'" in ran.line


@pytest.mark.parametrize("method", ["occlusion", "integrated-gradients"])
def test_methods_on_pixels_have_no_stage(residua, trained, photos, tmp_path, method):
    ran = residua(
        "explain", trained, photos / "bright" / "0.png", "--method", method, "--json", "--out", tmp_path / "w"
    )
    assert ran.code == 0 and ran.json["stage"] is None


def test_the_terminal_says_answer_depth_and_files(residua, trained, photos, tmp_path):
    ran = residua("explain", trained, photos / "bright" / "0.png", "--out", tmp_path / "why")
    assert ran.code == 0 and ran.err == ""
    assert all(w in ran.out for w in ("0.png", "for it", "on the way", "decided", str(tmp_path / "why" / "sheet.png")))
