"""Laws of a cross-validation's page: every fold and all together, from folds.json alone, whatever is missing in it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from residua.errors import DataError
from residua.report import draw, folds_page

CLASSES = ["<script>alert(1)</script>", "new\nline", "bee"]


def document() -> dict[str, Any]:
    """folds.json of three folds, nine images of thirty wrong."""
    folds = [
        {"fold": i, "run": f"fold-{i}", "n": 10, "wrong": i + 1, "top1_error": (i + 1) / 10, "macro_f1": 0.9 - i / 10}
        for i in (1, 2, 3)
    ]
    counts = [[7, 3, 0], [2, 7, 1], [3, 0, 7]]
    pooled = {
        "n": 30, "wrong": 9, "top1_error": 0.3, "interval": [0.167, 0.479], "confusion": counts, "classes": CLASSES,
        "per_class": [{"name": c, "n": 10, "wrong": 3, "precision": 0.7, "recall": 0.7, "f1": 0.7} for c in CLASSES],
    }  # fmt: skip
    means = {"mean": {"top1_error": 0.3, "macro_f1": 0.7}, "std": {"top1_error": 0.1, "macro_f1": 0.1}}
    return {"k": 3, "classes": CLASSES, "folds": folds, "pooled": pooled, **means}


class Seen(HTMLParser):
    """A page's links, open tags and words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.words = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.words = re.sub(r"\s+", " ", self.words).replace("\xa0", " ")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v or "" for k, v in attrs if tag == "a" and k == "href"]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cross-validation of three folds; the page of the second is not there."""
    made = tmp_path / "cv"
    for i in (1, 2, 3):
        (made / f"fold-{i}").mkdir(parents=True)
        if i != 2:
            (made / f"fold-{i}" / "report.html").write_text("a page")
    (made / "predictions.csv").write_text("path\n")
    (made / "folds.json").write_text(json.dumps(document()))
    return made


def test_it_says_every_fold_their_mean_and_all_together(folder: Path) -> None:
    seen = Seen(draw(folder))
    for words in (
        "3 folds", "error out of fold", "30.0 %", "9 of 30 images wrong", "95 % interval 16.7 % to 47.9 %",
        "30.0 % on average, with a standard deviation of 10.0 %", "fold 1", "fold 3",
        "± standard deviation", "± 10.0 %", "0.700", "± 0.100",
    ):  # fmt: skip
        assert words in seen.words, words
    assert [link for link in seen.links if not link.startswith("#")] == [
        "fold-1/report.html", "fold-3/report.html", "predictions.csv",
    ]  # fmt: skip


def test_no_class_name_breaks_out_and_nothing_comes_from_elsewhere(folder: Path) -> None:
    seen = Seen(folds_page(folder))
    assert seen.source.count("<script>") == 1 and "<script>alert(1)</script> taken for new\\nline" in seen.words
    assert set(re.findall(r"https?://[^\s\"'<]+", seen.source)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("run", ["../../outside", "/etc", "<b>x</b>", "fold-2/../../outside"])
def test_no_link_leads_out_of_the_folder(folder: Path, run: str) -> None:
    (folder.parent / "outside").mkdir()
    (folder.parent / "outside" / "report.html").write_text("elsewhere")
    found = document()
    found["folds"][0]["run"] = run
    (folder / "folds.json").write_text(json.dumps(found))
    seen = Seen(folds_page(folder))
    assert not any("outside" in link or link.startswith("/") for link in seen.links) and "<b>x" not in seen.source


@pytest.mark.parametrize("key", ["k", "classes", "folds", "mean", "std", "pooled"])
@pytest.mark.parametrize("value", [None, [], {}, "words", [3, None], float("inf")])
def test_whatever_is_missing_or_odd_in_it_is_left_out(folder: Path, key: str, value: Any) -> None:
    (folder / "folds.json").write_text(json.dumps(document() | {key: value}))
    assert "<h1" in Seen(folds_page(folder)).source


def test_odd_numbers_are_said_as_unknown(folder: Path) -> None:
    found = document()
    found["folds"][0] |= {"top1_error": None, "n": "many", "macro_f1": float("nan"), "fold": "<i>"}
    (folder / "folds.json").write_text(json.dumps(found))
    seen = Seen(folds_page(folder))
    assert "–" in seen.words and "nan" not in seen.source and "<i>1" not in seen.source


def test_a_folder_that_is_none_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no folds\.json"):
        folds_page(tmp_path)
    for text, words in (("{torn", "cannot read"), ("[1]", "is not what a cross-validation writes")):
        (folder / "folds.json").write_text(text)
        with pytest.raises(DataError, match=words):
            draw(folder)
