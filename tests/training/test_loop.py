"""Laws of the loop: a step is a function of (seed, step); what is off changes nothing; what is not finite stops."""

import copy
import time
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from residua.data.batches import Batch
from residua.engine import Engine
from residua.errors import NumericError
from residua.nn.resnet import drop_depth
from residua.nn.zoo import build
from residua.training.loop import Epoch, Step, fit
from residua.training.optimise import Lamb
from residua.training.recipe import RECIPES, recipe
from residua.training.schedule import lr_at
from residua.training.state import begin
from residua.training.step import HEADS, loss_of, slices

ENGINE = Engine(device="cpu", threads=torch.get_num_threads())


class FakeBatches:
    """Random pictures (N, 3, 5, 7) of 4 classes, keyed by the step."""

    def __init__(self, n=6, steps_per_epoch=3, seed=0, mixed=False):
        self.n, self.steps_per_epoch, self.seed, self.mixed = n, steps_per_epoch, seed, mixed

    def at(self, step):
        generator = torch.Generator().manual_seed(step)
        targets = torch.randint(0, 4, (self.n,), generator=generator)
        images = torch.randn(self.n, 3, 5, 7, generator=generator) + targets[:, None, None, None]
        if self.mixed:
            targets = 0.7 * functional.one_hot(targets, 4) + 0.3 * functional.one_hot(targets.flip(0), 4)
        return Batch(images, targets, torch.arange(self.n).numpy())

    def stream(self, start, stop, workers=0):
        return map(self.at, range(start, stop))


def small(arch="cifar_resnet20:1-1-1", **kwargs):
    torch.manual_seed(0)
    return build(arch, classes=4, **kwargs)


def trained(words=(), *, name="quick", net=None, batches=None, **kwargs):
    """A state trained to the end by a recipe of 6 images a batch, and its events."""
    r = recipe(name, ["batch_size=6", "accumulate=1", "augment=", *words])
    state = begin(ENGINE.place(net or small()), r, ENGINE)
    return state, list(fit(state, batches or FakeBatches(), r, ENGINE, **kwargs))


def weights(state):
    return torch.cat([v.flatten().float() for v in state.net.state_dict().values()])


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_a_step(name):
    net = small()
    before = copy.deepcopy(net.state_dict())
    words = ["warmup_steps=0", "warmup_epochs=0", "lr=0.001", "steps=1"]
    state, events = trained(words, name=name, net=net, batches=FakeBatches(mixed=name.startswith("wightman")))
    assert [type(e) for e in events] == [Step, Epoch]
    assert all(not torch.equal(before[k], v) for k, v in state.net.state_dict().items() if k.endswith("conv1.weight"))
    assert torch.isfinite(weights(state)).all()


def test_training_learns():
    _, events = trained(["steps=40", "lr=0.02"])
    losses = [e.train_loss for e in events if isinstance(e, Epoch)]
    assert losses[-1] < losses[0] - 0.2


def test_training_is_a_function_of_the_seed_whatever_torchs_generator_held():
    def run(seed, noise):
        net = small("cifar_resnet20:2-1-1")
        drop_depth(net, 0.5)
        torch.manual_seed(noise)
        return weights(trained(["epochs=2"], net=net, batches=FakeBatches(seed=seed))[0])

    assert torch.equal(run(1, 0), run(1, 1234))
    assert not torch.equal(run(1, 0), run(2, 0))


def test_progress_counts_steps_epochs_and_images():
    state, events = trained(["steps=8"])
    steps = [e for e in events if isinstance(e, Step)]
    epochs = [e for e in events if isinstance(e, Epoch)]
    assert [e.step for e in steps] == list(range(1, 9)) and state.step == 8
    assert [(e.epoch, e.step) for e in epochs] == [(1, 3), (2, 6), (3, 8)]
    r = recipe("quick", ["steps=8"])
    assert [e.lr for e in steps] == [lr_at(r, s, steps=8, steps_per_epoch=3) for s in range(8)]
    assert epochs[0].train_loss == pytest.approx(sum(e.loss for e in steps[:3]) / 3)
    assert epochs[0].train_error == pytest.approx(sum(e.error for e in steps[:3]) / 3)
    assert epochs[2].train_loss == pytest.approx(sum(e.loss for e in steps[6:]) / 2)
    assert all(0 <= e.error <= 1 and e.images == 6 for e in steps)
    assert steps[2].epoch == 1.0


def test_reading_the_numbers_rarely_changes_no_weight():
    a, every = trained(["steps=8"])
    b, rare = trained(["steps=8"], every=5)
    assert torch.equal(weights(a), weights(b))
    assert [e.step for e in rare if isinstance(e, Step)] == [3, 5, 6, 8]  # every fifth, and the ends of epochs
    assert set(e for e in rare if isinstance(e, Step)) < set(every)
    assert [e.train_loss for e in rare if isinstance(e, Epoch)] == [e.train_loss for e in every if isinstance(e, Epoch)]


@pytest.mark.parametrize(
    "words",
    [[], ["ema=0.9"], ["optimiser=adamw", "nesterov=false"], ["optimiser=lamb", "nesterov=false", "clip_norm=1"]],
)
@pytest.mark.parametrize("stop", [2, 3, 4])
def test_going_on_from_a_saved_state_is_bit_equal_to_not_stopping(words, stop):
    words = ["steps=7", "lr=0.01", *words]
    whole, events = trained(words)
    first, before = trained(words, stop=stop)
    r = recipe("quick", ["batch_size=6", "augment=", *words])
    again = begin(ENGINE.place(small()), r, ENGINE)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    after = list(fit(again, FakeBatches(), r, ENGINE))
    assert torch.equal(weights(again), weights(whole))
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.ema.net.state_dict().values(), whole.ema.net.state_dict().values(), strict=True)
    )
    numbers = lambda events: [(e.step, e.train_loss, e.train_error) if isinstance(e, Epoch) else e for e in events]  # noqa: E731
    assert numbers(before + after) == numbers(events)


def test_a_state_moves_to_another_memory_format():
    words = ["steps=7", "lr=0.01"]
    whole, _ = trained(words)
    first, _ = trained(words, stop=3)
    r = recipe("quick", ["batch_size=6", "augment=", *words])
    engine = Engine(device="cpu", memory_format="channels_last", threads=torch.get_num_threads())
    again = begin(engine.place(small()), r, engine)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    list(fit(again, FakeBatches(), r, engine))
    torch.testing.assert_close(weights(again), weights(whole), rtol=1e-3, atol=1e-4)


class NoNorm(nn.Module):
    """A net without batch norm, in which slices of a batch do not see each other."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))


@pytest.mark.parametrize("loss", ["cross-entropy", "bce"])
@pytest.mark.parametrize(("n", "accumulate"), [(8, 2), (8, 4), (9, 4), (7, 2)])
def test_slices_of_a_batch_give_the_gradient_of_the_whole(n, accumulate, loss):
    words = [f"batch_size={n}", "steps=3", f"loss={loss}"]
    whole, a = trained(words, net=NoNorm(), batches=FakeBatches(n=n))
    sliced, b = trained([*words, f"accumulate={accumulate}"], net=NoNorm(), batches=FakeBatches(n=n))
    torch.testing.assert_close(weights(sliced), weights(whole), rtol=1e-4, atol=1e-6)
    assert [e.loss for e in a[:3]] == pytest.approx([e.loss for e in b[:3]])
    assert [e.error for e in a[:3]] == [e.error for e in b[:3]]


def test_no_slice_is_smaller_than_those_of_a_full_batch():
    r = recipe("quick", ["batch_size=16", "accumulate=4"])
    for n in range(2, 40):
        sizes = [len(x) for x, _ in slices(torch.zeros(n, 1), torch.zeros(n), r.batch_size // r.accumulate)]
        assert sum(sizes) == n and min(sizes) >= min(n, 4) and max(sizes) - min(sizes) <= 1


def test_clipping_bounds_the_step():
    net = NoNorm()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    words = [
        "steps=1",
        "clip_norm=0.001",
        "momentum=0",
        "nesterov=false",
        "weight_decay=0",
        "schedule=constant",
        "lr=1",
    ]
    trained(words, net=net)
    moved = torch.cat([(v - before[k]).flatten() for k, v in net.state_dict().items()]).norm()
    assert float(moved) == pytest.approx(0.001, rel=1e-2)


@pytest.mark.parametrize("every", [1, 5])
def test_a_loss_that_is_not_finite_stops_and_names_step_and_rate(every):
    class Poisoned(FakeBatches):
        def at(self, step):
            batch = super().at(step)
            return Batch(batch.images * (torch.nan if step == 3 else 1), batch.targets, batch.index)

    with pytest.raises(NumericError, match=r"nan at step 4 \(lr 0\.\d+\): try a lower rate \(--set lr=") as error:
        trained(["steps=8"], batches=Poisoned(), every=every)
    assert "\n" not in str(error.value)


def test_bce_takes_every_mixed_in_class_as_present():
    r = recipe("wightman2021-a3")
    logits, mixed = torch.randn(2, 4), torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.0, 0.1, 0.9, 0.0]])
    expected = functional.binary_cross_entropy_with_logits(logits, torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 0]]))
    assert loss_of(logits, mixed, r) == expected
    hard = torch.tensor([0, 2])
    assert loss_of(logits, hard, r) == loss_of(logits, functional.one_hot(hard, 4).float(), r)


def test_label_smoothing_is_torchs_for_labels_and_for_probabilities():
    r = recipe("quick", ["label_smoothing=0.1"])
    logits, targets = torch.randn(2, 4), torch.tensor([3, 1])
    expected = functional.cross_entropy(logits, targets, label_smoothing=0.1)
    torch.testing.assert_close(loss_of(logits, targets, r), expected)
    torch.testing.assert_close(loss_of(logits, functional.one_hot(targets, 4).float(), r), expected)


def test_auxiliary_heads_count_three_tenths():
    r = recipe("he2015-cifar")
    outputs, targets = tuple(torch.randn(3, 2, 4)), torch.tensor([3, 1])
    parts = [functional.cross_entropy(o, targets) for o in outputs]
    assert HEADS == (1, 0.3, 0.3)
    torch.testing.assert_close(loss_of(outputs, targets, r), parts[0] + 0.3 * parts[1] + 0.3 * parts[2])


def test_the_error_of_a_mixed_batch_is_against_its_largest_part():
    _, events = trained(["steps=1"], batches=FakeBatches(mixed=True))
    assert events[0].error in [i / 6 for i in range(7)]


def test_an_error_bound_warmup_ends_by_itself():
    words = ["steps=60", "lr=0.02", "warmup_lr=0.01", "warmup_until_error=0.7", "schedule=constant"]
    _, events = trained(words, every=5)
    rates = [e.lr for e in events if isinstance(e, Step)]
    assert rates[0] == 0.01 and rates[-1] == 0.02
    assert sum(a != b for a, b in pairwise(rates)) == 1


def test_waiting_is_the_share_of_an_epoch_in_which_the_next_batch_was_not_ready():
    class Slow(FakeBatches):
        def at(self, step):
            time.sleep(0.02)
            return super().at(step)

    def shares(batches):
        return [e.waiting for e in trained(["epochs=2"], batches=batches)[1] if isinstance(e, Epoch)]

    slow, quick = shares(Slow()), shares(FakeBatches())
    assert len(slow) == 2 and all(0 < share <= 1 for share in slow + quick)


def test_waiting_is_counted_on_after_a_state():
    r = recipe("quick", ["batch_size=6", "epochs=1", "augment="])
    state = begin(ENGINE.place(small()), r, ENGINE)
    list(fit(state, FakeBatches(), r, ENGINE, stop=2))
    again = begin(ENGINE.place(small()), r, ENGINE)
    again.load_state_dict(copy.deepcopy(state.state_dict()))
    assert again.waited == state.waited > 0
    old = state.state_dict()
    del old["waited"]  # of a run that an earlier version began
    again.load_state_dict(copy.deepcopy(old))
    assert again.waited == 0
    assert [type(e) for e in fit(again, FakeBatches(), r, ENGINE)] == [Step, Epoch]


def test_listeners_may_evaluate_between_steps():
    r = recipe("quick", ["batch_size=6", "steps=4", "augment="])
    states = [begin(ENGINE.place(small()), r, ENGINE) for _ in range(2)]
    for _ in fit(states[0], FakeBatches(), r, ENGINE):
        pass
    for _ in fit(states[1], FakeBatches(), r, ENGINE):
        states[1].net.eval()
        with torch.inference_mode():
            states[1].net(torch.randn(2, 3, 5, 7))
        states[1].net.train()
    assert torch.equal(weights(states[0]), weights(states[1]))


def test_lamb_is_the_recipes_lamb():
    r = recipe("wightman2021-a3", ["batch_size=6", "accumulate=1"])
    assert isinstance(begin(small(), r, ENGINE).optimiser, Lamb)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_trains_in_every_precision_and_goes_on_from_a_state(precision):
    engine = Engine(device="cuda", precision=precision, memory_format="channels_last", threads=torch.get_num_threads())
    r = recipe("quick", ["batch_size=6", "augment=", "steps=40", "lr=0.02", "ema=0.9", "clip_norm=5"])
    state = begin(engine.place(small()), r, engine)
    events = list(fit(state, FakeBatches(), r, engine, stop=20, every=4))
    again = begin(engine.place(small()), r, engine)
    again.load_state_dict(copy.deepcopy(state.state_dict()))
    events += list(fit(again, FakeBatches(), r, engine, every=4))
    losses = [e.train_loss for e in events if isinstance(e, Epoch)]
    assert losses[-1] < losses[0] and torch.isfinite(weights(again)).all()
