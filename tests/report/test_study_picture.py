"""A study's picture and page, from a made-up folder: no net is trained."""

import json
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from residua.errors import DataError
from residua.report.sheet import apart, band, ramp
from residua.report.study import draw, error_sheet, gradient_sheet, open_study

HOSTILE = '<script>alert(1)</script> & "more"\n'


def cell(folder: Path, kind: str, depth: int, seed: int, *, gradients: bool) -> dict[str, Any]:
    """A run with three epochs, and its row of the results."""
    name = f"{kind}{depth}-s{seed}"
    run = folder / "cells" / name
    run.mkdir(parents=True)
    level = 0.5 if (kind, depth) == ("plain", 56) else 0.02
    rows: list[dict[str, Any]] = [
        {"event": "epoch", "epoch": e, "step": 4 * e, "train_error": level * (1 + seed) / e, "test_error": level / e}
        for e in (1, 2, 3)
    ]
    if gradients:
        rows += [{"event": "gradients", "step": s, "epoch": s / 4, "norms": [1.0 * s, 2.0 * s]} for s in (1, 12)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return {
        "name": name, "net": f"{kind}{depth}", "series": kind, "kind": kind, "depth": depth, "width": 1, "seed": seed,
        "drop_depth": 0.0, "params": 269434, "macs": 2516608, "train_error": level / 3, "test_error": level / 3,
        "n": 360, "wrong": 5, "seconds": 7.5, "run": f"cells/{name}", "error": None,
    }  # fmt: skip


def group(cells: list[dict[str, Any]]) -> dict[str, Any]:
    first = cells[0]
    found = {"mean": first["test_error"], "std": 0.001, "values": {}}
    return {k: first[k] for k in ("net", "series", "kind", "depth", "width", "drop_depth", "params", "macs")} | {
        "n": len(cells), "failed": 0, "train_error": found, "test_error": found, "published": None,
    }  # fmt: skip


@pytest.fixture
def made(tmp_path: Path):
    """``made(gradients=..., steps=...)`` writes a study folder of two kinds, two depths and two seeds."""

    def make(*, gradients: bool = False, steps: int | None = None) -> Path:
        folder = tmp_path / "study"
        cells, groups = [], []
        for kind in ("plain", "residual"):
            for depth in (20, 56):
                seeds = [cell(folder, kind, depth, s, gradients=gradients) for s in (0, 1)]
                cells += seeds
                groups.append(group(seeds))
        lost = cells[-1] | {"name": "lost", "run": "cells/lost", "error": HOSTILE, "train_error": None,
                            "test_error": None, "n": None, "wrong": None, "seconds": None}  # fmt: skip
        ends = {
            w: {"depth": d, "train_error": e, "test_error": e} for w, d, e in (("shallow", 20, 0.01), ("deep", 56, 0.2))
        }
        finding = {"about": "depth", "series": "plain", "sentence": "Plain nets get worse.", "seeds": 2, "worse": 2,
                   "better": 0, **ends}  # fmt: skip
        results = {
            "data": HOSTILE, "recipe": "quick", "epochs": None if steps else 3.0, "steps": steps, "seeds": [0, 1],
            "planned": 9, "verdict": {"headline": "Depth <b>hurts</b>.", "findings": [finding]}, "groups": groups,
            "cells": [*cells, lost], "failed": [{"name": "lost", "error": HOSTILE, "exit_code": 4}],
        }  # fmt: skip
        (folder / "results.json").write_text(json.dumps(results))
        begun = {"options": {"recipe": {"name": "quick", "val_fraction": 0.1}}, "command": "residua study"}
        (folder / "study.json").write_text(json.dumps(begun))
        return folder

    return make


def test_a_panel_for_each_kind_and_a_line_for_each_depth_with_the_mean_and_range_over_seeds(made):
    sheet = error_sheet(open_study(made()))
    assert [(p.title, [line.label for line in p.lines]) for p in sheet.panels] == [
        ("Plain", ["20 layers", "56 layers"]), ("Residual", ["20 layers", "56 layers"]),
    ]  # fmt: skip
    thin = sheet.panels[0].lines[1].thin
    assert (thin.x, thin.mean, thin.low, thin.high) == (
        (1, 2, 3),
        (0.75, 0.375, 0.25),
        (0.5, 0.25, 0.5 / 3),
        (1, 0.5, 1 / 3),
    )
    assert len({line.colour for line in sheet.panels[0].lines}) == 2
    assert [line.colour for line in sheet.panels[0].lines] == [line.colour for line in sheet.panels[1].lines]


def test_a_study_by_steps_is_drawn_over_steps(made):
    sheet = error_sheet(open_study(made(steps=12)))
    assert sheet.x_name == "step" and sheet.panels[0].lines[0].bold.x == (4, 8, 12)


def test_gradients_are_drawn_over_units_at_the_first_and_last_step(made):
    line = gradient_sheet(open_study(made(gradients=True))).panels[0].lines[0]
    assert line.thin.x == (1, 2) and line.thin.mean == pytest.approx((1, 2))
    assert line.bold.mean == pytest.approx((12, 24))


def test_the_folder_gets_a_picture_and_one_page_that_needs_nothing_else(made):
    folder = made(gradients=True)
    page = draw(folder)
    assert page == folder / "study.html"
    for name in ("study.png", "gradients.png"):
        with Image.open(folder / name) as image:
            assert image.width > 1000
    html = page.read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#)", html) and "url(" not in html
    assert "<script>alert" not in html and "Depth &lt;b&gt;hurts" in html
    charts = re.findall(r"<svg class=\"chart\".*?</svg>", html, re.DOTALL)
    assert len(charts) == 4
    for chart in charts:
        ElementTree.fromstring(chart.replace(" hidden>", ' hidden="">'))


def test_without_gradients_there_is_no_picture_of_them(made):
    folder = made()
    assert 'id="gradients"' not in draw(folder).read_text()
    assert not (folder / "gradients.png").exists()


def test_a_study_without_a_finished_cell_still_has_its_page(made):
    folder = made()
    results = json.loads((folder / "results.json").read_text())
    results |= {"cells": results["cells"][-1:], "groups": [], "verdict": {"headline": "Nothing yet.", "findings": []}}
    (folder / "results.json").write_text(json.dumps(results))
    assert "Nothing yet." in draw(folder).read_text() and not (folder / "study.png").exists()


def test_a_folder_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"is no study: results\.json cannot be read"):
        draw(tmp_path)


def test_bands_stand_on_what_all_runs_have():
    found = band([{1: 0.2, 2: 0.4}, {1: 0.6, 3: 0.1}])
    assert (found.x, found.low, found.high) == ((1,), (0.2,), (0.6,)) and found.mean[0] == pytest.approx(0.4)
    assert band([{1: 1.0}, {1: 100.0}], geometric=True).mean[0] == pytest.approx(10)
    assert not band([]) and not band([{}])


def test_labels_stand_apart_in_their_order_and_inside():
    moved = apart([0.5, 0.5, 0.1, 0.99], 0.1, 0.0, 1.0)
    assert moved[2] < min(moved[0], moved[1]) and max(moved) <= 1
    ordered = sorted(moved)
    assert all(b - a > 0.099 for a, b in pairwise(ordered))
    assert apart([0.1, 0.9], 0.1, 0, 1) == [0.1, 0.9]


def test_colours_go_from_blue_to_vermilion():
    assert (ramp(0), ramp(1)) == ("#0072b2", "#d55e00") and ramp(0.5) not in (ramp(0), ramp(1))
