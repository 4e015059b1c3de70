"""Laws of the learning-rate finder: it leaves no trace in the training, and finds a rate at which the loss falls."""

import json
import math

import pytest
from safetensors.torch import load_file

from residua.job import Decided, TrainOptions, train
from residua.report import draw
from residua.report.finder import finder
from residua.training.finder import STEPS, suggestion, sweep
from residua.training.recipe import recipe
from residua.training.state import begin
from training.test_loop import ENGINE, FakeBatches, small


def options(tmp_path, name, **changes):
    words = {"data": "digits", "arch": "cifar_resnet20:1-1-1", "limit": 200, "out": str(tmp_path / name)}
    return TrainOptions(recipe=recipe("quick", ["epochs=2", "batch_size=16", "ema=0.9"]), **words | changes)


def test_trying_rates_leaves_the_training_bit_for_bit_the_same(tmp_path):
    list(train(options(tmp_path, "plain")))
    events = list(train(options(tmp_path, "found", find_lr=True)))
    theirs, ours = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "found"))
    assert all(v.numpy().tobytes() == ours[k].numpy().tobytes() for k, v in theirs.items())
    for file in ("predictions.csv", "config.toml"):
        assert (tmp_path / "plain" / file).read_text().replace("plain", "found") == (
            tmp_path / "found" / file
        ).read_text()
    told = [d for e in events if isinstance(e, Decided) for d in e.decisions if d.what == "find_lr"]
    found = json.loads((tmp_path / "found" / "lr_finder.json").read_text())
    assert len(told) == 1 and "training goes on with 0.1" in told[0].why
    assert told[0].flag == f"--lr {found['suggestion']:.2g}" and found["used"] == 0.1
    draw(tmp_path / "found")
    assert (tmp_path / "found" / "lr_finder.png").stat().st_size > 1000
    assert not (tmp_path / "plain" / "lr_finder.png").exists()


def test_the_suggestion_lies_where_the_loss_falls_and_the_sweep_ends_where_it_explodes():
    r = recipe("quick", ["batch_size=32", "augment=", "lr=0.1"])
    batches = FakeBatches(32, steps_per_epoch=200)
    found = sweep(begin(ENGINE.place(small()), r, ENGINE), batches, r, ENGINE)
    assert list(found.lr) == sorted(found.lr) and found.lr[0] == pytest.approx(1e-5)
    assert len(found.lr) <= STEPS and all(map(math.isfinite, found.loss))
    assert found.suggestion is not None and 1e-3 < found.suggestion < 1


def test_a_loss_that_never_falls_suggests_nothing():
    rates = [10.0**i for i in range(20)]
    assert suggestion(rates, [float(i) for i in range(20)]) is None
    assert suggestion(rates[:5], [3.0, 2.0, 1.0, 2.0, 3.0]) is None


@pytest.mark.parametrize("text", ["", "[]", '{"lr": [1], "loss": 3}', "{"])
def test_a_damaged_sweep_is_no_picture(tmp_path, text):
    (tmp_path / "lr_finder.json").write_text(text)
    assert finder(tmp_path, tmp_path / "out.png") is None
