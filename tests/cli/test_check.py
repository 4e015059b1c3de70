"""Laws of ``residua check``: its exit code says whether something must be mended; the user's files stay as they are."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acceptance import Acceptance
from cli.conftest import Residua
from residua.data.sources import open_data
from residua.data.view import view_for
from residua.job.record import data_check

FILES = {"data_check.html", "data_check.csv", "data_check.json"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in an empty folder: what they write by default lands there."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def state(root: Path) -> dict[str, tuple[int, ...]]:
    """Everything in a folder, with its size, mode and time of change."""
    every = [root, *root.rglob("*")]
    return {str(p): (s.st_size, s.st_mode, s.st_mtime_ns, s.st_ino) for p in every for s in [os.lstat(p)]}


def test_a_set_that_can_be_trained_on_ends_with_0_and_a_page(residua: Residua, photos: Path, elsewhere: Path):
    ran = residua("check", photos)
    assert ran.code == 0 and not ran.err
    assert "nothing to be mended" in ran.out and "notes.jpg" in ran.out and "residua train" in ran.out
    assert {p.name for p in (elsewhere / "checks" / "photos-1").iterdir()} == FILES


def test_the_acceptance_folder_ends_with_3_and_one_line_and_is_left_alone(residua: Residua, acceptance: Acceptance):
    before = state(acceptance.root)
    ran = residua("check", acceptance.root, "--json", "--out", "found")
    assert ran.code == 3 and "must be mended" in ran.line and "data_check.html" in ran.line
    assert state(acceptance.root) == before
    assert {s["path"] for s in ran.json["skipped"]} == set(acceptance.bad)
    assert ran.json["pictures"] == len(acceptance.good)
    assert ran.json["findings"][0]["kind"] == "leak" and ran.json["findings"][0]["severity"] == "must"
    assert all(Path(path).is_file() for path in ran.json["out"].values())


def test_json_is_the_document_that_is_written_and_proposes_what_training_takes(residua: Residua, photos: Path):
    ran = residua("check", photos, "--json", "--out", "found")
    assert ran.code == 0 and ran.json == json.loads(Path("found/data_check.json").read_text(encoding="utf-8"))
    assert [p["what"] for p in ran.json["proposals"]][:4] == ["fit", "image_size", "arch", "stem"]
    assert {"split", "balance"} <= {p["what"] for p in ran.json["proposals"]}
    asked = [p["flag"] for p in ran.json["proposals"] if not p["automatic"] and p["flag"]]
    assert ran.json["command"].endswith(" ".join(asked)) and ran.json["command"].startswith("residua train ")


def test_the_table_lists_every_picture_of_every_finding(residua: Residua, acceptance: Acceptance):
    residua("check", acceptance.root, "--out", "found")
    with open("found/data_check.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["path"] for r in rows if r["kind"] == "leak"} == {"train/bees/0.png", "val/bees/twin.png"}
    assert sum(r["kind"] == "turned" for r in rows) == 7
    assert {Path(r["path"]).name for r in rows if r["kind"] == "unusable"} >= {"cut.jpg", "bomb.png", "pipe.jpg"}


def test_hostile_labels_are_text_in_terminal_and_table(residua: Residua, tmp_path: Path):
    with open(tmp_path / "labels.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for i in range(6):
            pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{i}.png")
            rows.writerow([f"{i}.png", ("<script>alert(1)</script>", "new\nline", "=cmd()")[i % 3]])
    ran = residua("check", tmp_path / "labels.csv", "--out", "found")
    assert ran.code == 0 and "<script>alert(1)</script>" in ran.out and r"new\nline" in ran.out
    assert "=cmd()" not in [
        c for line in Path("found/data_check.csv").read_text().splitlines() for c in line.split(",")
    ]


def test_one_class_and_nothing_at_all_end_with_3(residua: Residua, photos: Path, tmp_path: Path):
    for path in (photos / "dark").iterdir():
        path.unlink()
    ran = residua("check", photos, "--json")
    assert ran.code == 3 and {"one-class"} <= {f["kind"] for f in ran.json["findings"]} and not ran.json["proposals"]
    (tmp_path / "empty").mkdir()
    assert residua("check", tmp_path / "empty").code == 3


def test_no_folder_is_overwritten_and_none_is_made_within_the_data(
    residua: Residua, photos: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
):
    assert residua("check", photos, "--out", photos / "found").code == 2
    (elsewhere / "mine").mkdir()
    assert residua("check", photos, "--out", "mine").code in (2, 3)
    assert not list((elsewhere / "mine").iterdir())
    monkeypatch.chdir(photos)
    before = state(photos)
    assert residua("check", ".").code == 0 and state(photos) == before
    assert (photos.parent / "checks" / "photos-1" / "data_check.html").is_file()


def test_training_tells_the_same_of_sizes_and_of_what_it_left_out(residua: Residua, photos: Path):
    dataset = open_data(str(photos))
    told = data_check(dataset, view_for(dataset))
    looked = residua("check", photos, "--json").json
    assert [s["path"] for s in told["skipped"]] == ["dark/notes.jpg"] and told["skipped"] == looked["skipped"]
    assert told["imbalance"]["ratio"] == looked["imbalance"]["ratio"]  # counted after, and before, the split
    for key in ("sizes", "channels", "side_px"):
        assert told[key] == looked[key], key
    hidden, seen = told["hidden_by_crop"]["classes"], looked["hidden_by_crop"]["classes"]
    assert {c: pytest.approx(h) for c, h in hidden.items()} == seen


def test_training_writes_that_into_its_run_folder(trained: Path):
    told = json.loads((trained / "data_check.json").read_text(encoding="utf-8"))
    assert told["skipped"] == [] and told["sizes"]["width"] == {"min": 8, "median": 8, "max": 8}
    assert set(told["hidden_by_crop"]["classes"]) == set(told["classes"]) and told["imbalance"]["ratio"] >= 1


@pytest.mark.slow
def test_training_on_a_folder_lists_what_it_left_out(residua: Residua, photos: Path):
    assert residua("train", photos, "--arch", "cifar_resnet8", "--epochs", "1", "--out", "run").code == 0
    told = json.loads(Path("run/data_check.json").read_text(encoding="utf-8"))
    assert [s["path"] for s in told["skipped"]] == ["dark/notes.jpg"] and told["skipped"][0]["reason"]
    assert sum(n for split in told["splits"].values() for n in split.values()) == 20
