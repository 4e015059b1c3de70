"""Laws of parts that do not learn, of stages that learn more slowly, and of rare classes."""

import copy

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from residua.engine import Engine
from residua.errors import UsageError
from residua.nn.zoo import build
from residua.training import step
from residua.training.hold import hold
from residua.training.loop import fit
from residua.training.optimise import groups
from residua.training.recipe import recipe
from residua.training.schedule import head_steps, lr_at
from residua.training.state import begin
from residua.training.step import class_weights, loss_of, take_step
from training.test_loop import ENGINE, FakeBatches, small, trained, weights


def parts(state, *names):
    return {k: v.clone() for k, v in state.net.state_dict().items() if k.startswith(names)}


def test_frozen_parts_keep_parameters_and_statistics_and_the_others_learn():
    net = small()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state, _ = trained(["freeze=stem,stages.0", "epochs=2", "weight_decay=0.1"], net=net)
    for key, value in state.net.state_dict().items():
        same = torch.equal(value, before[key])
        assert same == key.startswith(("stem", "stages.0")), key


def test_the_head_alone_learns_at_first_and_everything_afterwards():
    net = small()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    words = ["batch_size=6", "augment=", "epochs=3", "head_epochs=1"]
    r = recipe("quick", words)
    state = begin(ENGINE.place(net), r, ENGINE)
    for _ in fit(state, FakeBatches(), r, ENGINE, stop=3):
        pass
    assert all(torch.equal(v, before[k]) for k, v in parts(state, "stem", "stages").items())
    assert not torch.equal(state.net.head.fc.weight, before["head.fc.weight"])
    for _ in fit(state, FakeBatches(), r, ENGINE):
        pass
    assert not torch.equal(state.net.stem.conv1.weight, before["stem.conv1.weight"])
    assert not torch.equal(state.net.stem.bn1.running_mean, before["stem.bn1.running_mean"])


def test_two_phases_end_the_same_however_they_are_interrupted():
    words = ["epochs=3", "head_epochs=1", "freeze=stages.0", "lr_decay=0.5"]
    whole, _ = trained(words)
    r = recipe("quick", ["batch_size=6", "accumulate=1", "augment=", *words])
    for stop in (2, 3, 4):
        state = begin(ENGINE.place(small()), r, ENGINE)
        for _ in fit(state, FakeBatches(), r, ENGINE, stop=stop):
            pass
        again = begin(ENGINE.place(small()), r, ENGINE)
        again.load_state_dict(copy.deepcopy(state.state_dict()))
        for _ in fit(again, FakeBatches(), r, ENGINE):
            pass
        assert torch.equal(weights(again), weights(whole)), stop


def test_the_schedule_begins_anew_when_the_whole_net_learns():
    r = recipe("quick", ["epochs=10", "head_epochs=2"])
    rest = recipe("quick", ["epochs=8"])
    two_phases = [lr_at(r, step, steps=100, steps_per_epoch=10) for step in range(100)]
    assert two_phases[20:] == [lr_at(rest, step, steps=80, steps_per_epoch=10) for step in range(80)]
    assert two_phases[:20] == sorted(two_phases[:20]) and two_phases[19] == r.lr


def test_the_head_learns_alone_for_a_third_of_a_short_training_at_most():
    assert head_steps(recipe("finetune", ["epochs=1"]), 9) == 3
    assert head_steps(recipe("finetune", ["epochs=9"]), 9) == 9


@pytest.mark.parametrize(
    ("name", "said"),
    [("stages.7", "stages.0"), ("stem.bn2", "stem.bn1"), ("stages.0.0.branch.relu1", "branch"), ("hed", "head")],
)
def test_a_part_that_is_not_there_is_refused_with_the_nearest(name, said):
    with pytest.raises(UsageError, match=f"no part '{name}'.*{said}"):
        hold(small(), [name])


def test_freezing_everything_is_refused():
    with pytest.raises(UsageError, match="nothing to learn"):
        hold(small(), ["stem", "stages", "head"])


def test_each_stage_learns_more_slowly_than_the_one_behind_it():
    net = build("cifar_resnet20", classes=4)
    r = recipe("finetune", ["lr_decay=0.5"])
    scales = {id(p): g["scale"] for g in groups(net, r) for p in g["params"]}
    assert sum(len(g["params"]) for g in groups(net, r)) == len(list(net.parameters()))
    found = {name: scales[id(p)] for name, p in net.named_parameters()}
    for name, scale in found.items():
        first, stage, *_ = name.split(".")
        power = {"stem": 4, "head": 0}.get(first)
        assert scale == 0.5 ** (3 - int(stage) if power is None else power), name


def test_without_a_decay_there_are_the_two_groups_that_there_always_were():
    found = groups(build("cifar_resnet20", classes=4), recipe("quick"))
    assert [g["weight_decay"] for g in found] == [8e-4, 0.0] and all(g["scale"] == 1 for g in found)


def test_the_weights_of_classes_are_scikit_learns():
    labels = np.array([0] * 7 + [1] * 2 + [2] * 11)
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert torch.allclose(class_weights(labels, 3), torch.tensor(theirs).float())


def test_a_class_without_pictures_leaves_the_other_weights_alone():
    labels = np.array([0] * 3 + [2])
    assert class_weights(labels, 3)[[0, 2]].tolist() == class_weights(np.array([0, 0, 0, 1]), 2).tolist()


@pytest.mark.parametrize("loss", ["cross-entropy", "bce"])
def test_with_equal_weights_the_loss_is_the_plain_one(loss):
    logits, targets = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 1])
    r = recipe("quick", [f"loss={loss}"])
    assert torch.allclose(loss_of(logits, targets, r, torch.ones(4)), loss_of(logits, targets, r))


def test_a_rare_class_counts_as_much_as_a_common_one():
    logits = torch.randn(8, 2)
    targets = torch.tensor([0] * 7 + [1])
    r = recipe("quick", ["label_smoothing=0"])
    each = functional.cross_entropy(logits, targets, reduction="none")
    expected = (each[:7].mean() + each[7]) / 2
    assert torch.allclose(loss_of(logits, targets, r, class_weights(targets.numpy(), 2)), expected)


def limited(limit, monkeypatch):
    """Pretend that slices of more than `limit` pictures do not fit."""
    forward = step.loss_of

    def fails(outputs, targets, r, weights=None):
        if len(targets) > limit:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] data. DefaultCPUAllocator: can't allocate memory")
        return forward(outputs, targets, r, weights)

    monkeypatch.setattr(step, "loss_of", fails)


def test_a_training_that_runs_out_of_memory_goes_on_with_smaller_slices_of_the_same_batch(monkeypatch):
    words = ["batch_size=12", "accumulate=1", "augment=", "epochs=2"]
    net = plain()
    batch = FakeBatches(12).at(0)
    r = recipe("quick", words)
    whole = begin(ENGINE.place(copy.deepcopy(net)), r, ENGINE)
    take_step(whole, batch.images, batch.targets, 0.1, r, ENGINE)
    limited(4, monkeypatch)
    cut = begin(ENGINE.place(copy.deepcopy(net)), r, ENGINE)
    sums = take_step(cut, batch.images, batch.targets, 0.1, r, ENGINE)
    assert cut.slices == 4 and sums[2] == 12
    assert torch.allclose(weights(cut), weights(whole), atol=1e-6)


def plain():
    """A net in which slices of a batch do not see each other."""
    torch.manual_seed(0)
    return build("cifar_plain20_nobn:1-1-1", classes=4)


def test_slices_of_fewer_than_two_pictures_are_never_made(monkeypatch):
    limited(1, monkeypatch)
    with pytest.raises(MemoryError, match="slices of 3 pictures"):
        trained(["epochs=1"])


def test_another_error_is_not_taken_for_want_of_memory(monkeypatch):
    def fails(*args):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(step, "loss_of", fails)
    with pytest.raises(RuntimeError, match="shapes"):
        trained(["epochs=1"])


def test_the_number_of_slices_is_kept_for_the_training_that_goes_on():
    r = recipe("quick", ["batch_size=6", "augment="])
    state = begin(Engine("cpu").place(small()), r, ENGINE)
    state.slices = 2
    again = begin(Engine("cpu").place(small()), r, ENGINE)
    again.load_state_dict(state.state_dict())
    assert again.slices == 2
