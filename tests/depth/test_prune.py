from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from residua.data.batches import Batches
from residua.data.sources import open_data
from residua.data.view import view_for
from residua.depth import greedy, shrink
from residua.depth.chain import without
from residua.depth.deepen import deepened
from residua.depth.greedy import Pictures, Whole, choose
from residua.depth.latency import latencies
from residua.depth.prune import pruned, recalibrate, removable, what_norms_see
from residua.depth.shrink import Chosen, Goal, Reached, Task, Tuned, Tuning
from residua.engine import Engine
from residua.errors import UsageError
from residua.evaluate import evaluate
from residua.nn import modelfile
from residua.nn.blocks import DropBranch
from residua.nn.resnet import initialise, units
from residua.nn.zoo import build, find
from residua.training.recipe import Recipe

CPU = Engine("cpu")
NETS = [
    "cifar_resnet20", "cifar_resnet20_B", "cifar_preact20", "cifar_plain20", "resnet50:2-2-1-2", 
    "plain_resnet50:2-1-2-2", "resnext50_32x4d:2-2-1-1", "wrn16_1", "resnet18:3-2-2-1",
]  # fmt: skip


def lived(name, **changes):
    torch.manual_seed(0)
    row = replace(find(name), classes=4, **changes)
    net = build(row)
    for _ in range(2):
        net(torch.randn(4, 3, 17, 19))
    return net.eval(), row


def pictures(n=3):
    return torch.randn(n, 3, 17, 19, generator=torch.Generator().manual_seed(1))


# -- the shorter net --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_a_pruned_net_computes_what_the_net_without_those_branches_does(name):
    net, row = lived(name)
    gone = removable(row)[::2]
    while any(len([p for p in gone if p.startswith(f"stages.{s}.")]) == d for s, d in enumerate(row.depths)):
        gone = gone[1:]
    made = pruned(net, row, gone)
    x = pictures()
    with torch.no_grad():
        whole = net(x)
        with without(net, gone):
            expected = net(x)
        assert torch.equal(made.net(x), expected)
        assert torch.equal(net(x), whole) and not torch.equal(whole, expected)
    assert sum(made.row.depths) == sum(row.depths) - len(gone) == len(units(made.net))


def test_what_stays_keeps_every_bit_under_its_new_name():
    net, row = lived("cifar_resnet20")
    made = pruned(net, row, ["stages.1.1", "stages.0.0"])
    assert made.row.depths == (2, 2, 3) and made.row.name == "cifar_resnet20:2-2-3"
    assert made.kept["stages.1.2.branch.conv1.weight"] == "stages.1.1.branch.conv1.weight"
    assert made.kept["stages.0.1.branch.bn1.bias"] == "stages.0.0.branch.bn1.bias"
    old, new = net.state_dict(), made.net.state_dict()
    assert sorted(made.kept.values()) == sorted(new)
    assert all(torch.equal(old[a], new[b]) for a, b in made.kept.items())
    nn.init.zeros_(made.net.head.fc.weight)
    assert net.head.fc.weight.abs().max() > 0 and all(p.requires_grad for p in made.net.parameters())


def test_a_pruned_net_is_an_ordinary_model_file(tmp_path):
    net, row = lived("cifar_preact20")
    made = pruned(net, row, ["stages.0.0", "stages.2.2"])
    header = modelfile.Header(row=made.row, classes=tuple("abcd"), view={})
    modelfile.save(tmp_path / "m", made.net, header)
    again, _ = modelfile.load(tmp_path / "m")
    with torch.no_grad():
        assert torch.equal(again(pictures()), made.net(pictures()))


def test_pruning_undoes_deepening():
    net, row = lived("cifar_resnet14")
    deeper = deepened(net, row, (3, 4, 2))
    back = pruned(deeper.net, deeper.row, deeper.new)
    assert back.row.depths == row.depths
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in back.net.state_dict().items())


def test_stochastic_depth_keeps_its_law_in_the_shorter_net():
    _, row = lived("cifar_resnet20", drop_depth=0.5)
    made = pruned(build(row), row, ["stages.0.1", "stages.2.1", "stages.2.2"])
    assert [u.branch.p for u in units(made.net)] == [pytest.approx(i / 6 * 0.5) for i in range(1, 7)]
    assert all(isinstance(u.branch, DropBranch) for u in units(made.net))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar_resnet14", ["stages.0.0", "stages.0.1", "stages.1.1", "stages.2.1"]),
        ("resnet50:2-1-2-1", ["stages.0.1", "stages.2.1"]),
        ("cifar_resnet8", []),
    ],
)
def test_units_that_change_the_shape_and_the_last_of_a_stage_stay(name, expected):
    assert removable(find(name)) == expected


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "googlenet", "cifar_resnet20_C"])
def test_nets_without_units_that_can_leave_say_so_in_one_line(name):
    with pytest.raises(UsageError, match=rf"^{name}.*(no units|projection)"):
        removable(find(name))


def test_units_that_cannot_leave_are_refused():
    net, row = lived("cifar_resnet20")
    with pytest.raises(UsageError, match=r"stages\.1\.0"):
        pruned(net, row, ["stages.1.0"])
    with pytest.raises(UsageError, match="stage 0 would be empty"):
        pruned(net, row, [f"stages.0.{i}" for i in range(3)])


# -- norms and time ---------------------------------------------------------------------------------------------------


def test_what_norms_see_is_the_plain_average_of_the_batches_without_dropped_units():
    net, _ = lived("cifar_resnet8", drop_depth=0.9)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    images = [pictures(5), pictures(7) + 1]
    seen = [net.stem.conv1(x) for x in images]
    mean, var = what_norms_see(net, images, CPU)["stem.bn1"]
    assert torch.allclose(mean, torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0), atol=1e-6)
    assert torch.allclose(var, torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0), rtol=1e-5)
    again = what_norms_see(net, images, CPU)["stages.2.0.branch.bn2"]
    assert torch.equal(again[0], what_norms_see(net, images, CPU)["stages.2.0.branch.bn2"][0])
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()) and not net.training


def test_where_nothing_changes_recalibration_changes_nothing():
    net, row = lived("cifar_resnet20")
    nn.init.zeros_(units(net)[4].branch.bn2.weight)  # this unit is the identity
    nn.init.zeros_(units(net)[4].branch.bn2.bias)
    made = pruned(net, row, ["stages.1.1"])
    before = {k: v.clone() for k, v in made.net.state_dict().items()}
    recalibrate(made, what_norms_see(net, [pictures(9)], CPU), [pictures(9)], CPU)
    assert all(torch.allclose(v, before[k], rtol=1e-5, atol=1e-6) for k, v in made.net.state_dict().items())


def test_norms_move_to_what_they_see_where_they_held_what_they_saw():
    net, row = lived("cifar_resnet20")
    images = [pictures(9), pictures(6) - 1]
    for name, (mean, var) in what_norms_see(net, images, CPU).items():
        net.get_submodule(name).running_mean.copy_(mean)
        net.get_submodule(name).running_var.copy_(var)
    made = pruned(net, row, ["stages.0.1", "stages.1.2"])
    recalibrate(made, what_norms_see(net, images, CPU), images, CPU)
    for name, (mean, var) in what_norms_see(made.net, images, CPU).items():
        norm = made.net.get_submodule(name)
        assert torch.allclose(norm.running_mean, mean, rtol=1e-3, atol=1e-4)
        assert torch.allclose(norm.running_var, var, rtol=1e-3, atol=1e-4)


def test_latency_is_a_median_and_larger_for_a_deeper_net():
    shallow, deep = build("cifar_resnet8").eval(), build("cifar_resnet56").eval()
    a, b = latencies([shallow, deep], torch.randn(4, 3, 16, 16), CPU, repeats=3)
    assert 0 < a < b


# -- the choice -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """A trained net of nine units on digits, and the pictures to prune it by."""
    from residua.training.loop import fit
    from residua.training.state import begin

    torch.manual_seed(0)
    data = open_data("digits", val_fraction=0.2)
    view = view_for(data)
    row = replace(find("cifar_resnet8:3-3-3"), widths=(8, 8, 12), stem_width=8, channels=view.channels)
    net = build(row)
    initialise(net, zero_last=True)
    train = Batches(data.splits["train"], view, batch_size=64, seed=0, classes=10)
    recipe = Recipe(epochs=2, batch_size=64, lr=0.1, nesterov=True, schedule="one-cycle", augment=())
    for _ in fit(begin(net, recipe, CPU), train, recipe, CPU):
        pass
    held = Batches(data.splits["val"], view, batch_size=64, seed=0, classes=10)
    shown = Pictures([held.at(i) for i in range(3)], [train.at(i).images for i in range(4)], data.classes)
    return net.eval(), row, shown, train


def brute(net, row, shown, gone):
    """What the removal of each further unit would cost, one evaluation each, without recalibration."""
    found = {}
    for path in removable(row):
        made = pruned(net, row, [path])
        e = evaluate(made.net, shown.held, shown.classes, CPU)
        found[path] = (e.wrong, e.loss)
    return found


def test_the_first_unit_to_leave_is_the_one_whose_absence_costs_least(digits):
    net, row, shown, _ = digits
    path = choose(Whole(net, row, shown, CPU))
    (whole, same), (first, shorter) = next(path), next(path)
    costs = brute(net, row, shown, ())
    assert same is net and whole.removed == () and first.removed == (min(costs, key=costs.get),)
    expected = pruned(net, row, first.removed)
    recalibrate(expected, what_norms_see(net, shown.seen, CPU), shown.seen, CPU)
    assert all(torch.equal(v, expected.net.state_dict()[k]) for k, v in shorter.state_dict().items())
    assert first.wrong == evaluate(expected.net, shown.held, shown.classes, CPU).wrong


def test_the_path_ends_with_one_unit_a_stage_and_names_units_of_the_whole_net(digits):
    net, row, shown, _ = digits
    before = {k: v.clone() for k, v in net.state_dict().items()}
    cuts = [cut for cut, _ in choose(Whole(net, row, shown, CPU))]
    last = cuts[-1]
    assert last.row.depths == (1, 1, 1) and [c.units for c in cuts] == list(range(9, 2, -1))
    assert len(set(last.removed)) == 6 and set(last.removed) <= set(removable(row))
    assert all(b.removed[:-1] == a.removed for a, b in pairwise(cuts))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    again = pruned(net, row, last.removed)
    assert again.row == last.row


def test_the_lazy_choice_measures_less_than_everything(digits, monkeypatch):
    net, row, shown, _ = digits
    asked = []
    real = greedy.lesions
    monkeypatch.setattr(greedy, "lesions", lambda *a: asked.append(len(a[4])) or real(*a))
    cuts = list(choose(Whole(net, row, shown, CPU)))
    everything = sum(len(removable(cut.row)) for cut, _ in cuts)
    assert asked[0] == len(removable(row)) and sum(asked) < everything


# -- the goal ---------------------------------------------------------------------------------------------------------


def task(digits, *, held_seen=None, epochs=0.2):
    net, row, shown, train = digits
    recipe = Recipe(epochs=epochs, batch_size=64, lr=0.01, schedule="one-cycle", augment=())
    tuning = None if held_seen is None else Tuning(train, recipe, held_seen)
    return Task(Whole(net, row, shown, CPU), shown.held[0].images[:8], tuning)


def kinds(events):
    found = [e for e in events if isinstance(e, Reached | Tuned | Chosen)]
    return [e for e in found if isinstance(e, Reached)], [e for e in found if isinstance(e, Tuned)], found[-1]


def test_so_many_units_leave(digits):
    reached, tuned, chosen = kinds(shrink.shrink(task(digits), Goal(units=3)))
    assert len(reached) == 4 and not tuned and not chosen.tuned
    assert sum(chosen.cut.row.depths) == 6 and chosen.base == reached[0].cut.error
    assert [r.macs for r in reached] == sorted((r.macs for r in reached), reverse=True)
    assert reached[0].speed == 1 and reached[-1].params < reached[0].params
    found = evaluate(chosen.net, digits[2].held, digits[2].classes, CPU)
    assert (found.wrong, found.n) == (chosen.cut.wrong, chosen.cut.n)


def test_the_held_out_error_stays_within_the_allowed_drop(digits):
    reached, _, chosen = kinds(shrink.shrink(task(digits), Goal(max_drop=0.05)))
    allowed = reached[0].cut.error + 0.05
    assert chosen.cut.error <= allowed and chosen.cut.removed
    assert all(r.cut.error > allowed for r in reached[len(chosen.cut.removed) + 1 :])


def test_a_fine_tune_takes_the_deepest_cut_that_is_good_enough(digits, monkeypatch):
    """By bisection between the deepest cut that is good enough without one and the end of the path."""
    monkeypatch.setattr(shrink, "BEYOND", 1.0)
    errors = [r.cut.error for r in kinds(shrink.shrink(task(digits), Goal(units=6)))[0]]
    drop = max(errors) - errors[0] - 1e-9  # the worst cut is not good enough
    assert drop > 0
    reached, tuned, chosen = kinds(shrink.shrink(task(digits, held_seen=False), Goal(max_drop=drop)))
    allowed = reached[0].cut.error + drop
    low = max(i for i, e in enumerate(errors) if e <= allowed)
    assert [r.cut.error for r in reached] == errors and (tuned or low == 6)
    assert all((t.cut.error <= allowed) == t.within and len(t.cut.removed) > low for t in tuned)
    assert len(chosen.cut.removed) == max([low, *(len(t.cut.removed) for t in tuned if t.within)])
    found = evaluate(chosen.net, digits[2].held, digits[2].classes, CPU)
    assert found.wrong == chosen.cut.wrong and chosen.cut.error <= allowed


def test_a_net_that_has_seen_the_held_out_pictures_is_compared_with_its_own_fine_tune(digits):
    _, tuned, chosen = kinds(shrink.shrink(task(digits, held_seen=True), Goal(units=2)))
    assert [len(t.cut.removed) for t in tuned] == [0, 2] and tuned[0].within is None
    assert chosen.tuned and chosen.base == tuned[0].cut.error


def test_it_becomes_so_much_faster(digits, monkeypatch):
    monkeypatch.setattr(shrink, "latencies", lambda nets, x, engine: [float(len(units(n))) for n in nets])
    reached, _, chosen = kinds(shrink.shrink(task(digits), Goal(speed=1.5)))
    assert reached[-1].speed == 1.5 and sum(chosen.cut.row.depths) == 6
    with pytest.raises(UsageError, match=r"without all 6 units that can leave .* is 3\.00 times as fast"):
        list(shrink.shrink(task(digits), Goal(speed=5)))


def test_goals_that_cannot_be_reached_are_refused(digits):
    with pytest.raises(UsageError, match="only 6 units"):
        list(shrink.shrink(task(digits), Goal(units=7)))
    net, row, shown, _ = digits
    short = pruned(net, row, [f"stages.{s}.{u}" for s in range(3) for u in (1, 2)])
    with pytest.raises(UsageError, match="no unit can leave"):
        list(shrink.shrink(Task(Whole(short.net, short.row, shown, CPU), shown.held[0].images), Goal(units=1)))


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        ({}, "one of --max-drop"),
        ({"max_drop": 0.01, "units": 2}, "one of --max-drop"),
        ({"max_drop": -0.01}, "0 or more percentage points"),
        ({"speed": 0.5}, "above 1"),
        ({"speed": float("nan")}, "above 1"),
        ({"units": 0}, "at least 1"),
    ],
)
def test_a_goal_is_one_number_that_makes_sense(goal, says):
    with pytest.raises(UsageError, match=says):
        Goal(**goal)
