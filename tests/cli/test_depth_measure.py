"""`residua depth measure`: a table, a picture, a sentence, and files that say the same."""

import json

import pytest

SHORT = ("digits", "--limit", "24", "--batch-size", "10")


def test_it_writes_units_a_picture_and_says_which_units_work(residua, trained, tmp_path):
    ran = residua("depth", "measure", trained, *SHORT, "--out", tmp_path / "out")
    assert ran.code == 0 and ran.err == ""
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["measure.json", "units.jsonl", "units.png"]
    assert "cifar_resnet8 on digits, test: 24 pictures" in ran.out
    assert "stages.0.0" in ran.out and "zero-pad" in ran.out and "|F|/|x|" in ran.out
    assert "of 3 units change their input by less than 10 %" in ran.out
    rows = [json.loads(line) for line in (tmp_path / "out" / "units.jsonl").read_text().splitlines()]
    document = json.loads((tmp_path / "out" / "measure.json").read_text())
    assert rows == document["units"] and len(document["layers"]) == 7 and document["n"] == 24


def test_json_is_the_document_with_its_files(residua, trained, tmp_path):
    ran = residua("depth", "measure", trained, *SHORT, "--out", tmp_path / "out", "--json")
    document = ran.json
    assert [u["unit"] for u in document["units"]] == ["stages.0.0", "stages.1.0", "stages.2.0"]
    assert set(document["units"][0]) == {
        "unit", "stage", "shortcut", "ratio", "cosine", "last_norm", "gradient_norm", "gradient_share",
    }  # fmt: skip
    assert sum(u["gradient_share"] for u in document["units"]) == pytest.approx(1)
    assert [layer["index"] for layer in document["layers"]] == list(range(1, 8))
    assert json.loads((tmp_path / "out" / "measure.json").read_text()) | {"files": document["files"]} == document


def test_another_model_is_measured_beside_it(residua, trained, tmp_path):
    ran = residua("depth", "measure", trained, *SHORT, "--against", trained, "--out", tmp_path / "out", "--json")
    assert ran.json["against"]["layers"] == ran.json["layers"]


def test_plain_nets_are_compared_with_the_identity_by_cosine(residua, tmp_path):
    import torch

    from residua.nn.zoo import build

    torch.manual_seed(0)
    torch.save(build("cifar_plain14", classes=10, channels=1).state_dict(), tmp_path / "net.pth")
    model = tmp_path / "plain.safetensors"
    words = ("--arch", "cifar_plain14", "--classes", "digits", "--out", model)
    assert residua("convert", tmp_path / "net.pth", *words).code == 0
    ran = residua("depth", "measure", model, *SHORT, "--out", tmp_path / "out")
    assert ran.code == 0 and "no shortcut" in ran.out and "cosine" in ran.out


def test_bad_input_is_one_line_and_nothing_is_written(residua, trained, photos, tmp_path):
    out = tmp_path / "out"
    ran = residua("depth", "measure", trained, photos, "--out", out)
    assert ran.code == 3 and "none of the model's 10 classes" in ran.line and not out.exists()
    assert residua("depth", "measure", tmp_path / "none.safetensors", "digits").code == 3
    out.mkdir()
    ran = residua("depth", "measure", trained, *SHORT, "--out", out)
    assert ran.code == 3 and "never overwritten" in ran.line
