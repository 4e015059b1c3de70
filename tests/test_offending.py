"""Laws of trainings whose loss has no end: exit 4, the batch kept, and nothing of it chosen."""

import json
import math

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from cli.conftest import residua  # noqa: F401 - a fixture
from residua.data.batches import Batch, Batches
from residua.errors import NumericError
from residua.job import resumed, train
from residua.job.options import TrainOptions
from residua.training.recipe import recipe

SHORT = ["epochs=2", "batch_size=16", "min_epoch_steps=0", "augment="]


def options(out, words=(), **more):
    made = recipe("quick", [*SHORT, *words])
    return TrainOptions(arch="cifar_resnet8", recipe=made, limit=60, out=str(out), threads=1, **more)


@pytest.fixture
def poisoned(monkeypatch):
    """Batch 4 (from 1) of every training holds a NaN."""
    whole = Batches.finished

    def finished(self, step, pixels):
        batch = whole(self, step, pixels)
        return Batch(batch.images * (math.nan if step == 3 else 1), batch.targets, batch.index)

    monkeypatch.setattr(Batches, "finished", finished)


def test_the_batch_is_kept_with_its_names_and_the_line_says_where(poisoned, tmp_path):
    with pytest.raises(NumericError) as error:
        list(train(options(tmp_path / "run")))
    line = str(error.value)
    assert error.value.exit_code == 4 and "\n" not in line
    assert "at step 4" in line and "most likely its pictures" in line and "--on-nan skip" in line
    assert str(tmp_path / "run" / "nan" / "step-4.png") in line
    Image.open(tmp_path / "run" / "nan" / "step-4.png").load()
    with safe_open(tmp_path / "run" / "nan" / "step-4.safetensors", "pt") as file:
        said = json.loads(file.metadata()["residua"])
        assert file.get_tensor("images").shape[0] == len(said["names"]) == 16 and said["step"] == 4
        assert file.get_tensor("targets").shape == (16,) and all(n.startswith("digits/") for n in said["names"])


def test_a_rate_that_is_too_high_is_named_as_the_cause(tmp_path):
    with pytest.raises(NumericError, match=r"most likely the learning rate"):
        list(train(options(tmp_path / "run", ["lr=1e30", "schedule=constant", "lr_with_batch=none"])))


def test_the_command_ends_with_4_and_one_line(poisoned, residua, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    words = ["train", "--arch", "cifar_resnet8", "--limit", "60", "--batch-size", "16", "--epochs", "2", "--out", "run"]
    ran = residua(*words, "--json")
    assert (ran.code, ran.out) == (4, "") and "run/nan/step-4.png" in ran.err.splitlines()[-1]
    assert "unknown value of --on-nan 'skp': did you mean skip" in residua("train", "--on-nan", "skp").line


def rows(run):
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if "second" not in k and k != "waiting"} for row in found]


def test_skipping_is_counted_in_the_rows_and_resuming_is_exact(poisoned, tmp_path):
    whole, again = tmp_path / "whole", tmp_path / "again"
    list(train(options(whole, ["on_nan=skip"])))
    for event in train(options(again, ["on_nan=skip"], save_every=0.0)):
        if getattr(event, "step", 0) == 5:
            break
    list(train(resumed(again)))
    assert rows(again) == rows(whole)
    steps = [row for row in rows(whole) if row["event"] == "step"]
    assert [row["skipped"] for row in steps if row["step"] == 4] == [1] and steps[3]["loss"] is None
    assert (again / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert sum(row.get("skipped", 0) for row in rows(whole) if row["event"] == "epoch") == 1
    assert all(torch.tensor(row["train_loss"]).isfinite() for row in rows(whole) if row["event"] == "epoch")
