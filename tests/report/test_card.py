"""Laws of the model card: what the numbers warn of is said, what is not known is not, and no name is a mark in it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from residua.errors import DataError
from residua.report import page, write_card
from residua.report.card import card
from residua.report.files import read

ALWAYS = ["Not for", "Known limits", "Licence"]


def changed(run: Path, name: str, **values: Any) -> Path:
    """The run folder with other values in one of its files."""
    found = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps(found | values))
    return run


def limits(run: Path) -> str:
    """The card's known limits as one text."""
    return " ".join(next(p.lines for p in card(read(run)) if p.title == "Known limits")).replace("\xa0", " ")


def test_the_card_has_its_parts_in_order_and_the_page_says_the_same(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run(classes=("cat", "dog"))
    parts = card(read(run))
    assert [p.title for p in parts] == [
        "Intended use", "Not for", "Data", "Training", "Results", "Known limits", "Licence",
    ]  # fmt: skip
    text = write_card(read(run)).read_text(encoding="utf-8")
    assert text.startswith("# cifar\\_resnet20 on digits\n") and text.count("\n## ") == 7
    source = page(run).read_text(encoding="utf-8")
    for part in parts:
        assert f"<h3>{part.title}</h3>" in source
    assert "Says which of 2 classes a picture shows: cat, dog." in source and "quick (one-cycle)" in source


def test_weak_small_and_uneven_classes_are_limits_and_strong_ones_are_not(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run(classes=("cat", "dog", "owl"))
    rows = [
        {"name": "cat", "n": 400, "recall": 0.81},
        {"name": "dog", "n": 400, "recall": 0.79},
        {"name": "owl", "n": 19, "recall": 0.95},
    ]
    changed(run, "evaluation.json", per_class=rows)
    changed(run, "data_check.json", splits={"train": {"cat": 500, "dog": 101, "owl": 100}}, skipped=[])
    said = limits(run)
    assert "1 of 3 classes is found less than 80 % of the time: dog (79 % of 400)." in said
    assert "Fewer than 20 test images, so their rates are rough: owl (19)." in said
    assert "The classes are uneven: 100 training images of owl, 500 of cat." in said
    assert "left out" not in said
    changed(run, "data_check.json", splits={"train": {"cat": 499, "owl": 100}})
    changed(run, "evaluation.json", per_class=[{"name": "cat", "n": 400, "recall": 0.8}])
    assert not re.search("uneven|found less|Fewer than", limits(run))


@pytest.mark.parametrize(("said", "right", "words"), [(0.9, 0.7, "it is too sure"), (0.6, 0.9, "it is too modest")])
def test_probabilities_that_are_off_are_a_limit(make_run, said: float, right: float, words: str) -> None:  # type: ignore[no-untyped-def]
    bins = [{"low": 0.5, "high": 1.0, "n": 120, "confidence": said, "accuracy": right}]
    calibration = {"ece": abs(said - right), "bins": bins, "temperature": None}
    run = changed(make_run(), "evaluation.json", calibration=calibration)
    assert words in limits(run)
    run = changed(run, "evaluation.json", calibration=calibration | {"ece": 0.05})
    assert words not in limits(run), "up to five points are none"


def test_a_net_that_is_no_better_than_the_commonest_class_is_said_to_be(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run(classes=("a", "b"))
    assert "commonest class" not in limits(run)
    changed(run, "evaluation.json", interval=[0.4, 0.5], confusion=[[60, 0], [55, 5]], top1_error=0.45)
    assert "not clearly better than always naming the commonest class, which would miss 50.0 %" in limits(run)


def test_of_an_unfinished_or_bare_run_the_card_says_what_is_known(make_run) -> None:  # type: ignore[no-untyped-def]
    bare = make_run(without=("evaluation.json", "metrics.jsonl", "summary.json", "data_check.json", "environment.json"))
    assert {*ALWAYS} <= {p.title for p in card(read(bare))}
    assert "The training is not finished: nothing has been tested yet." in limits(bare)
    assert write_card(read(bare)).read_text().startswith("# a net on images\n")


def test_no_name_is_a_mark_or_a_tag_in_the_card(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run(classes=("<script>alert(1)</script>", "new\n# line", "[a](javascript:b)", "*`c`*"))
    text = write_card(read(run)).read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)[<>\[\]`*]", text)
    assert "new\\\\n\\# line" in text and text.count("\n# ") == 0 and text.count("\n## ") == 7


def test_a_card_that_cannot_be_written_is_one_line(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run()
    (run / "model_card.md").mkdir()
    with pytest.raises(DataError, match="cannot write"):
        write_card(read(run))
