"""Laws of the automatic batch: it follows the pictures and the memory, holds at least two of them, and is said."""

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from residua.errors import UsageError
from residua.job import Decided, resumed, train
from residua.job.plan import FEW, SMALLEST, sized
from residua.training import step
from residua.training.loop import Step
from residua.training.recipe import RECIPES, recipe
from test_job import TINY, finished, options, until

QUICK = RECIPES["quick"]


def decided(events, what):
    """The decisions about one thing, in order."""
    return [d for e in events if isinstance(e, Decided) for d in e.decisions if d.what == what]


# -- from the number of pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pictures", "size"),
    [(5000, 64), (512, 64), (511, 32), (256, 32), (255, 16), (200, 16), (199, 16), (127, 8), (64, 8), (20, 8), (2, 8)],
)
def test_the_batch_is_halved_until_an_epoch_has_eight_steps_as_far_as_it_makes_sense(pictures, size):
    found, told = sized(QUICK, pictures)
    assert found.batch_size == size
    assert pictures // size >= QUICK.min_epoch_steps or size in (SMALLEST, SMALLEST // 2) or size == QUICK.batch_size
    if size == QUICK.batch_size:
        assert told == [] and found.lr == QUICK.lr
    else:
        assert [(d.what, d.value, d.flag) for d in told] == [
            ("batch_size", str(size), "--batch-size 64"), ("lr", f"{found.lr:g}", "--lr 0.1"),
        ]  # fmt: skip
        assert f"{pictures:,} pictures would be" in told[0].why
        assert found.lr == pytest.approx(QUICK.lr * (size / 64) ** 0.5, rel=5e-3)


def test_a_batch_never_grows_nor_falls_under_its_least_whatever_the_number_of_pictures():
    for name, r in RECIPES.items():
        for pictures in range(1, 600, 7):
            size = sized(r, pictures)[0].batch_size
            least = SMALLEST if pictures >= FEW else SMALLEST // 2
            assert 2 <= min(least, r.batch_size) <= size <= r.batch_size, (name, pictures)
            assert size // r.accumulate >= 2 or r.accumulate == 1, (name, pictures)


@pytest.mark.parametrize("words", [["batch_size=64"], ["min_epoch_steps=0"], ["steps=100"]])
def test_a_batch_that_was_asked_for_and_a_number_of_steps_stay_as_they_are(words):
    found, told = sized(recipe("quick", words), 90)
    assert (found.batch_size, found.lr, told) == (64, 0.1, [])


def test_a_rate_that_was_asked_for_stays_when_the_batch_follows():
    found, told = sized(recipe("quick", ["lr=0.3"]), 90)
    assert (found.batch_size, found.lr, [d.what for d in told]) == (8, 0.3, ["batch_size"])


def test_what_a_training_of_few_pictures_decided_is_said_kept_and_not_decided_again(tmp_path):
    few = recipe("quick", ["epochs=2"])
    until(options(tmp_path, recipe=few), lambda e: isinstance(e, Step) and e.step == 3)
    folder = tmp_path / "run"
    kept = {d["what"]: d for d in json.loads((folder / "decisions.json").read_text())}
    assert (kept["batch_size"]["value"], kept["batch_size"]["flag"]) == ("8", "--batch-size 64")
    assert resumed(folder).recipe.batch_size == 8 and resumed(folder).recipe.lr == 0.0354
    events = finished(resumed(folder))
    assert decided(events, "batch_size") == decided(events, "lr") == []
    assert {e.images for e in events if isinstance(e, Step)} == {8}


@pytest.mark.parametrize("n", [9, 17, 33])
def test_no_step_and_no_slice_sees_a_single_picture(n, tmp_path, monkeypatch):
    seen = watch(monkeypatch)
    images = [
        e.images
        for e in finished(options(tmp_path, limit=n, recipe=recipe("quick", ["epochs=2"])))
        if isinstance(e, Step)
    ]
    assert images and min(images) >= 2 and min(seen) >= 2


# -- when memory runs out -------------------------------------------------------------------------------------------


@dataclass
class Memory:
    """What does not fit: a forward pass of more than `most` pictures, from the step on that `full` says."""

    most: int
    error: Exception
    at: int = 0


def watch(monkeypatch, memory=None):
    """The pictures of each slice that training took, as a list that grows; those that do not fit raise."""
    seen, forward = [], step.loss_of

    def loss_of(outputs, targets, r, weights=None):
        if memory is not None and len(targets) > memory.most and len(seen) >= memory.at:
            raise memory.error
        seen.append(len(targets))
        return forward(outputs, targets, r, weights)

    monkeypatch.setattr(step, "loss_of", loss_of)
    return seen


ERRORS = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "oneDNN": RuntimeError("could not create a primitive"),
    "Python": MemoryError(),
}


OTHERS = (
    RuntimeError("shapes do not match"), ValueError("not enough memory"),
    RuntimeError("could not create a primitive descriptor for the convolution"),
)  # fmt: skip


def test_every_word_for_memory_that_ran_out_is_understood_and_no_other():
    assert all(map(step.out_of_memory, ERRORS.values()))
    assert not any(map(step.out_of_memory, OTHERS))


@pytest.mark.parametrize("error", ["CUDA", "CPU"])
def test_memory_that_runs_out_halves_the_slices_and_keeps_the_batch(error, tmp_path, monkeypatch):
    seen = watch(monkeypatch, Memory(4, ERRORS[error], at=2))
    events = finished(options(tmp_path, recipe=TINY))
    assert [e.images for e in events if isinstance(e, Step)] == [16] * 12
    assert Counter(seen) == {16: 2, 4: 40}
    told = decided(events, "accumulate")
    assert [(d.value, d.flag) for d in told] == [("4", "--set accumulate=4")]
    assert told[0].why == "memory ran out: slices of 4 pictures, the batch as it was"
    kept = json.loads((tmp_path / "run" / "decisions.json").read_text())
    assert [d["value"] for d in kept if d["what"] == "accumulate"] == ["4"]


def test_slices_that_were_cut_stay_cut_when_the_training_goes_on(tmp_path, monkeypatch):
    seen = watch(monkeypatch, Memory(8, ERRORS["CUDA"]))
    until(options(tmp_path, recipe=TINY), lambda e: isinstance(e, Step) and e.step == 5)
    seen.clear()
    events = finished(resumed(tmp_path / "run"))
    assert set(seen) == {8} and decided(events, "accumulate") == []


def test_cut_slices_come_to_the_weights_of_the_whole_batch_where_pictures_do_not_see_each_other(tmp_path, monkeypatch):
    plain = {"arch": "cifar_plain20_nobn:1-1-1", "recipe": recipe("quick", ["epochs=1", "batch_size=16", "lr=0.01"])}
    finished(options(tmp_path, "whole", **plain))
    watch(monkeypatch, Memory(2, ERRORS["CUDA"]))
    finished(options(tmp_path, "cut", **plain))
    whole, cut = (
        np.loadtxt(tmp_path / name / "metrics.csv", delimiter=",", skiprows=1, usecols=(2,))
        for name in ("whole", "cut")
    )
    assert cut == pytest.approx(whole, rel=1e-4)


def test_the_automatic_batch_and_its_slices_go_together(tmp_path, monkeypatch):
    seen = watch(monkeypatch, Memory(2, ERRORS["CUDA"]))
    events = finished(options(tmp_path, recipe=recipe("quick", ["epochs=1"])))
    assert [d.value for d in decided(events, "batch_size")] == ["8"]
    assert [d.value for d in decided(events, "accumulate")] == ["4"] and set(seen) == {2}
    assert {e.images for e in events if isinstance(e, Step)} == {8}


def test_where_two_pictures_do_not_fit_training_ends_and_can_go_on(tmp_path, monkeypatch):
    watch(monkeypatch, Memory(1, ERRORS["CUDA"]))
    with pytest.raises(MemoryError, match="out of memory with slices of 2 pictures"):
        list(train(options(tmp_path, recipe=TINY)))
    monkeypatch.undo()
    assert finished(resumed(tmp_path / "run"))


def test_more_slices_than_pairs_of_pictures_are_refused():
    with pytest.raises(UsageError, match="fewer than 2 images each"):
        recipe("quick", ["batch_size=8", "accumulate=8"])
