"""Laws of growing on the way: the course of a net that is deepened while it trains, stopped anywhere or not."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from residua.errors import Interrupted, UsageError
from residua.job import Decided, Finished, TrainOptions, Validated, resumed, train
from residua.job.course import Growth, growths, pending
from residua.nn import modelfile
from residua.training.loop import Step
from residua.training.recipe import recipe

TINY = recipe("quick", ["epochs=3", "batch_size=16", "lr=0.02"])  # of 64 pictures: 12 steps


def options(folder, **changes):
    words = {"arch": "cifar_resnet8", "recipe": TINY, "limit": 64, "out": str(folder), "grow": "0.5:2-1-2"}
    return TrainOptions(**words | changes)


def stopped_after(wanted, step):
    """Train, press Ctrl-C after a step, and go on to the end."""
    with pytest.raises(Interrupted):
        for event in train(wanted):
            if isinstance(event, Step) and event.step == step:
                os.kill(os.getpid(), signal.SIGINT)
    return list(train(resumed(wanted.out)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("growth") / "run"
    return folder, list(train(options(folder)))


def test_growths_are_read_in_order():
    assert growths("0.4:5-5-5, 0.7:9-9-9") == (Growth(0.4, (5, 5, 5)), Growth(0.7, (9, 9, 9)))
    assert growths(None) == () and pending(growths("0.4:2-2-2,0.6:3-3-3"), (2, 2, 2)) == (Growth(0.6, (3, 3, 3)),)


@pytest.mark.parametrize(
    "words", ["5-5-5", "0.4:", "0.4:5-x", "0:5-5-5", "1:5-5-5", "0.5:2-2-2,0.4:3-3-3", "nan:2-2-2"]
)
def test_what_is_no_growth_is_one_line(words):
    with pytest.raises(UsageError, match="--grow") as error:
        growths(words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("words", ["0.5:1-1-1", "0.5:2-2", "0.5:2-2-2,0.7:2-1-2"])
def test_a_growth_that_does_not_fit_is_refused_before_anything_is_written(tmp_path, words):
    with pytest.raises(UsageError):
        next(iter(train(options(tmp_path / "run", grow=words))))
    assert not (tmp_path / "run").exists()


def test_the_net_grows_where_it_should_and_the_folder_says_so(whole):
    folder, events = whole
    told = [(i, d) for i, e in enumerate(events) if isinstance(e, Decided) for d in e.decisions if d.what == "grown"]
    assert len(told) == 1 and isinstance(events[-1], Finished)
    assert [e.step for e in events[: told[0][0]] if isinstance(e, Step)] == [1, 2, 3, 4, 5, 6]
    net, header = modelfile.load(folder / "model.safetensors")
    assert header.row.depths == (2, 1, 2) and header.lineage[-1]["step"] == 6
    assert json.loads((folder / "summary.json").read_text())["arch"]["depths"] == [2, 1, 2]
    assert json.loads((folder / "decisions.json").read_text())[-1]["what"] == "grown"
    assert len(list(net.state_dict())) == len(load_file(folder / "model.safetensors"))


def test_the_kept_epoch_is_one_of_the_grown_net(whole):
    folder, events = whole
    header = modelfile.read_header(folder / "model.safetensors")
    assert header.metrics["val"]["epoch"] >= 2
    first = next(e for e in events if isinstance(e, Validated) and e.epoch == 2)
    assert first.best


@pytest.mark.parametrize("step", [3, 5, 6, 7, 10])
def test_a_growing_training_resumes_bit_for_bit(whole, tmp_path, step):
    folder, _ = whole
    stopped_after(options(tmp_path / "run"), step)
    ours, theirs = (load_file(f / "model.safetensors") for f in (tmp_path / "run", folder))
    assert list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)
    for name in ("predictions.csv", "evaluation.json"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes()


def test_growing_twice_with_averaged_weights_ends_at_the_last_depths(tmp_path):
    changes = {"recipe": recipe("quick", ["epochs=2", "batch_size=16", "lr=0.02", "ema=0.9", "drop_depth=0.2"])}
    list(train(options(tmp_path / "run", grow="0.3:2-1-1,0.6:2-2-2", **changes)))
    net, header = modelfile.load(tmp_path / "run" / "model.safetensors")
    assert header.row.depths == (2, 2, 2) and [x["step"] for x in header.lineage] == [2, 5]
    assert all(torch.isfinite(v).all() for v in net.state_dict().values())
