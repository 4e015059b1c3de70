"""`residua train --folds`: one folder of all folds, its pages and tables, one JSON document, and what it refuses."""

import json

import pytest

from residua.job import tracking

SMALL = ("--arch", "cifar_resnet8", "--epochs", "1")


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    """A cross-validation of two folds, stopped by nothing."""
    from residua.cli.main import run

    folder = tmp_path_factory.mktemp("crossed") / "cv"
    assert run(["train", *SMALL, "--limit", "60", "--folds", "2", "--out", str(folder), "--json"]) == 0
    return folder


def test_the_folder_holds_every_fold_and_what_they_say_together(crossed):
    assert {p.name for p in crossed.iterdir()} == {
        "config.toml", "fold-1", "fold-2", "folds.json", "predictions.csv", "label_errors.csv", "label_errors.html",
        "report.html",
    }  # fmt: skip
    page = (crossed / "report.html").read_text()
    for link in ("fold-1/report.html", "fold-2/report.html", "label_errors.html", "predictions.csv"):
        assert f'href="{link}"' in page and (crossed / link).is_file()


def test_going_on_with_one_that_is_done_trains_nothing_and_says_the_same(residua, crossed):
    before = {p: p.stat().st_mtime_ns for p in crossed.glob("fold-*/**/*")}
    (crossed / "fold-2" / "report.html").unlink()
    ran = residua("train", "--resume", crossed, "--json")
    assert ran.code == 0 and "2 of 2 folds are trained already" in ran.err
    kept = json.loads((crossed / "folds.json").read_text())
    assert {k: ran.json[k] for k in kept} == kept and ran.json["run"] == str(crossed)
    assert ran.json.keys() - kept.keys() == {"run", "label_errors", "report"}
    changed = {p for p in before if p.is_file() and p.stat().st_mtime_ns != before[p]}
    assert {p.suffix for p in changed} <= {".html", ".png", ".md"}  # the page that was missing, and nothing learned
    assert {p.relative_to(crossed).parts[0] for p in changed} == {"fold-2"}
    assert crossed / "fold-2" / "report.html" in changed


def test_the_end_says_every_fold_mean_and_spread_and_all_together_with_its_interval(residua, crossed):
    ran = residua("train", "--resume", crossed)
    found = json.loads((crossed / "folds.json").read_text())
    pooled, mean, std = found["pooled"], found["mean"]["top1_error"], found["std"]["top1_error"]
    assert ran.code == 0 and f"{100 * mean:.2f} % ± {100 * std:.2f} %" in ran.out
    low, high = pooled["interval"]
    assert f"{pooled['wrong']} of 120 wrong" in ran.out
    assert f"95 % interval {100 * low:.2f} % to {100 * high:.2f} %" in ran.out
    for f in found["folds"]:
        assert any(line.split()[:3] == [str(f["fold"]), "60", str(f["wrong"])] for line in ran.out.splitlines())


def test_what_the_first_fold_decided_is_not_said_again_by_the_next(residua, tmp_path):
    ran = residua("train", *SMALL, "--limit", "20", "--folds", "2", "--out", tmp_path / "cv")
    first, _, second = ran.err.partition("fold 2 of 2\n")
    assert "--device)" in first and "--device)" not in second
    assert "fold 2 of 2: 718 of 1437 pictures are its test" in second


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--folds", "3"), "was begun otherwise: folds 2 -> 3; its folds are trained alike"),
        (("--seed", "4", "--accept-changes"), "was begun otherwise: seed 0 -> 4"),
        (("--lr", "0.3"), "lr 0.1 -> 0.3"),
        (("--out", "elsewhere"), "--out has no meaning with --resume"),
    ],
)
def test_folds_are_gone_on_with_as_they_were_begun(residua, crossed, words, says):
    ran = residua("train", "--resume", crossed, *words)
    assert (ran.code, ran.out) == (2, "") and says in ran.line


def test_a_single_training_does_not_become_folds(residua, trained):
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("*")}
    ran = residua("train", "--resume", trained, "--folds", "3")
    assert ran.code == 2 and "is a single training: leave --folds out to go on with it" in ran.line
    assert {p: p.stat().st_mtime_ns for p in trained.rglob("*")} == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--folds", "11"), "--folds 11: the class bright has 10 pictures, so 10 is the most"),
        (("--folds", "5", "--groups", r"(bright/[0-4]|dark)"), "the class dark has 1 group, so it cannot be divided"),
        (("--groups", r"\.(png)"), "all pictures are one group"),
    ],
)
def test_more_folds_than_pictures_or_groups_of_a_class_are_refused_before_anything_is_written(
    residua, photos, tmp_path, words, says
):
    ran = residua("train", photos, *SMALL, *words, "--out", tmp_path / "cv")
    assert ran.code in (2, 3) and says in ran.line
    assert not (tmp_path / "cv").exists()


def test_a_tracker_that_is_not_installed_says_what_to_install(residua, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    for words in ((), ("--folds", "2")):
        ran = residua("train", *SMALL, *words, "--track", "mlflow", "--out", tmp_path / "run")
        assert ran.code == 2 and "--track mlflow needs mlflow, which is not installed" in ran.line
        assert "pip install 'residua[mlflow]'" in ran.line and not (tmp_path / "run").exists()
