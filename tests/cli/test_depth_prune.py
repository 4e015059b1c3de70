import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from residua.nn import modelfile
from residua.nn.zoo import build, find


@pytest.fixture(scope="session")
def deep(tmp_path_factory):
    """A model of four units on digits, two of which can leave."""
    path = tmp_path_factory.mktemp("deep") / "deep.safetensors"
    torch.manual_seed(0)
    row = replace(find("cifar_resnet8:1-2-2"), classes=10, channels=1, widths=(8, 8, 8), stem_width=8)
    view = {
        "side_px": 8, "mode": "L", "fit": "crop", "resize_px": 8, "mean": [0.3], "std": [0.37],
    }  # fmt: skip
    header = modelfile.Header(row=row, classes=tuple("0123456789"), view=view, recipe={"val_fraction": 0.1})
    modelfile.save(path, build(row), header)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "less.safetensors"


def test_a_pruned_model_is_written_with_its_numbers_and_its_picture(residua, deep, out):
    ran = residua("depth", "prune", deep, "digits", "--units", 1, "--limit", 80, "--out", out, "--threads", 1)
    assert ran.code == 0, ran.err
    assert "1 unit of 5 taken out" in ran.out and "test error before" in ran.out and "kept" in ran.out
    net, header = modelfile.load(out)
    old, _ = modelfile.load(deep)
    document = json.loads(out.with_suffix(".json").read_text())
    assert sum(header.row.depths) == 4 and document["chosen"]["depths"] == list(header.row.depths)
    assert sum(p.numel() for p in net.parameters()) == document["chosen"]["params"]
    assert document["chosen"]["params"] < sum(p.numel() for p in old.parameters()) == document["path"][0]["params"]
    entry = header.lineage[-1]["pruned"]
    assert entry["removed"] == document["chosen"]["removed"] and entry["goal"] == {"units": 1}
    assert entry["test"]["after"]["n"] == 80 == header.metrics["test"]["n"]
    assert header.metrics["test"]["wrong"] == document["test"]["after"]["wrong"]
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.width > 1000


def test_the_test_is_counted_as_eval_counts_it(residua, deep, out):
    document = residua(
        "depth", "prune", deep, "digits", "--units", 2, "--limit", 60, "--out", out, "--threads", 1, "--json"
    ).json
    for word, model in (("before", deep), ("after", out)):
        counted = residua("eval", model, "digits", "--limit", 60, "--json").json
        assert counted["wrong"] == document["test"][word]["wrong"]
    assert [len(r["removed"]) for r in document["path"]] == [0, 1, 2] and document["held_out"] == 60
    assert document["tuned"] == [] and not document["held_seen"]


def test_with_a_fine_tune_the_deepest_good_cut_is_kept(residua, deep, out):
    ran = residua(
        "depth", "prune", deep, "digits", "--max-drop", 60, "--finetune", 1, "--limit", 64, "--out", out,
        "--threads", 1, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    document = ran.json
    assert document["recipe"]["epochs"] == 1 and document["recipe"]["augment"]
    assert document["chosen"]["top1_error"] <= document["base"] + 0.6


def test_a_run_can_be_pruned_and_its_units_are_too_few(residua, trained, out):
    ran = residua("depth", "prune", trained, "digits", "--units", 1, "--limit", 60, "--out", out)
    assert ran.code == 2 and "no unit can leave" in ran.err and not out.exists()


def test_where_every_unit_is_needed_nothing_is_written(residua, deep, out, monkeypatch):
    from residua.depth import shrink

    real = shrink._search

    def needed(task, path, max_drop):
        yield from real(task, [path[0], *(replace(r, cut=replace(r.cut, wrong=r.cut.n)) for r in path[1:])], 0)

    monkeypatch.setattr(shrink, "_search", needed)
    ran = residua("depth", "prune", deep, "digits", "--max-drop", 0.5, "--limit", 60, "--out", out, "--json")
    assert ran.code == 2 and "no unit of cifar_resnet8:1-2-2 can leave" in ran.line and not out.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "one of --max-drop POINTS, --speed RATIO and --units K"),
        (("--units", 1, "--speed", 2), "one of --max-drop POINTS, --speed RATIO and --units K"),
        (("--units", 0), "at least 1"),
        (("--speed", 0.5), "above 1"),
        (("--max-drop", -1), "0 or more"),
    ],
)
def test_a_goal_that_makes_no_sense_is_one_line(residua, deep, out, words, says):
    ran = residua("depth", "prune", deep, "digits", *words, "--out", out)
    assert (ran.code, ran.out) == (2, "") and says in ran.line


def test_a_net_without_units_says_so_before_the_data_are_read(residua, tmp_path, out):
    row = replace(find("googlenet"), classes=2)
    modelfile.save(tmp_path / "g", build(row), modelfile.Header(row=row, classes=("a", "b"), view={"side_px": 32}))
    ran = residua("depth", "prune", tmp_path / "g", "digits", "--units", 1, "--out", out)
    assert ran.code == 2 and "googlenet has no units" in ran.line


@pytest.mark.parametrize("end", [".safetensors", ".json", ".png"])
def test_nothing_is_written_over(residua, deep, out, end):
    out.with_suffix(end).write_text("mine")
    ran = residua("depth", "prune", deep, "digits", "--units", 1, "--out", out)
    assert ran.code == 3 and "never overwritten" in ran.line and out.with_suffix(end).read_text() == "mine"
