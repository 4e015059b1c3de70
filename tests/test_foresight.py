"""Laws of foresight: what is said before the start, that memory changes no number, and that a thousand layers train."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from residua import job
from residua.amounts import size
from residua.errors import UsageError
from residua.job import Decided, Started, TrainOptions, train
from residua.nn.zoo import find
from residua.training.recipe import recipe

TINY = recipe("quick", ["epochs=2", "batch_size=32", "lr=0.02", "drop_depth=0.2"])


def options(folder, **changes):
    words = {"arch": "cifar_resnet110:4-4-4", "recipe": TINY, "limit": 64, "out": str(folder)}
    return TrainOptions(**words | changes)


def told(events):
    return {d.what: d for e in events if isinstance(e, Decided) for d in e.decisions}


def between(monkeypatch, share):
    """Give the machine a memory that lies so far between what a training needs at least and at most."""
    from residua.depth import memory

    wanted = memory.fit

    def fit(demand, limit, **words):
        m = demand.maps
        pictures = demand.recipe.batch_size // demand.recipe.accumulate
        least = memory.segments(m, 0).bytes
        return wanted(demand, demand.fixed(m, pictures) + pictures * (least + share * (m.total - least)), **words)

    monkeypatch.setattr(memory, "fit", fit)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_recomputing_leaves_every_bit_of_a_training_as_it_is(tmp_path, monkeypatch, share):
    assert "recompute" not in told(train(options(tmp_path / "plain")))
    between(monkeypatch, share)
    decisions = told(train(options(tmp_path / "thrifty")))
    assert "the same numbers" in decisions["recompute"].why and decisions["memory"].flag == "--memory"
    ours, theirs = (load_file(tmp_path / f / "model.safetensors") for f in ("thrifty", "plain"))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    for name in ("predictions.csv", "evaluation.json"):
        assert (tmp_path / "thrifty" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_what_does_not_fit_is_refused_in_one_line_and_nothing_is_written(tmp_path):
    with pytest.raises(UsageError, match="does not fit") as error:
        list(train(options(tmp_path / "run", memory=size("64M", "--memory"))))
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_with_a_limit_the_forecast_is_said_and_kept(tmp_path):
    decisions = told(train(options(tmp_path / "run", memory=size("64G", "--memory"))))
    assert {"memory", "time"} <= decisions.keys() and "recompute" not in decisions
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["forecast_seconds"] > 0 and summary["spent_seconds"] > 0 and "budget_seconds" not in summary


def test_a_budget_times_the_net_as_it_will_be_trained_though_the_process_grows_meanwhile(tmp_path, monkeypatch):
    """Imports grow the process while it plans: a second look at its memory must not undo what the first decided."""
    from residua.depth import memory
    from residua.job import budget

    held, wanted, timed = iter(range(0, 2**40, 2**24)), memory.fit, []

    def fit(demand, limit, **words):
        needs = demand.fixed(demand.maps, 32) + 32 * memory.segments(demand.maps, 0).bytes
        return wanted(demand, needs - demand.before + 1024, **words)

    def stop(plan, seconds):
        timed.append(plan.segments)
        raise UsageError("timed")

    monkeypatch.setattr(memory, "held", lambda: next(held))
    monkeypatch.setattr(memory, "fit", fit)
    monkeypatch.setattr(budget, "course_of", stop)
    with pytest.raises(UsageError, match="timed"):
        list(train(options(tmp_path / "run", memory=size("64G", "--memory"), budget=60.0)))
    assert sum(timed[0]) > 0


def test_a_small_training_is_not_forecast(tmp_path):
    assert not {"memory", "time"} & told(train(options(tmp_path / "run"))).keys()


def test_deep_nets_begin_as_the_identity_with_quick_and_plain_ones_do_not(tmp_path):
    from residua.data.sources import open_data
    from residua.job.plan import resolve

    digits = open_data("digits", root=None, seed=0, val_fraction=0.1, limit=64)
    found = {n: resolve(recipe("quick"), digits, find(n))[0].zero_init for n in ("cifar_resnet110", "cifar_preact1001")}
    found |= {n: resolve(recipe("quick"), digits, find(n))[0].zero_init for n in ("cifar_resnet56", "cifar_plain110")}
    assert found == {
        "cifar_resnet110": True, "cifar_preact1001": True, "cifar_resnet56": False, "cifar_plain110": False
    }  # fmt: skip
    assert not resolve(recipe("he2015-cifar"), digits, find("cifar_resnet110"))[0].zero_init


@pytest.mark.slow
def test_three_hundred_layers_learn_the_digits(tmp_path):
    short = recipe("quick", ["epochs=4", "batch_size=32", "val_fraction=0"])
    events = list(train(options(tmp_path / "run", arch="cifar_resnet302", recipe=short, limit=512)))
    started = next(e for e in events if isinstance(e, Started))
    assert started.layers == 302
    assert next(e for e in events if isinstance(e, job.Tested)).evaluation.top1_error < 0.5


#: A training in a process of its own, and the largest memory that it ever held.
ALONE = """
import re, sys
from residua.job import Decided, TrainOptions, train
from residua.training.recipe import recipe
words = ["steps=1", "batch_size=32", "val_fraction=0"]
made = TrainOptions(arch=sys.argv[1], recipe=recipe("quick", words), limit=64, out=sys.argv[2],
                    memory=int(sys.argv[3]), image_size=int(sys.argv[5]), threads=1, budget=float(sys.argv[4]) or None)
said = [d.value for e in train(made) if isinstance(e, Decided) for d in e.decisions if d.what == "memory"]
print(said[0])
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize(
    ("name", "side", "budget"),
    [("cifar_resnet1202", 16, 0), ("cifar_preact164", 32, 0), ("cifar_resnet152", 32, 45)],
)
def test_deep_nets_stay_within_a_limit_and_take_what_was_forecast(tmp_path, name, side, budget):
    limit = (7 if name == "cifar_resnet1202" else 5) * 2**28
    command = [sys.executable, "-c", ALONE, name, str(tmp_path / "run"), str(limit), str(budget), str(side)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    forecast = size(re.sub(r"[^0-9.GM]", "", out[0]), "forecast")
    assert int(out[1]) <= limit
    assert int(out[1]) == pytest.approx(forecast, rel=0.15)


@pytest.mark.parametrize(("name", "side", "accumulate", "again"), [
    ("resnet18", 224, 8, 8), ("resnet18", 224, 1, 0), ("cifar_resnet110", 32, 8, 54), ("vgg11_bn", 224, 8, 0)
])  # fmt: skip
def test_an_evaluation_takes_no_more_memory_than_a_step(name, side, accumulate, again):
    from types import SimpleNamespace

    from residua.depth import memory
    from residua.job.space import EVALUATION_BATCH, at_once

    r, row = recipe("quick", ["batch_size=64", f"accumulate={accumulate}"]), find(name)
    sizes = (again,) if again else ()
    pictures = at_once(SimpleNamespace(recipe=r, row=row, view=SimpleNamespace(side_px=side), segments=sizes))
    m = memory.maps(row, side)
    passing, kept = memory.PASSING * m.largest, memory.recomputed(m, again).bytes
    assert pictures * passing <= 64 // accumulate * (kept + passing)
    assert 1 <= pictures <= min(EVALUATION_BATCH, max(32, 64 // accumulate))
