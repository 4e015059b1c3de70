"""Laws of proposals: what is called automatic is what training decides, the rest is a flag that changes it."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acceptance import save
from residua.data.check import Check, Proposal, examine, material
from residua.job import TrainOptions
from residua.job.plan import open_view, row_for
from residua.job.proposals import proposed


def made(root: Path, sides: tuple[int, int], counts: dict[str, int], name: str = "{i}.png") -> Path:
    """A folder of noise: so many pictures (height, width) of each class."""
    rng = np.random.default_rng(0)
    for label, n in counts.items():
        for i in range(n):
            save(root / label / name.format(i=i), rng.integers(0, 256, (*sides, 3), np.uint8))
    return root


def check_of(root: Path) -> Check:
    return proposed(examine(material(str(root))))


def of(check: Check, what: str) -> Proposal:
    """The proposal on one thing."""
    (one,) = [p for p in check.proposals if p.what == what]
    return one


@pytest.mark.parametrize("sides", [(20, 20), (40, 56), (130, 100), (300, 260)])
def test_what_is_automatic_is_what_training_decides(tmp_path: Path, sides: tuple[int, int]):
    root = made(tmp_path / "photos", sides, {"a": 7, "b": 6})
    check = check_of(root)
    options = TrainOptions(data=str(root))
    dataset, view = open_view(options)
    row, _ = row_for(options, dataset, view, None)
    assert of(check, "image_size").value == str(view.side_px) == str(check.seen.view.side_px)
    assert of(check, "fit").value == view.fit and of(check, "stem").value == row.stem
    assert of(check, "arch").automatic and of(check, "balance").value == "none"


def test_pictures_that_a_crop_would_halve_are_padded_and_the_command_says_so(tmp_path: Path):
    check = check_of(made(tmp_path / "wide photos", (30, 90), {"a": 6, "b": 6}))
    assert of(check, "fit").value == "pad" and not of(check, "fit").automatic
    words = shlex.split(check.command)
    assert words[:3] == ["residua", "train", str(tmp_path / "wide photos")]
    assert words[words.index("--fit") + 1] == "pad"


def test_rare_classes_are_drawn_more_often(tmp_path: Path):
    check = check_of(made(tmp_path, (20, 20), {"a": 16, "b": 5}))
    assert of(check, "balance").flag == "--balance sampler" and "--balance sampler" in check.command
    assert "3.2 times" in of(check, "balance").why


def test_series_ask_for_groups(tmp_path: Path):
    check = check_of(made(tmp_path, (20, 20), {"a": 6, "b": 6}, "patient{i:02}_1.png"))
    assert "group" not in {p.what for p in check.proposals}  # one picture of each
    for label in "ab":
        made(tmp_path, (20, 24), {label: 6}, "patient{i:02}_2.png")
    assert "patient" in of(check_of(tmp_path), "group").why


def test_a_split_without_a_usable_picture_is_none(tmp_path: Path):
    root = made(tmp_path, (20, 20), {"train/a": 8, "train/b": 8, "val/a": 3, "val/b": 3, "test/a": 1})
    assert of(check_of(root), "split").why == "it has val and test"
    (root / "test" / "a" / "0.png").write_bytes(b"")
    assert "val serves as the test" in of(check_of(root), "split").why


def test_nothing_is_proposed_for_what_cannot_be_trained_on(tmp_path: Path):
    check = check_of(made(tmp_path, (20, 20), {"a": 3}))
    assert not check.proposals and not check.command


def test_the_command_for_a_known_set_finds_it_where_it_was_looked_at(tmp_path: Path):
    check = examine(material(str(made(tmp_path, (20, 20), {"a": 3, "b": 3}))))
    elsewhere = replace(check.seen, of=replace(check.seen.of, spec="cifar10", root="my sets"))
    assert proposed(replace(check, seen=elsewhere)).command.startswith("residua train cifar10 --root 'my sets'")
