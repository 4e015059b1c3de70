import json
from dataclasses import replace

import pytest

from residua.errors import UsageError
from residua.nn.arch import Arch, from_json, to_json
from residua.nn.zoo import find, names

ROW = Arch(name="x", source="s", depths=(1, 2), widths=(4, 8))


@pytest.mark.parametrize("name", [*names(), "resnet50_C_v1:3-5-3-1", "plain_preact_resnet18"])
def test_a_row_survives_a_round_trip_through_json(name):
    row = replace(find(name), classes=7, channels=2)
    assert from_json(json.loads(json.dumps(to_json(row)))) == row


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "post-act"}, "unknown unit 'post-act': did you mean post_act"),
        ({"branch": "basics"}, "unknown branch 'basics': did you mean basic"),
        ({"shortcut": "D"}, "unknown shortcut 'D'"),
        ({"stem": "9x9"}, "unknown stem '9x9'"),
        ({"stride_at": "7x7"}, "unknown stride_at"),
        ({"depths": (1, 2, 3)}, "2 stages need 2 depths, got 3"),
        ({"depths": ()}, "2 stages need 2 depths, got 0"),
        ({"depths": (1, 0)}, "at least one unit"),
        ({"depths": (1, 10**9)}, "out of range"),
        ({"drop_depth": 1.0}, r"drop_depth must be in \[0, 1\)"),
        ({"classes": 0}, "must be positive"),
        ({"channels": -1}, "must be positive"),
        ({"ratio": 0}, "must be positive"),
    ],
)
def test_a_row_that_makes_no_net_is_refused_in_one_line(change, message):
    with pytest.raises(UsageError, match=message) as refused:
        replace(ROW, **change)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "Module"},
        {"kind": "Arch"},
        {"kind": "Arch", "name": "x", "source": "s", "depths": "two", "widths": [4]},
        {"kind": "Arch", "name": "x", "source": "s", "depths": [["a"]], "widths": [4]},
        {**to_json(ROW), "stage": 3},
        {**to_json(ROW), "unit": "other"},
    ],
)
def test_what_is_no_row_is_refused(data):
    with pytest.raises(UsageError):
        from_json(data)


def test_layers_are_counted_as_the_papers_do():
    counts = {n: find(n).layers for n in ("resnet18", "resnet50", "cifar_resnet1202", "cifar_preact164", "wrn28_10")}
    assert list(counts.values()) == [18, 50, 1202, 164, 28]
    assert [find(n).layers for n in ("alexnet", "vgg19", "googlenet", "resnet152")] == [8, 19, 22, 152]
