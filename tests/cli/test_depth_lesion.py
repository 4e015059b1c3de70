"""`residua depth lesion`: counts that `eval` confirms, curves, and one line for what cannot be done."""

import json

import pytest

SHORT = ("digits", "--limit", "40", "--batch-size", "16")


def test_the_json_has_a_row_for_every_unit_and_agrees_with_eval(residua, trained, tmp_path):
    ran = residua("depth", "lesion", trained, *SHORT, "--out", tmp_path / "out", "--json")
    document = ran.json
    assert ran.code == 0 and ran.err == ""
    assert [(u["unit"], u["stage"], u["n"]) for u in document["units"]] == [
        ("stages.0.0", 0, 40), ("stages.1.0", 1, 40), ("stages.2.0", 2, 40),
    ]  # fmt: skip
    whole = residua("eval", trained, "digits", "--limit", "40", "--batch-size", "16", "--json").json
    assert (document["base"]["wrong"], document["n"]) == (whole["wrong"], 40)
    assert document["nets"] == 4 and 1 < document["cost"] < 4
    assert all(u["wrong"] / 40 == u["top1_error"] and len(u["interval"]) == 2 for u in document["units"])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["lesion.json", "lesions.png"]
    assert json.loads((tmp_path / "out" / "lesion.json").read_text()) | {"files": document["files"]} == document


def test_random_removals_and_orders_are_counted_on_fewer_pictures(residua, trained, tmp_path):
    words = ("--random", "1,3", "--seeds", "2", "--curve-images", "20")
    ran = residua("depth", "lesion", trained, *SHORT, *words, "--out", tmp_path / "out", "--json")
    assert [(r["k"], r["seed"], r["n"], len(r["units"])) for r in ran.json["random"]] == [
        (1, 0, 20, 1), (1, 1, 20, 1), (3, 0, 20, 3), (3, 1, 20, 3),
    ]  # fmt: skip
    assert ran.json["curves"]["n"] == 20 and ran.json["n"] == 40
    assert ran.json["swaps"] == [] and any("change places" in note for note in ran.json["notes"])
    again = residua("depth", "lesion", trained, *SHORT, *words, "--out", tmp_path / "again", "--json")
    assert again.json["random"] == ran.json["random"]


def test_the_page_says_what_each_unit_is_worth(residua, trained, tmp_path):
    ran = residua("depth", "lesion", trained, *SHORT, "--only", "units", "--out", tmp_path / "out")
    assert ran.code == 0 and "without" in ran.out and "95 % interval" in ran.out and "(changes shape)" in ran.out
    assert "4 nets took the multiply-adds of" in ran.out and "most harmful" in ran.out


def test_exchanged_units_have_a_kendall_tau(residua, tmp_path):
    import torch

    from residua.nn.zoo import build

    torch.manual_seed(0)
    torch.save(build("cifar_plain20", classes=10, channels=1).state_dict(), tmp_path / "net.pth")
    model = tmp_path / "plain.safetensors"
    words = ("--arch", "cifar_plain20", "--classes", "digits", "--out", model)
    assert residua("convert", tmp_path / "net.pth", *words).code == 0
    words = ("--only", "swap", "--swap", "3", "--out", tmp_path / "out")
    ran = residua("depth", "lesion", model, *SHORT, *words)
    assert ran.code == 0 and "Kendall's tau" in ran.out
    document = json.loads((tmp_path / "out" / "lesion.json").read_text())
    assert [len(r["units"]) for r in document["swaps"]] == [9, 9, 9] and document["word"] == "unit"
    assert -1 <= document["swaps"][0]["tau"] < 1 and document["units"] == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--random", "4"), 2, "4 units cannot leave a net that has 3"),
        (("--random", "some"), 2, "give whole numbers"),
        (("--swap", "2"), 2, "no stage of this net has two units"),
        (("--only", "random", "--swap", "2"), 2, "exclude each other"),
        (("--only", "unit"), 2, "did you mean units"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_nothing_is_written(residua, trained, tmp_path, words, code, said):
    ran = residua("depth", "lesion", trained, *SHORT, *words, "--out", tmp_path / "out")
    assert (ran.code, (tmp_path / "out").exists()) == (code, False) and said in ran.line


def test_data_of_other_classes_are_refused(residua, trained, photos, tmp_path):
    ran = residua("depth", "lesion", trained, photos, "--out", tmp_path / "out")
    assert ran.code == 3 and "none of the model's 10 classes" in ran.line and not (tmp_path / "out").exists()


@pytest.mark.data
@pytest.mark.slow
def test_lesions_of_public_weights_are_those_of_evaluating_each_net(residua, real_data, tmp_path):
    from residua.depth.chain import without
    from residua.evaluate import evaluate
    from residua.pair import pair

    path, model = real_data / "akamaster" / "resnet20-12fca82f.th", tmp_path / "model.safetensors"
    assert residua("convert", path, "--arch", "cifar_resnet20", "--classes", "cifar10", "--out", model).code == 0
    ran = residua(
        "depth", "lesion", model, "cifar10", "--limit", "200", "--only", "units", "--json", "--out", tmp_path / "o"
    )
    found = pair(model, "cifar10", limit=200)
    engine = found.engine(precision="fp32")
    net = engine.place(found.net)
    for row in ran.json["units"]:
        with without(net, [row["unit"]]):
            assert evaluate(net, found.batches(64), found.classes, engine).wrong == row["wrong"], row["unit"]
