"""Pictures of units and lesions are drawn from documents alone, and the sentences say what the numbers say."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from residua.report.files import read
from residua.report.lesions import lesions
from residua.report.lesions import sentence as lesion_sentence
from residua.report.units import sentence as unit_sentence
from residua.report.units import units
from residua.report.watched import watched, watched_of


def measured(ratios: list[float | None], word: str = "unit") -> dict[str, Any]:
    rows = [
        {
            "unit": f"stages.{i % 3}.{i}", "stage": i % 3, "shortcut": "identity", "ratio": r, "cosine": 0.5 + i / 100,
            "last_norm": None, "gradient_norm": 1.0, "gradient_share": 1 / len(ratios),
        }
        for i, r in enumerate(ratios)
    ]  # fmt: skip
    layers = [{"index": i, "layer": f"l{i}", "stage": 0, "size": 3, "mean": 0.0, "std": 1 / i} for i in range(1, 8)]
    return {"arch": "net", "word": word, "units": rows, "layers": layers, "against": None}


def lesioned(errors: list[float], base: float = 0.1, **more: Any) -> dict[str, Any]:
    def row(error: float) -> dict[str, Any]:
        return {"n": 100, "wrong": round(100 * error), "top1_error": error, "interval": [error * 0.8, error * 1.2]}

    rows = [
        {"unit": f"stages.{i // 3}.{i % 3}", "stage": i // 3, "keeps_shape": i != 3, "loss": 1.0, **row(e)}
        for i, e in enumerate(errors)
    ]
    document = {"word": "unit", "chance": 0.9, "base": row(base), "units": rows, "random": [], "swaps": []}
    return document | more


def colours(path: Any) -> int:
    with Image.open(path) as image:
        return len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0))


def test_the_sentence_counts_and_names_the_units_that_learned_the_identity():
    said = unit_sentence(measured([0.05, 0.5, 0.0, 2.0]))
    assert "2 of 4 units change their input by less than 10\u00a0%: stages.0.0, stages.2.2." in said
    assert "stages.2.2 least (0\u00a0%)" in said and "stages.0.3 most (200.0\u00a0%)" in said
    assert "and 8 more" in unit_sentence(measured([0.01] * 20))
    assert unit_sentence(measured([0.5])).startswith("0 of 1 units change their input by less than 10\u00a0%. ")
    plain = unit_sentence(measured([None, None, None]))
    assert "no shortcut" in plain and "stages.2.2 comes nearest to the identity (0.52)" in plain


@pytest.mark.parametrize("ratios", [[0.0, 0.0], [None] * 3, [1e-7, *[0.3] * 99]])
def test_every_measurement_can_be_drawn(tmp_path, ratios):
    document = measured(ratios)
    if len(ratios) == 2:
        document["against"] = measured([0.2])
    assert colours(units(document, tmp_path / "units.png")) > 10


def test_the_sentence_names_the_most_harmful_and_says_where_the_shape_changes():
    said = lesion_sentence(lesioned([0.1, 0.105, 0.3, 0.6]))
    assert said.startswith("2 of 4 units can go alone at a loss of less than 1 point.")
    assert "stages.0.0: 10.0\u00a0%" in said
    assert "without the most harmful, stages.1.0 in stage 1, where the shape changes: 60.0\u00a0%" in said
    lost = lesion_sentence(lesioned([0.89, 0.9, 0.3]))
    assert "the net is lost: 2 of 3 lesions come near chance" in lost
    assert lesion_sentence(lesioned([])) == ""


def test_every_document_of_lesions_can_be_drawn(tmp_path):
    base = {"n": 50, "wrong": 5, "top1_error": 0.1}
    random = [{"k": k, "seed": s, "top1_error": 0.1 * k + 0.01 * s} for k in (1, 2, 8) for s in (0, 1)]
    swaps = [{"tau": 1 - 0.1 * i, "top1_error": 0.1 + 0.1 * i} for i in range(1, 4)]
    curves = {"curves": {"n": 50, "base": base}}
    for i, document in enumerate((
        lesioned([0.0] * 80, 0.0),
        lesioned([0.1, 0.95], random=random, swaps=swaps, **curves),
    )):  # fmt: skip
        assert colours(lesions(document, tmp_path / f"{i}.png")) > 10


def row(step: int, units: int, ratio: float | None = 0.5) -> dict[str, Any]:
    rows = [
        {"unit": f"stages.0.{i}", "stage": 0, "ratio": ratio, "cosine": 0.5, "gradient_share": 1 / units}
        for i in range(units)
    ]
    return {"event": "units", "step": step, "epoch": step / 10, "units": rows}


def write(run: Any, rows: list[Any]) -> Any:
    run.mkdir()
    (run / "summary.json").write_text("{}")
    (run / "units.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return run


def test_a_net_that_grew_has_the_units_of_its_end_and_gaps_before(tmp_path):
    found = watched_of(read(write(tmp_path / "run", [row(1, 2), row(20, 3), row(20, 3, 0.7)])))
    assert found is not None and found.units == ("stages.0.0", "stages.0.1", "stages.0.2")
    assert np.isnan(found.ratio).tolist() == [[False, False], [False, False], [True, False]]
    assert found.ratio[0].tolist() == [0.5, 0.7]


@pytest.mark.parametrize("ratio", [0.0, None])
def test_watched_units_are_drawn_whatever_a_torn_file_holds(tmp_path, ratio):
    rows = [
        row(1, 2, ratio),
        {"event": "units"},
        {"units": 3, "step": 2, "epoch": 1},
        row(20, 3, ratio),
        row(40, 3, ratio),
    ]
    assert watched(write(tmp_path / "run", rows), tmp_path / "units.png") is not None
    assert colours(tmp_path / "units.png") > 10
    assert watched(write(tmp_path / "none", []), tmp_path / "none.png") is None
