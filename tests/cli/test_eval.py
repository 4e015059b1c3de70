"""`residua eval`: training's own path, the model's classes, counts of everything."""

import json
import shutil
from pathlib import Path

import pytest


def test_it_repeats_the_test_of_the_training(residua, trained):
    ran = residua("eval", trained, "digits", "--limit", "96", "--json")
    stored = json.loads((trained / "evaluation.json").read_text())
    assert ran.code == 0 and ran.err == ""
    for key in ("n", "wrong", "top1_error", "top5_error", "classes", "interval"):
        assert ran.json[key] == stored[key], key
    assert ran.json["loss"] == pytest.approx(stored["loss"], rel=1e-4)


def test_a_run_folder_stands_for_its_model_file(residua, trained):
    words = ("digits", "--limit", "30", "--json")
    by_folder, by_file = residua("eval", trained, *words), residua("eval", trained / "model.safetensors", *words)
    assert by_folder.json == by_file.json


def test_the_page_says_counts_interval_classes_and_confusions(residua, trained):
    ran = residua("eval", trained, "digits", "--limit", "50")
    assert "cifar_resnet8 on digits, test: 50 pictures" in ran.out
    assert "of 50 wrong" in ran.out and "95 % interval" in ran.out and "top-5 error" in ran.out
    assert "precision" in ran.out and "most confused" in ran.out


def test_all_splits_together_count_every_picture_once(residua, trained):
    assert residua("eval", trained, "digits", "--split", "all", "--json").json["n"] == 1797
    parts = [residua("eval", trained, "digits", "--split", s, "--json").json["n"] for s in ("train", "val", "test")]
    assert parts == [1293, 144, 360]


def test_out_writes_tables_and_the_confusion(residua, trained, tmp_path):
    ran = residua("eval", trained, "digits", "--limit", "20", "--split", "all", "--out", tmp_path / "out", "--json")
    names = ["confusion.png", "evaluation.json", "per_class.csv", "predictions.csv", "reliability.png"]
    assert [Path(f).name for f in ran.json["files"]] == names == sorted(p.name for p in (tmp_path / "out").iterdir())
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + ran.json["n"] and rows[1].startswith("digits/")


def test_a_cache_changes_no_number_and_what_it_has_to_say_is_noted(residua, photos, tmp_path, monkeypatch):
    words = ("--arch", "cifar_resnet8", "--epochs", "1", "--batch-size", "8", "--workers", "0", "--image-size", "16")
    monkeypatch.setenv("RESIDUA_CACHE", str(tmp_path / "cache"))
    assert residua("train", photos, *words, "--cache-size", "off", "--out", tmp_path / "run").code == 0
    assert not (tmp_path / "cache").exists()
    asked = ("eval", tmp_path / "run", photos, "--workers", "0", "--json", "--split", "all")
    off, first, again = (residua(*asked, *more).json for more in (("--cache-size", "off"), (), ("--cache-size", "1G")))
    assert off == first == again
    assert list((tmp_path / "cache").rglob("*.pixels"))
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESIDUA_CACHE", str(tmp_path / "file"))
    none = residua(*asked).json
    assert "nothing more is kept" in none["notes"][-1]
    assert none | {"notes": off["notes"]} == off
    ran = residua(*asked, "--cache-size", "much")
    assert ran.code == 2 and "--cache-size much: give a size such as 8G or 512M, or off" in ran.line


def test_classes_are_found_by_name_and_unusable_files_are_said(residua, photos, tmp_path):
    words = ("--arch", "cifar_resnet8", "--epochs", "1", "--batch-size", "8", "--workers", "0", "--image-size", "8")
    assert residua("train", photos, *words, "--out", tmp_path / "run").code == 0
    ran = residua("eval", tmp_path / "run", photos, "--workers", "0", "--json", "--split", "all")
    assert (ran.json["n"], ran.json["classes"]) == (20, ["bright", "dark"])
    assert [Path(s["path"]).name for s in ran.json["skipped"]] == ["notes.jpg"]
    (photos / "another").mkdir()
    shutil.copy(photos / "dark" / "0.png", photos / "another")
    ran = residua("eval", tmp_path / "run", photos, "--json")
    assert ran.code == 3 and "class 'another' of photos is none of the model's 2 classes (bright, dark)" in ran.line


def test_a_folder_without_a_test_split_is_divided_as_the_training_divided_it(residua, photos, tmp_path):
    words = ("--seed", "5", "--arch", "cifar_resnet8", "--epochs", "1", "--batch-size", "8", "--workers", "0")
    assert residua("train", photos, *words, "--out", tmp_path / "run").code == 0
    assert residua("eval", tmp_path / "run", photos, "--workers", "0", "--out", tmp_path / "out").code == 0
    trained, evaluated = ((tmp_path / f / "predictions.csv").read_text() for f in ("run", "out"))
    assert {r.split(",")[0] for r in trained.splitlines()} == {r.split(",")[0] for r in evaluated.splitlines()}


def test_classes_without_names_are_taken_by_position_and_it_is_said(residua, photos, tmp_path):
    import torch

    from residua.nn.zoo import build

    torch.save(build("cifar_resnet8", classes=2).state_dict(), tmp_path / "net.pth")
    model = tmp_path / "model.safetensors"
    assert residua("convert", tmp_path / "net.pth", "--arch", "cifar_resnet8", "--out", model).code == 0
    ran = residua("eval", model, photos, "--workers", "0", "--json")
    assert ran.json["classes"] == ["bright", "dark"]
    assert any("by position" in note for note in ran.json["notes"])


@pytest.mark.data
@pytest.mark.slow
def test_public_weights_are_wrong_on_exactly_the_published_pictures(residua, real_data, tmp_path):
    file, arch, wrong = "resnet56-4bfd9763.th", "cifar_resnet56", 661  # ResNet-20's: tests/nn/test_names.py
    path, model = real_data / "akamaster" / file, tmp_path / "model.safetensors"
    assert residua("convert", path, "--arch", arch, "--classes", "cifar10", "--out", model).code == 0
    ran = residua("eval", model, "cifar10", "--json")
    assert (ran.json["n"], ran.json["wrong"]) == (10_000, wrong)


def test_the_temperature_of_the_training_is_in_the_file_and_in_both_answers(residua, trained):
    from residua.nn import modelfile

    header = modelfile.read_header(trained / "model.safetensors")
    stored = json.loads((trained / "evaluation.json").read_text())
    summary = json.loads((trained / "summary.json").read_text())["temperature"]
    assert stored["calibration"]["temperature"] == header.temperature == summary["temperature"]
    assert "fitted" in summary["why"]
    ran = residua("eval", trained, "digits", "--limit", "96", "--json")
    for key in ("macro", "weighted", "balanced_accuracy", "intervals"):
        assert (
            ran.json[key].keys() == stored[key].keys()
            if isinstance(stored[key], dict)
            else ran.json[key] == stored[key]
        )
    assert ran.json["calibration"]["ece"] == pytest.approx(stored["calibration"]["ece"], abs=1e-5)


def test_the_worst_pictures_are_listed(residua, trained):
    ran = residua("eval", trained, "digits", "--limit", "40", "--worst", "3", "--json")
    losses = [w["loss"] for w in ran.json["worst"]]
    assert len(losses) == 3 and losses == sorted(losses, reverse=True)
    assert list(ran.json["worst"][0]) == ["path", "truth", "prediction", "probability", "loss"]
    assert "highest loss" in residua("eval", trained, "digits", "--limit", "40").out
    assert "highest loss" not in residua("eval", trained, "digits", "--limit", "40", "--worst", "0").out


def test_an_ensemble_shows_each_model_beside_all_together(residua, trained, tmp_path):
    words = ("eval", trained, "digits", "--limit", "40", "--with", trained / "model.safetensors")
    ran = residua(*words, "--json", "--out", tmp_path / "out")
    assert [m["wrong"] for m in ran.json["members"]] == [ran.json["wrong"]] * 2
    assert len(json.loads((tmp_path / "out/evaluation.json").read_text())["members"]) == 2
    assert "each model alone" in residua(*words).out


@pytest.mark.parametrize("words", [("ten-crop",), ("multi-scale",), ("multi-scale", "--scales", "8,12")])
def test_other_views_are_said(residua, trained, words):
    ran = residua("eval", trained, "digits", "--limit", "20", "--json", "--views", *words)
    assert ran.json["n"] == 20 and ran.json["views"] == words[0]
    assert any("probabilities averaged" in note for note in ran.json["notes"])


@pytest.mark.parametrize(("words", "line"), [
    (("--scales", "8"), "scales need --views multi-scale"),
    (("--views", "multi-scale", "--scales", "8,x"), "give short sides in pixels"),
    (("--views", "tencrop"), "ten-crop"),
])  # fmt: skip
def test_words_for_views_that_do_not_exist_are_said_in_one_line(residua, trained, words, line):
    ran = residua("eval", trained, "digits", *words)
    assert ran.code == 2 and line in ran.line
