"""The command `residua study`: what it prints, what it refuses, how it ends."""

import json

import pytest

from residua.study import runner
from study.conftest import Here

TINY = ("--depths", "8,14", "--seeds", "1", "--limit", "64", "--epochs", "1", "--set", "batch_size=16")


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(runner, "engine_for", lambda study: Here())


def test_it_trains_the_cells_and_prints_one_document(residua, tmp_path):
    folder = tmp_path / "study"
    ran = residua("study", *TINY, "--kinds", "residual", "--out", folder, "--json")
    assert ran.code == 0
    found = ran.json
    assert [g["net"] for g in found["groups"]] == ["cifar_resnet8", "cifar_resnet14"]
    assert all((folder / "cells" / c["name"]).samefile(c["run"]) for c in found["cells"])
    assert found["verdict"]["findings"][0]["seeds"] == 1
    assert (folder / "study.html").is_file() and (folder / "study.png").is_file()
    assert "[2/2]" in ran.err and "test error" in ran.err
    again = residua("study", "--resume", folder)
    assert again.code == 0 and "2 finished before, 0 to go" in again.err
    assert "cifar_resnet14" in again.out and found["verdict"]["headline"][:30] in again.out


def test_a_failed_cell_is_named_at_the_end_and_the_others_are_there(residua, tmp_path):
    folder = tmp_path / "study"
    ran = residua("study", *TINY, "--kinds", "plain", "--out", folder, "--set", "lr=1e30", "--json")
    assert ran.code == 4
    assert [f["exit_code"] for f in json.loads(ran.out)["failed"]] == [4, 4]
    last = ran.err.strip().splitlines()[-1]
    assert last.startswith("residua: error: 2 cells failed, the others are kept; --resume") and "the loss is" in last


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--depths", "20,x"), 2, "--depths 20,x: give whole numbers"),
        (("--depths", "21"), 2, "depth must be 6n+2"),
        (("--seeds", "one"), 2, "--seeds one: give how many, or which"),
        (("--seeds", "0"), 2, "--seeds: give at least one"),
        (("--kinds", "plane"), 2, "unknown kind 'plane': did you mean plain"),
        (("--shortcuts", "E"), 2, "unknown shortcuts 'E'"),
        (("--recipe", "quik"), 2, "unknown recipe 'quik': did you mean quick"),
        (("--data", "digit"), 2, "unknown data set 'digit'"),
        (("--resume", "nowhere"), 3, "nowhere is no study"),
        (("--resume", "nowhere", "--depths", "20"), 2, "--depths cannot be given with --resume"),
        (("--address", "head:10001"), 2, "--address names a Ray cluster"),
    ],
)
def test_bad_input_is_one_line(residua, words, code, message):
    ran = residua("study", *words)
    assert ran.code == code and message in ran.line and ran.out == ""


def test_seeds_are_a_count_or_a_list():
    from residua.cli.study import _list

    assert _list("seeds", "3", int, "") == (0, 1, 2) and _list("seeds", "3,", int, "") == (3,)
    assert _list("seeds", "4,7", int, "") == (4, 7)
