from dataclasses import replace

import pytest

from residua.errors import UsageError
from residua.nn.zoo import find
from residua.study.options import StudyOptions
from residua.study.plan import Cell, Shape, cells

SMALL = Shape(side_px=8, classes=10, channels=1)
LARGE = Shape(side_px=224, classes=1000, channels=3)


def planned(shape: Shape = SMALL, **changes) -> tuple[Cell, ...]:
    return cells(StudyOptions(**{"seeds": (0,)} | changes), shape)


def test_the_default_is_plain_and_residual_nets_of_20_and_56_layers_with_three_seeds():
    found = cells(StudyOptions(), SMALL)
    assert len(found) == 12
    assert {c.net for c in found} == {"cifar_plain20", "cifar_plain56", "cifar_resnet20", "cifar_resnet56"}
    assert {c.seed for c in found} == {0, 1, 2}


def test_plain_and_residual_nets_of_one_depth_cost_the_same():
    by_net = {c.net: (c.params, c.macs) for c in planned()}
    assert by_net["cifar_plain20"] == by_net["cifar_resnet20"]
    assert by_net["cifar_plain56"] == by_net["cifar_resnet56"]


def test_costs_are_those_of_the_pictures():
    (cell,) = planned(Shape(32, 10, 3), kinds=("residual",), depths=(20,))
    assert (cell.params, round(cell.macs / 1e6, 2)) == (269722, 40.55)


def test_every_kind_has_its_nets_on_small_and_on_large_pictures():
    kinds = ("plain", "residual", "preact", "resnext")
    assert [c.net for c in planned(kinds=kinds, depths=(20,))] == [
        "cifar_plain20", "cifar_resnet20", "cifar_preact20", "resnext20_8x4d",
    ]  # fmt: skip
    assert [c.net for c in planned(LARGE, kinds=("plain", "residual", "preact"), depths=(18, 34))] == [
        "plain18", "plain34", "resnet18", "resnet34", "preact_resnet18", "preact_resnet34",
    ]  # fmt: skip


def test_a_kind_may_be_a_name_with_its_depth_left_open():
    assert [c.net for c in planned(kinds=("wrn{depth}_2",), depths=(10, 16))] == ["wrn10_2", "wrn16_2"]


def test_shortcuts_are_for_nets_that_have_them():
    found = planned(depths=(20,), shortcuts=("A", "B"))
    assert [c.net for c in found] == ["cifar_plain20", "cifar_resnet20_A", "cifar_resnet20_B"]
    assert [c.series for c in found] == ["plain", "residual A", "residual B"]


def test_plain_nets_never_drop_units():
    found = planned(depths=(20,), drop_depth=(0.0, 0.5))
    assert [(c.name, c.drop_depth) for c in found] == [
        ("cifar_plain20-s0", 0), ("cifar_resnet20-s0", 0), ("cifar_resnet20-drop0.5-s0", 0.5),
    ]  # fmt: skip
    recipe = replace(StudyOptions().recipe, drop_depth=0.5)
    assert [c.drop_depth for c in planned(depths=(20,), recipe=recipe)] == [0, 0.5]


def test_a_wider_net_gets_the_depth_that_costs_most_nearly_as_much():
    narrow, wide, wider = planned(kinds=("residual",), depths=(56,), widths=(1, 2, 4))
    assert (wide.net, wider.net) == ("cifar_resnet14_w2", "cifar_resnet8_w4")
    assert narrow.budget == wide.budget == wider.budget == 56
    for depth in (8, 20):
        (other,) = planned(kinds=("cifar_resnet{depth}_w2",), depths=(depth,))
        assert abs(other.macs - narrow.macs) > abs(wide.macs - narrow.macs)


def test_nets_without_norms_stand_beside_those_with_them():
    found = planned(kinds=("plain",), depths=(20,), norm=("batch", "none"))
    assert [c.net for c in found] == ["cifar_plain20", "cifar_plain20_nobn"]
    assert find(found[1].net).norm == "none"


def test_no_two_cells_share_a_name():
    found = planned(shortcuts=("A", "B"), widths=(1, 2), norm=("batch", "none"), drop_depth=(0, 0.5), seeds=(0, 7))
    assert len({c.name for c in found}) == len(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (20, 57)}, r"depth must be 6n\+2 .*got 57: the nearest is 56 or 62"),
        ({"kinds": ("residul",)}, "unknown kind 'residul': did you mean residual"),
        ({"kinds": ("vgg{depth}",), "depths": (16,)}, "vgg16 has no units"),
        ({"shortcuts": ("D",)}, "unknown shortcuts 'D'"),
        ({"norm": ("layer",)}, "unknown norm 'layer'"),
        ({"drop_depth": (1.0,)}, "--drop-depth 1: give probabilities"),
        ({"widths": (0,)}, "--widths 0"),
        ({"seeds": ()}, "--seeds: give at least one"),
        ({"engine": "rays"}, "unknown engine 'rays': did you mean ray"),
        ({"address": "h:1"}, "--address names a Ray cluster"),
        ({"data": "digit"}, "unknown data set 'digit': did you mean digits"),
    ],
)
def test_what_makes_no_study_is_refused_in_one_line(changes, message):
    with pytest.raises(UsageError, match=message) as refused:
        planned(**changes)
    assert "\n" not in str(refused.value)
