"""Laws of a budget: what is chosen fits, more time never gives a shallower net, too little is one line."""

import json
import math

import pytest

from residua.depth.speed import Speed, between
from residua.errors import UsageError
from residua.job import TrainOptions, train
from residua.job.budget import MOST_EPOCHS, SMALL, Candidate, Choice, choose, too_small
from residua.job.course import AIM, Clock, Course
from residua.nn.zoo import find
from residua.training.recipe import recipe

PER_EPOCH, BATCH = 703, 64
ROWS = [find(name) for name in SMALL]


def candidates(step=0.0032, overhead=0.004):
    """Nets of 8 to 110 layers whose steps take `step` seconds a layer."""
    return [
        Candidate(r, Course(((1.0, overhead + step * r.layers),), validation=0.5 + 0.02 * r.layers, tail=8.0))
        for r in ROWS
    ]


def test_the_nets_to_choose_from_are_ever_deeper_and_most_of_their_units_late():
    layers = [row.layers for row in ROWS]
    assert layers == sorted(set(layers)) and layers[0] == 8 and layers[-1] == 110
    assert all(list(row.depths) == sorted(row.depths) for row in ROWS)


def chosen(seconds, **speed):
    found = choose(candidates(**speed), seconds, PER_EPOCH, BATCH)
    assert found is not None
    return found


@pytest.mark.parametrize("seconds", [60, 300, 600, 3600, 86400])
def test_what_is_chosen_fits_and_one_more_step_would_not(seconds):
    found = chosen(seconds)
    assert found.candidate.course.seconds(found.steps, PER_EPOCH) <= seconds
    more = found.candidate.course.seconds(found.steps + 1, PER_EPOCH)
    assert more > seconds or found.steps == round(MOST_EPOCHS * PER_EPOCH)


@pytest.mark.parametrize("factor", [0.1, 1, 7])
def test_more_time_and_faster_machines_never_give_a_shallower_net(factor):
    layers = [chosen(s, step=0.0032 * factor).candidate.row.layers for s in (500, 600, 900, 1800, 3600, 9e3, 9e4, 1e6)]
    assert layers == sorted(layers) and layers[0] < layers[-1]


def test_ten_minutes_at_a_thousand_pictures_a_second_are_for_about_twenty_layers():
    assert chosen(570).candidate.row.layers in (14, 18, 22, 26)
    assert chosen(24 * 3600).candidate.row.layers >= 92


def test_no_net_that_cannot_see_every_picture_once_is_chosen():
    assert choose(candidates(), 20, PER_EPOCH, BATCH) is None
    least = candidates()[0].course.seconds(PER_EPOCH, PER_EPOCH)
    assert chosen(least).candidate.row.layers == 8 and chosen(least).epochs == 1


def test_small_sets_are_not_seen_more_often_than_the_paper_s():
    found = choose(candidates(), 36_000, 22, BATCH)
    assert (
        isinstance(found, Choice) and found.epochs == pytest.approx(MOST_EPOCHS) and found.candidate.row.layers == 110
    )


def test_a_budget_too_small_says_in_one_line_what_would_do():
    error = too_small(Clock(7.0, 30.0), candidates()[0], PER_EPOCH)
    assert "\n" not in str(error) and "--budget 30 s is too little" in str(error) and "1-1-1" in str(error)


# -- the course -----------------------------------------------------------------------------------------------------


def test_a_course_adds_up_its_phases_validations_and_tail():
    course = Course(((0.25, 1.0), (1.0, 3.0)), validation=10.0, tail=100.0)
    assert course.seconds(8, 4) == 2 * 1 + 6 * 3 + 2 * 10 + 100
    assert course.seconds(9, 4) == 2 * 1 + 7 * 3 + 3 * 10 + 100
    assert course.seconds(8, 4, first=4) == 4 * 3 + 1 * 10 + 100
    assert course.seconds(8, 4, first=1, scale=2) == 2 * (1 + 6 * 3) + 2 * 10 + 100
    assert [course.step_at(f) for f in (0, 0.2, 0.25, 1)] == [1, 1, 3, 3]
    assert Course.from_json(json.loads(json.dumps(course.to_json()))) == course


@pytest.mark.parametrize("left", [0.5, 30, 99.9, 1234])
@pytest.mark.parametrize("first", [0, 17])
def test_the_steps_within_a_time_are_the_most_that_fit(left, first):
    course = Course(((0.4, 0.2), (0.7, 0.5), (1.0, 1.1)), validation=2.0, tail=3.0)
    steps = course.steps_within(left, 10, first=first)
    if steps > first:
        assert course.seconds(steps, 10, first=first) <= left
    assert course.seconds(steps + 1, 10, first=first) > left


def test_speeds_between_two_measured_nets_lie_on_a_line():
    known = [(100, Speed(0.02, 0.001)), (500, Speed(0.06, 0.005))]
    assert between(known, 300).step == pytest.approx(0.04) and between(known, 300).picture == pytest.approx(0.003)
    assert between(known, 900).step == pytest.approx(0.1)
    assert between(known[:1], 300).step == pytest.approx(0.06)
    assert between([(100, Speed(0.05, 0.1)), (500, Speed(0.04, 0.01))], 5000).step > 0


# -- whole trainings ------------------------------------------------------------------------------------------------


def test_arch_and_epochs_leave_nothing_to_choose(tmp_path):
    both = TrainOptions(arch="cifar_resnet8", budget=60.0, fixed_length=True, limit=64, out=str(tmp_path / "run"))
    with pytest.raises(UsageError, match="--budget chooses"):
        next(iter(train(both)))
    assert not (tmp_path / "run").exists()


def test_a_budget_too_small_for_any_epoch_writes_nothing(tmp_path):
    with pytest.raises(UsageError, match="too little") as error:
        next(iter(train(TrainOptions(budget=2.0, out=str(tmp_path / "run")))))
    assert not (tmp_path / "run").exists() and "\n" not in str(error.value)


def slow_machine(monkeypatch, step):
    """Let the steps be forecast as far slower than they are: `step` seconds for each layer."""
    from residua.job import budget

    monkeypatch.setattr(budget, "speed_of", lambda plan, seconds: Speed(step * plan.row.layers, 1e-5))


def epochs_of(folder):
    told = [d["value"] for d in json.loads((folder / "decisions.json").read_text()) if d["what"] == "epochs"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [float(word) for word in told], max(r["epoch"] for r in rows)


def test_a_faster_pace_never_trains_longer_than_the_user_said(tmp_path, monkeypatch):
    slow_machine(monkeypatch, 0.1)
    fixed = TrainOptions(
        budget=60.0, recipe=recipe("quick", ["epochs=2"]), out=str(tmp_path / "run"), fixed_length=True
    )
    list(train(fixed))
    assert epochs_of(tmp_path / "run") == ([2.0], 2)


def test_a_faster_pace_trains_longer_where_nobody_said_how_long(tmp_path, monkeypatch):
    slow_machine(monkeypatch, 0.2)
    list(train(TrainOptions(budget=60.0, recipe=recipe("quick"), out=str(tmp_path / "run"))))
    told, last = epochs_of(tmp_path / "run")
    assert told == sorted(told) and told[0] < told[-1] and last == math.ceil(told[-1])


@pytest.mark.slow
@pytest.mark.parametrize("words", [{"arch": "cifar_resnet8", "grow": "0.4:2-2-2"}, {"fixed_length": True}])
def test_a_training_within_a_budget_says_why_and_what_came_of_it(tmp_path, words):
    short = recipe("quick", ["epochs=2"])
    list(train(TrainOptions(budget=60.0, recipe=short, out=str(tmp_path / "run"), **words), spent=5.0))
    told = {d["what"]: d for d in json.loads((tmp_path / "run" / "decisions.json").read_text())}
    assert {"budget", "epochs"} <= told.keys()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["budget_seconds"] == 60 and 0 < summary["forecast_seconds"] <= 60 * AIM + 0.01
    assert 5 < summary["spent_seconds"] < math.inf
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    if words.get("fixed_length"):
        assert max(r["epoch"] for r in rows) == 2 and summary["layers"] >= 20
