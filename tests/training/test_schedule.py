"""Laws of schedules: equal to torch's at every step, and pure."""

import pytest
import torch
from torch.optim import lr_scheduler

from residua.training.recipe import RECIPES, Recipe, recipe
from residua.training.schedule import Memory, lr_at, remember, total_steps, warming

STEPS = 57


def ours(r, steps=STEPS, steps_per_epoch=7):
    return [lr_at(r, s, steps=steps, steps_per_epoch=steps_per_epoch) for s in range(steps)]


def theirs(make, lr=0.3, steps=STEPS):
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr)
    schedule = make(sgd)
    values = []
    for _ in range(steps):
        values.append(sgd.param_groups[0]["lr"])
        sgd.step()
        schedule.step()
    return values


def make(**changes):
    return Recipe(**{"lr": 0.3, "batch_size": 8, "steps": STEPS} | changes)


@pytest.mark.parametrize("peak_at", [0.1, 0.3, 0.5])
def test_one_cycle_is_torchs(peak_at):
    r = make(schedule="one-cycle", peak_at=peak_at, start_factor=1 / 25, final_factor=1 / 25 / 1e4)
    expected = theirs(
        lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=STEPS + 1, pct_start=peak_at, cycle_momentum=False),
        steps=STEPS,
    )
    assert lr_at(r, 0, steps=STEPS + 1, steps_per_epoch=7) == pytest.approx(expected[0])
    assert ours(r, STEPS + 1)[:-1] == pytest.approx(expected, rel=1e-9)


def test_cosine_is_torchs():
    expected = theirs(lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.03))
    assert ours(make(schedule="cosine", final_factor=0.1)) == pytest.approx(expected, rel=1e-6)


def test_steps_are_torchs():
    expected = theirs(lambda o: lr_scheduler.MultiStepLR(o, [19, 38], gamma=0.2))
    assert ours(make(schedule="step", drops=(1 / 3, 2 / 3), drop_factor=0.2)) == pytest.approx(expected)


def test_linear_warmup_is_torchs():
    expected = theirs(lambda o: lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=14))
    assert ours(make(schedule="constant", warmup_epochs=2, warmup_lr=0.03)) == pytest.approx(expected)
    assert ours(make(schedule="constant", warmup_steps=14, warmup_lr=0.03)) == pytest.approx(expected)


def test_a_constant_warmup_ends_at_its_step():
    values = ours(make(schedule="constant", warmup="constant", warmup_steps=5, warmup_lr=0.01))
    assert values == [0.01] * 5 + [0.3] * (STEPS - 5)


def test_drops_of_the_paper_fall_on_its_steps():
    r = RECIPES["he2015-cifar"]
    at = [
        lr_at(r, s, steps=64_000, steps_per_epoch=390, memory=Memory(warm_since=0))
        for s in (31_999, 32_000, 47_999, 48_000)
    ]
    assert at == pytest.approx([0.1, 0.01, 0.01, 0.001])
    short = recipe("he2015-cifar", epochs=10, sets=["warmup_until_error=none"])
    assert ours(short, 100, 10) == pytest.approx([0.1] * 50 + [0.01] * 25 + [0.001] * 25)


def test_an_error_bound_warmup_ends_when_the_running_training_error_is_below_the_bound():
    r = RECIPES["he2015-cifar"]
    memory = Memory()
    for step in range(200):
        assert warming(r, memory)
        assert lr_at(r, step, steps=64_000, steps_per_epoch=390, memory=memory) == 0.01
        memory = remember(r, memory, step=step, train_error=0.9 if step < 100 else 0.7)
        if not warming(r, memory):
            break
    assert memory.warm_since == step + 1
    assert 100 < step < 130
    assert lr_at(r, step + 1, steps=64_000, steps_per_epoch=390, memory=memory) == 0.1
    assert remember(r, memory, step=step + 1, train_error=1.0) == memory


def test_one_lucky_batch_does_not_end_an_error_bound_warmup():
    r = RECIPES["he2015-cifar"]
    assert warming(r, remember(r, Memory(), step=0, train_error=0.5))


def test_a_plateau_drops_after_patience_epochs_without_a_better_error():
    r = make(schedule="plateau", patience_epochs=2)
    memory, rates = Memory(), []
    for step, error in enumerate([0.9, 0.5, 0.5, 0.6, 0.4, 0.4, float("nan"), 0.4, 0.4]):
        memory = remember(r, memory, step=step, val_error=error)
        rates.append(lr_at(r, step, steps=100, steps_per_epoch=1, memory=memory))
    assert rates == pytest.approx([0.3, 0.3, 0.3, 0.03, 0.03, 0.03, 0.003, 0.003, 0.0003])
    assert memory.best_error == 0.4


def test_validation_moves_only_a_plateau():
    assert remember(make(), Memory(), step=3, val_error=0.5) == Memory()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_every_recipe_has_a_positive_rate_for_any_length(name, steps):
    r = recipe(name, steps=steps)
    memory = Memory(warm_since=0)
    rates = [lr_at(r, s, steps=steps, steps_per_epoch=7, memory=memory) for s in range(steps)]
    assert all(0 <= x <= r.lr * (1 + 1e-9) for x in rates)
    assert sum(rates) > 0 or name in ("wightman2021-a3", "finetune")


def test_the_length_is_steps_or_epochs_and_never_zero():
    assert total_steps(RECIPES["he2015-cifar"], 10) == 64_000
    assert total_steps(recipe("quick", epochs=1.5), 10) == 15
    assert total_steps(recipe("quick", epochs=0.01), 10) == 1
