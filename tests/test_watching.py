"""`--watch-units`: rows of what the units do; the training is the same to the last bit, and resuming repeats them."""

import json
import os
import signal
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from residua.errors import Interrupted
from residua.job import TrainOptions, resumed, train
from residua.job.watching import EVERY, ROWS, Watch, due
from residua.training.loop import Step
from residua.training.recipe import recipe

TINY = recipe("quick", ["epochs=6", "batch_size=16", "lr=0.02"])


def options(tmp_path, name, **changes):
    words = {"data": "digits", "arch": "cifar_resnet8", "recipe": TINY, "limit": 64, "out": str(tmp_path / name)}
    return TrainOptions(**words | {"threads": 1} | changes)


def rows(folder, name="units.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def weights(folder):
    return {k: v.numpy().tobytes() for k, v in load_file(folder / "model.safetensors").items()}


def timeless(folder):
    return [{k: v for k, v in r.items() if "second" not in k and k != "waiting"} for r in rows(folder, "metrics.jsonl")]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("watched")
    list(train(options(tmp_path, "run", watch_units=True, recipe=recipe("quick", ["epochs=7", "batch_size=16"]))))
    return tmp_path / "run"


def test_training_is_the_same_bit_for_bit_with_and_without(tmp_path):
    drops = recipe("quick", ["epochs=2", "batch_size=16", "drop_depth=0.5"])
    for name, watch in (("off", False), ("on", True)):
        list(train(options(tmp_path, name, watch_units=watch, recipe=drops)))
    assert weights(tmp_path / "on") == weights(tmp_path / "off")
    assert timeless(tmp_path / "on") == timeless(tmp_path / "off")
    assert (tmp_path / "on" / "units.jsonl").exists() and not (tmp_path / "off" / "units.jsonl").exists()
    states = [
        torch.load(tmp_path / n / "state" / "last.pt", weights_only=True)["state"]["train"] for n in ("on", "off")
    ]
    assert all(torch.equal(v, states[1]["net"][k]) for k, v in states[0]["net"].items())


def test_a_row_says_what_every_unit_does_at_the_first_the_last_and_every_kth_step(watched):
    found = rows(watched)
    assert [r["step"] for r in found] == [1, EVERY, 28]
    for row in found:
        assert row["event"] == "units" and [u["unit"] for u in row["units"]] == [
            "stages.0.0",
            "stages.1.0",
            "stages.2.0",
        ]
        assert sum(u["gradient_share"] for u in row["units"]) == pytest.approx(1)
        assert all(u["ratio"] > 0 and -1 <= u["cosine"] <= 1 for u in row["units"])
    assert found[0]["units"] != found[1]["units"]


def test_rows_after_the_resumed_step_are_forgotten_and_come_again(tmp_path, watched):
    seven = recipe("quick", ["epochs=7", "batch_size=16"])
    with pytest.raises(Interrupted):
        for event in train(options(tmp_path, "run", watch_units=True, recipe=seven)):
            if isinstance(event, Step) and event.step == 15:
                os.kill(os.getpid(), signal.SIGINT)
    folder = tmp_path / "run"
    late = json.dumps({"event": "units", "step": 20, "epoch": 5, "units": []}) + "\n"
    with (folder / "units.jsonl").open("a") as file:
        file.write(late + '{"event": "units", "st')
    list(train(resumed(folder)))
    assert rows(folder) == rows(watched)
    assert weights(folder) == weights(watched)


def test_watching_may_begin_on_resuming(tmp_path):
    with pytest.raises(Interrupted):
        for event in train(options(tmp_path, "run")):
            if isinstance(event, Step) and event.step == 2:
                os.kill(os.getpid(), signal.SIGINT)
    list(train(resumed(tmp_path / "run", watch_units=True)))
    assert [r["step"] for r in rows(tmp_path / "run")] == [20, 24]


def test_looks_are_rare_enough_and_few_enough():
    for steps in (1, 21, 330, 5000, 64_000, 1_000_000):
        looks = [step for step in range(1, steps + 1) if due(step, steps)]
        assert looks[0] == 1 and looks[-1] == steps and len(looks) <= ROWS + 2
        assert all(b - a >= EVERY - 1 for a, b in pairwise(looks[:-1]))
    strided = [step for step in range(7, 330, 7) if due(step, 330, stride=7)]
    assert len(strided) == pytest.approx(330 / EVERY, abs=1)


@pytest.mark.parametrize("arch", ["cifar_plain14", "cifar_preact14"])
def test_any_net_can_be_watched(tmp_path, arch):
    list(train(options(tmp_path, "run", watch_units=True, arch=arch, recipe=recipe("quick", ["steps=2"]))))
    units = rows(tmp_path / "run")[-1]["units"]
    assert len(units) == 6 and all((u["ratio"] is None) == ("plain" in arch) for u in units)
    assert Watch.__doc__


def test_the_report_shows_the_units(residua_report, watched):
    page = residua_report(watched)
    assert (watched / "units.png").exists()
    assert "What each unit did" in page.read_text() and "changed their input by less than 10" in page.read_text()


@pytest.fixture
def residua_report():
    from residua.report import draw

    return draw
