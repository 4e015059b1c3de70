"""Laws of steps whose loss is not finite: they stop the training, or leave no trace but a count."""

import copy
import math

import pytest
import torch
from torch import nn

from residua.data.batches import Batch
from residua.engine import Engine
from residua.errors import NumericError
from residua.nn.zoo import build
from residua.training.finite import NotFinite
from residua.training.loop import Epoch, Step, fit
from residua.training.recipe import recipe
from residua.training.state import begin

ENGINE = Engine(device="cpu", threads=torch.get_num_threads())
WORDS = ["batch_size=6", "accumulate=1", "augment=", "steps=8", "ema=0.9"]


class Batches:
    """Random pictures of 4 classes, keyed by the step; those of the `bad` steps are NaN, or far too large."""

    steps_per_epoch, seed = 4, 0

    def __init__(self, bad=(), factor=math.nan):
        self.bad, self.factor = bad, factor

    def at(self, step):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(6, 3, 5, 7, generator=generator)
        targets = torch.randint(0, 4, (6,), generator=generator)
        return Batch(images * (self.factor if step in self.bad else 1), targets, torch.arange(6).numpy())

    def stream(self, start, stop, workers=0):
        return map(self.at, range(start, stop))


def begun(words=()):
    torch.manual_seed(0)
    r = recipe("quick", [*WORDS, *words])
    return begin(ENGINE.place(build("cifar_resnet20:1-1-1", classes=4)), r, ENGINE), r


def equal(a, b):
    """Whether two nests of dicts and tensors are the same, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items() if k not in ("seconds", "waited"))
    return all(map(equal, a, b)) if isinstance(a, list | tuple) else a == b


@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e30])
def test_a_step_that_is_skipped_leaves_the_net_the_average_and_the_statistics_as_they_were(factor):
    state, r = begun(["on_nan=skip"])
    steps = [s for s in fit(state, Batches(), r, ENGINE, stop=2) if isinstance(s, Step)]
    before = copy.deepcopy(state.state_dict())
    more = [e for e in fit(state, Batches(bad=(2,), factor=factor), r, ENGINE, stop=3)]
    after = state.state_dict()
    assert [s.skipped for s in steps] == [0, 0] and more[-1].skipped == 1 and more[-1].images == 0
    assert math.isnan(more[-1].loss) and math.isnan(more[-1].error)
    assert after.pop("step") == before.pop("step") + 1 and after.pop("skipped") == before.pop("skipped") + 1
    for each in (before, after):  # the rate of the step was set
        each["optimiser"].pop("param_groups")
    assert equal(after, before)


def test_what_is_skipped_is_counted_by_epochs_and_their_means_are_of_the_other_steps():
    state, r = begun(["on_nan=skip"])
    events = list(fit(state, Batches(bad=(1, 2, 6)), r, ENGINE))
    epochs = [e for e in events if isinstance(e, Epoch)]
    assert [e.skipped for e in epochs] == [2, 1] and all(math.isfinite(e.train_loss) for e in epochs)
    first = [s.loss for s in events if isinstance(s, Step) and s.step in (1, 4)]
    assert epochs[0].train_loss == pytest.approx(sum(first) / 2)
    assert all(p.isfinite().all() for p in state.net.state_dict().values())


@pytest.mark.parametrize("every", [1, 3])
def test_going_on_after_skipped_steps_is_exact(every):
    whole, r = begun(["on_nan=skip"])
    list(fit(whole, Batches(bad=(1, 5)), r, ENGINE, every=every))
    part, _ = begun(["on_nan=skip"])
    list(fit(part, Batches(bad=(1, 5)), r, ENGINE, stop=2, every=every))
    again, _ = begun(["on_nan=skip"])
    again.load_state_dict(copy.deepcopy(part.state_dict()))
    list(fit(again, Batches(bad=(1, 5)), r, ENGINE, every=every))
    assert equal(again.state_dict(), whole.state_dict())


def test_skipping_changes_nothing_where_all_is_finite():
    plain, r = begun()
    list(fit(plain, Batches(), r, ENGINE))
    careful, r = begun(["on_nan=skip"])
    list(fit(careful, Batches(), r, ENGINE))
    assert equal(careful.state_dict(), plain.state_dict())


def test_a_gradient_without_an_end_is_skipped_though_the_loss_has_one():
    state, r = begun(["on_nan=skip"])
    state.net.head.fc.weight.register_hook(lambda g: g * math.inf)
    before = {k: v.clone() for k, v in state.net.state_dict().items()}
    (step,) = fit(state, Batches(), r, ENGINE, stop=1)
    assert step.skipped == 1 and equal(dict(state.net.state_dict()), before)


def test_an_epoch_of_nothing_but_skipped_steps_ends_the_training_in_one_line():
    state, r = begun(["on_nan=skip"])
    with pytest.raises(NumericError, match="every step of epoch 1 was skipped") as error:
        list(fit(state, Batches(bad=range(9)), r, ENGINE))
    assert error.value.step == 4 and "\n" not in str(error.value)


def test_the_error_names_the_step_also_where_numbers_are_read_rarely():
    state, r = begun()
    with pytest.raises(NotFinite) as error:
        list(fit(state, Batches(bad=(2,)), r, ENGINE, every=4))
    assert error.value.step == 3 and error.value.exit_code == 4


def test_a_scaler_scales_less_after_a_skipped_step():
    state, r = begun(["on_nan=skip"])
    state.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    list(fit(state, Batches(), r, ENGINE, stop=1))
    assert state.scaler.get_scale() == 1024
    weights = copy.deepcopy(state.net.state_dict())
    (step,) = fit(state, Batches(bad=(1,)), r, ENGINE, stop=2)
    assert step.skipped == 1 and state.scaler.get_scale() == 512
    assert equal(dict(state.net.state_dict()), dict(weights))
    assert isinstance(state.net, nn.Module)
