from typing import Any

import pytest

from residua.study.paper import published
from residua.study.results import groups, spread
from residua.study.verdict import across, how_often, paired, verdict


def cell(net: str, series: str, depth: int, seed: int, train: float | None, **more: Any) -> dict[str, Any]:
    row = {
        "net": net, "series": series, "kind": series, "depth": depth, "width": 1, "shortcut": "", "norm": "batch",
        "drop_depth": 0.0, "budget": depth, "params": 1000, "macs": 10**6, "seed": seed, "train_error": train,
        "test_error": train, "gradients": None, "error": None if train is not None else "the loss is nan",
    }  # fmt: skip
    return row | more


def study(*rows: tuple[str, int, list[float | None]]) -> list[dict[str, Any]]:
    return [
        cell(f"{series}{depth}", series, depth, seed, train)
        for series, depth, errors in rows
        for seed, train in enumerate(errors)
    ]


def said(rows: list[dict[str, Any]], about: str) -> list[dict[str, Any]]:
    return [f for f in verdict(groups(rows, "digits"), rows)["findings"] if f["about"] == about]


def test_the_headline_says_by_how_many_points_training_error_changes_with_depth():
    rows = study(("plain", 20, [0.02, 0.04]), ("plain", 56, [0.5, 0.6]), ("residual", 20, [0.02, 0.04]),
                 ("residual", 56, [0.01, 0.02]))  # fmt: skip
    assert verdict(groups(rows, "digits"), rows)["headline"] == (
        "From 20 to 56 layers, training error rises by 52.0 points in plain nets "
        "and falls by 1.5 points in residual nets."
    )


def test_depth_is_judged_seed_by_seed_from_the_shallowest_net_to_the_deepest():
    rows = study(("plain", 32, [0.5, 0.5]), ("plain", 20, [0.1, 0.3]), ("plain", 56, [0.4, 0.2]))
    (finding,) = said(rows, "depth")
    assert (finding["seeds"], finding["worse"], finding["better"]) == (2, 1, 1)
    assert (finding["shallow"]["depth"], finding["deep"]["depth"]) == (20, 56)
    assert "worse in 1, better in 1 of 2 seeds" in finding["sentence"]
    assert "20.00 ± 14.14 % with 20 layers" in finding["sentence"]


def test_a_failed_seed_is_left_out_of_both_sides():
    rows = study(("plain", 20, [0.1, 0.1, 0.1]), ("plain", 56, [0.2, None, 0.2]))
    (finding,) = said(rows, "depth")
    assert (finding["seeds"], finding["worse"]) == (2, 2)
    assert [(g["n"], g["failed"]) for g in groups(rows, "digits")] == [(3, 0), (2, 1)]


def test_one_depth_makes_no_verdict_and_nothing_finished_none_either():
    rows = study(("plain", 20, [0.1]))
    assert verdict(groups(rows, "digits"), rows) == {
        "headline": "No two depths to compare have finished.", "findings": [],
    }  # fmt: skip
    rows = study(("plain", 20, [None]), ("plain", 56, [None]))
    assert verdict(groups(rows, "digits"), rows)["findings"] == []


def test_shortcuts_are_judged_at_equal_depth():
    rows = study(("plain", 56, [0.5]), ("residual", 56, [0.1]))
    (finding,) = said(rows, "shortcut")
    assert "training error better in 1 of 1 seeds, 10.00 % instead of 50.00 %" in finding["sentence"]


def test_a_wider_net_is_judged_against_the_narrow_one_of_its_budget():
    rows = [
        cell("n56", "residual", 56, 0, 0.05, macs=8_000_000),
        cell("n14_w2", "residual", 14, 0, 0.04, width=2, budget=56, macs=8_500_000),
    ]
    (finding,) = said(rows, "width")
    assert finding["sentence"].startswith("Residual nets at about equal cost: 14 layers of 2 times the width")
    assert "8.50 M multiply-adds" in finding["sentence"] and "better in 1 of 1 seeds" in finding["sentence"]


def test_nets_without_norms_that_fail_are_said_to():
    rows = [
        cell("p20", "plain", 20, 0, 0.05),
        cell("p20_nobn", "plain, no batch norm", 20, 0, None, kind="plain", norm="none"),
    ]
    (finding,) = said(rows, "norm")
    assert finding["sentence"] == "Plain nets of 20 layers without batch norm: 1 of 1 seeds failed."


@pytest.mark.parametrize(
    ("norms", "word"),
    [([100.0, 10.0, 1.0], "explodes"), ([1e-3, 0.1, 1.0], "vanishes"), ([1.0, 5.0, 2.0], "neither")],
)
def test_gradients_that_grow_or_shrink_tenfold_towards_the_input_explode_or_vanish(norms, word):
    rows = [cell("p20", "plain", 20, 0, 0.1, gradients={"first": norms, "last": norms})]
    (finding,) = said(rows, "gradients")
    assert word in finding["sentence"] and finding["first_step"] == pytest.approx(norms[0] / norms[-1])


def test_the_ends_of_a_gradient_are_a_tenth_of_the_units():
    assert across([[4.0, 6.0, *[1.0] * 16, 1.0, 1.0]]) == pytest.approx(5)
    assert across([[0.0, 1.0]]) is None and across([]) is None


def test_spread_is_the_sample_s_and_needs_two():
    assert spread([{"seed": 0, "e": 0.1}], "e") == {"mean": 0.1, "std": None, "values": {"0": 0.1}}
    found = spread([{"seed": s, "e": e} for s, e in enumerate((0.1, 0.2, 0.3))], "e")
    assert found is not None and (found["mean"], found["std"]) == (pytest.approx(0.2), pytest.approx(0.1))


def test_only_seeds_that_both_nets_have_are_compared():
    a = {"e": spread([{"seed": s, "e": 0.5} for s in (0, 1)], "e")}
    b = {"e": spread([{"seed": s, "e": 0.5} for s in (1, 2)], "e")}
    pair = paired(a, b, "e")
    assert pair == {"seeds": 1, "worse": 0, "better": 0} and how_often(pair) == "the same in 1 of 1 seeds"
    assert paired(a, {"e": None}, "e") is None


def test_published_values_are_those_of_the_papers_and_only_for_their_data():
    table_6 = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 1202: 7.93}
    assert {d: round(100 * published("cifar10", f"cifar_resnet{d}")[0], 2) for d in table_6} == table_6
    assert published("cifar10", "cifar_resnet20_A") == published("cifar10", "cifar_resnet20")
    assert published("digits", "cifar_resnet20") is None and published("cifar10", "cifar_resnet20_B") is None
    assert round(100 * (published("/data/imagenet/", "plain34")[0]), 2) == 28.54
