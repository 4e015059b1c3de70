"""Laws of the comparison of runs: paired on the same images, never across data, harmless, and said in one line."""

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from residua.errors import DataError, UsageError
from residua.files import cell
from residua.report import check_out, compare, compare_page
from residua.report.compare import MOST, chance


def predictions(run: Path, right: "np.ndarray", truth: list[str], said: str = "none of them") -> None:
    """predictions.csv: image i is right where `right` says so."""
    with open(run / "predictions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "truth", "loss", "class_1", "probability_1"])
        for i, (r, t) in enumerate(zip(right, truth, strict=True)):
            table.writerow([cell(f"-{i}.png"), cell(t), 0.5, cell(t if r else said), 0.9])


def lone_words(path: Path) -> tuple[str, set[str]]:
    """(the page's text, its tags)."""
    words: list[str] = []
    tags: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.add(tag)

        def handle_data(self, data: str) -> None:
            words.append(data)

    Reader().feed(path.read_text(encoding="utf-8"))
    return re.sub(r"\s+", " ", "".join(words)).replace("\xa0", " "), tags


@pytest.mark.parametrize("seed", [0, 1])
def test_the_test_on_the_same_images_is_scipys_in_whatever_order_they_stand(make_run, seed: int) -> None:  # type: ignore[no-untyped-def]
    a, b = make_run(name="a"), make_run(name="b")
    rng, truth = np.random.default_rng(seed), ["x", "=y"] * 120
    one, two = rng.random(240) < 0.9, rng.random(240) < 0.78
    predictions(a, one, truth)
    predictions(b, two, truth)
    head, *rows = (b / "predictions.csv").read_text(encoding="utf-8").splitlines()
    (b / "predictions.csv").write_text("\n".join([head, *rows[::-1]]), encoding="utf-8")
    (pair,) = compare([a, b])["pairs"]
    only_a, only_b = int((one & ~two).sum()), int((~one & two).sum())
    assert (pair["n"], pair["only_a"], pair["only_b"]) == (240, only_a, only_b)
    assert pair["p"] == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert (pair["p"] < 0.05) == pair["sentence"].endswith("A is better than B.")


@pytest.mark.parametrize(
    ("other", "told"),
    [({"name": "birds"}, "A digits, B birds"), ({"fingerprint": "0b"}, "all called digits")],
)
def test_runs_of_other_data_are_told_apart_and_none_is_called_better(  # type: ignore[no-untyped-def]
    make_run, other: dict[str, str], told: str
) -> None:
    """Also where their images bear the same names: a copy made smaller, a folder that was cleaned."""
    a, b = make_run(name="a"), make_run(name="b")
    for run, right, mark in (
        (a, np.ones, {"fingerprint": "0a"} if "fingerprint" in other else {}),
        (b, np.zeros, other),
    ):
        predictions(run, right(90, bool), ["x"] * 90)
        data = json.loads((run / "data_check.json").read_text())
        (run / "data_check.json").write_text(json.dumps(data | mark))
    found = compare([a, b])
    (pair,) = found["pairs"]
    assert "p" not in pair and pair["why_not"] == "A and B had different data, so they are not paired."
    (note,) = found["notes"]
    assert f"different data ({told})" in note and "no run is called better" in note and "\n" not in note
    page = compare_page([a, b], a.parent / "c.html").read_text(encoding="utf-8")
    assert 'class="best"' not in page and "is better than" not in page


def test_runs_that_saw_other_test_images_are_not_paired(make_run) -> None:  # type: ignore[no-untyped-def]
    a, b = make_run(name="a"), make_run(name="b")
    predictions(a, np.ones(90, bool), ["x"] * 90)
    predictions(b, np.zeros(80, bool), ["x"] * 80)
    (pair,) = compare([a, b])["pairs"]
    assert "p" not in pair and pair["why_not"] == (
        "A and B were tested on different images (90 and 80, 80 of them shared)."
    )


def test_several_tests_count_together(make_run) -> None:  # type: ignore[no-untyped-def]
    runs, truth = [make_run(name=n) for n in "abc"], ["x"] * 100
    for run, wrong in zip(runs, (0, 6, 9), strict=True):
        predictions(run, np.arange(100) >= wrong, truth)
    pairs = compare(runs)["pairs"]
    assert [(p["a"], p["b"]) for p in pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert [p["p"] for p in pairs] == pytest.approx([binomtest(0, n).pvalue for n in (6, 9, 3)])
    assert [p["p_holm"] for p in pairs] == pytest.approx([2 * pairs[0]["p"], 3 * pairs[1]["p"], pairs[2]["p"]])
    assert pairs[0]["sentence"].endswith("that may well be chance.")  # 0.03 alone, 0.06 as one of three


def test_options_that_differ_and_classes_are_side_by_side(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    a, b = make_run(name="a"), make_run(name="b")
    (a / "config.toml").write_text('data = "digits"\nout = "a"\n[recipe]\nname = "quick"\nlr = 0.1\nsource = "s"\n')
    (b / "config.toml").write_text('data = "digits"\nout = "b"\n[recipe]\nname = "quick"\nlr = 0.2\nsource = "t"\n')
    rows = json.loads((b / "evaluation.json").read_text())
    rows["per_class"][3]["recall"] = 0.95
    (b / "evaluation.json").write_text(json.dumps(rows))
    found = compare([a, b])
    assert found["options"] == [{"option": "lr", "values": [0.1, 0.2]}]
    assert found["classes"][0]["name"] == "ünï ☃" and found["classes"][0]["recall"] == [0.5, 0.95]
    json.dumps(found, allow_nan=False)
    words, _ = lone_words(compare_page([a, b], tmp_path / "c.html"))
    for said in ("A and B compared", "cifar_resnet20 on digits", "269,434", "Options that differ", "45.0 points"):
        assert said in words, said


def test_no_name_breaks_out_and_the_page_stands_alone(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    a, b = make_run(name="a"), make_run(name="b")
    (b / "config.toml").write_text('data = "<script>alert(2)</script>"\n')
    data = json.loads((b / "data_check.json").read_text())
    (b / "data_check.json").write_text(json.dumps(data | {"name": "new\nline<script>alert(3)</script>"}))
    out = compare_page([a, b], tmp_path / "c.html")
    source, (words, tags) = out.read_text(encoding="utf-8"), lone_words(out)
    assert source.count("<script>") == 1 and "<script>alert(1)" in words and "<script>alert(2)" in words
    assert "new\\nline" in words and not tags & {"link", "iframe", "img"}
    assert set(re.findall(r"https?://[^\s\"'<]+", source)) <= {"http://www.w3.org/2000/svg"}


def test_unfinished_runs_and_old_folders_are_compared_as_far_as_they_go(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    a = make_run(name="a")
    b = make_run(name="b", without=("evaluation.json", "gallery.json", "data_check.json", "environment.json"))
    found = compare([a, b])
    assert "B is not finished: it has no test error yet." in found["notes"]
    assert found["pairs"][0]["why_not"] == (
        "A has no predictions.csv that tells its images apart, so A and B are not paired."
    )
    assert "validation error" in lone_words(compare_page([a, b], tmp_path / "c.html"))[0]


def test_what_cannot_be_compared_is_refused_in_one_line(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    a, b = make_run(name="a"), make_run(name="b")
    folds = tmp_path / "folds"
    folds.mkdir()
    (folds / "folds.json").write_text("{}")
    for folders, kind, words in (
        ([a], UsageError, "two runs or more"),
        ([a, b, a], UsageError, "given twice"),
        ([a] * (MOST + 1), UsageError, f"at most {MOST} runs"),
        ([a, tmp_path], DataError, "is not a run folder"),
        ([a, folds], DataError, "is a cross-validation"),
    ):
        with pytest.raises(kind, match=words) as refused:
            compare(folders)
        assert "\n" not in str(refused.value)


def test_only_a_comparison_is_written_over(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    a, b = make_run(name="a"), make_run(name="b")
    mine = tmp_path / "mine.html"
    mine.write_text("<p>my own page")
    with pytest.raises(UsageError, match="is no comparison"):
        compare_page([a, b], mine)
    with pytest.raises(UsageError, match=r"ends in \.html"):
        check_out(tmp_path / "runs.txt")
    assert mine.read_text() == "<p>my own page"
    out = compare_page([a, b], tmp_path / "c.html")
    first = out.read_bytes()
    assert compare_page([a, b], out).read_bytes() == first


def test_chance_is_said_as_people_say_it() -> None:
    assert [chance(p) for p in (1.0, 0.25, 0.0312, 1e-9)] == ["1", "0.25", "0.031", "0.0001 or less"]


def test_the_command_compares_several_runs_and_draws_one(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    a, b = make_run(name="a"), make_run(name="b")

    def residua(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "residua", "report", *words], capture_output=True, text=True, cwd=tmp_path
        )

    done = residua("a", "b", "--json", "--out", "c.html")
    assert done.returncode == 0 and (tmp_path / "c.html").is_file(), done.stderr
    assert [r["key"] for r in json.loads(done.stdout)["runs"]] == ["A", "B"]
    refused = residua("a", "--out", "c.html")
    assert refused.returncode == 2 and "--out" in refused.stderr and not (a / "c.html").exists()
    assert str(b) not in refused.stderr
