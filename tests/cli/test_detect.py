"""Laws of ``residua detect`` and of checking boxes: what does not fit is one line, nothing of the user's changes."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from boxes.shapes import make
from cli.conftest import Residua
from residua.cli.main import run

SMALL = ("--arch", "cifar_resnet20", "--epochs", "2", "--batch-size", "4", "--threads", "1", "--precision", "fp32")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder: what they write by default lands there."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares and discs."""
    return make(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def detector(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small training."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run(["detect", "train", str(shapes), *SMALL, "--out", str(folder)]) == 0
    return folder


def test_training_says_how_it_ended_and_what_to_do_next(residua: Residua, shapes: Path):
    ran = residua("detect", "train", shapes, *SMALL, "--form", "c4")
    assert ran.code == 0
    for words in ("AP50", "disc", "square", "residua detect predict runs/shapes-cifar_resnet20-c4-1", "report.html"):
        assert words in ran.out, words
    for words in (
        "norm: batch",
        "image_size: 64 px",
        "validation AP50",
        "12 to train on, 4 to choose by, 4 to test by",
    ):
        assert words in ran.err, words


def test_json_is_one_document(residua: Residua, shapes: Path, detector: Path):
    ran = residua("detect", "train", shapes, *SMALL, "--json", "--out", "run")
    assert ran.code == 0 and set(ran.json) == {"run", "test", "seconds", "model", "report"}
    assert ran.json["test"] == json.loads((detector / "evaluation.json").read_text())


def test_eval_says_what_training_said(residua: Residua, shapes: Path, detector: Path):
    ran = residua("detect", "eval", detector, shapes, "--json")
    told = json.loads((detector / "evaluation.json").read_text())
    assert ran.code == 0 and {k: ran.json[k] for k in told} == told
    every = residua("detect", "eval", detector / "model.safetensors", shapes, "--split", "all")
    assert every.code == 0 and "20 pictures, 40 boxes" in every.out


def test_predict_draws_and_writes_tables(residua: Residua, shapes: Path, detector: Path, tmp_path: Path):
    (tmp_path / "bad.png").write_bytes(b"")
    ran = residua("detect", "predict", detector, shapes / "JPEGImages", tmp_path / "bad.png", "--threshold", "0.1")
    assert ran.code == 3 and "1 of 21 pictures could not be read" in ran.err and "bad.png: an empty file" in ran.err
    out = Path("detections/run-1")
    assert len(list(out.glob("*.jpg"))) == 20
    with Image.open(out / "00.jpg") as drawn:
        assert drawn.size == (384, 256)  # four times: lines and names need room
    coco = json.loads((out / "detections.json").read_text())
    rows = list(csv.DictReader((out / "detections.csv").read_text().splitlines()))
    assert len(rows) == len(coco["annotations"]) > 0 and len(coco["images"]) == 20
    assert {c["name"] for c in coco["categories"]} == {"disc", "square"}
    quiet = residua(
        "detect", "predict", detector, shapes / "JPEGImages" / "00.png", "--no-draw", "--json", "--out", "o"
    )
    assert quiet.code == 0 and not list(Path("o").glob("*.jpg"))
    assert len(quiet.json["pictures"]) == 1 and quiet.json["pictures"][0]["width"] == 96


def test_an_interrupt_leaves_tables_of_what_was_found(residua: Residua, shapes: Path, detector: Path, monkeypatch):
    from residua.cli.boxes_found import Work

    draw = Work._drawn

    def third(work, one):
        if len(work.answers) == 2:
            raise KeyboardInterrupt
        return draw(work, one)

    monkeypatch.setattr(Work, "_drawn", third)
    ran = residua("detect", "predict", detector, shapes / "JPEGImages", "--out", "found")
    assert ran.code == 130 and ran.line == "interrupted"
    assert len(json.loads(Path("found/detections.json").read_text())["images"]) == 2


def test_a_report_can_be_drawn_again(residua: Residua, detector: Path):
    (detector / "report.html").unlink()
    ran = residua("report", detector)
    page = (detector / "report.html").read_text()
    card = (detector / "model_card.md").read_text()
    assert "Says where on a picture there is something of 2 classes: disc, square" in card and "## Known limits" in card
    assert ran.code == 0 and "finds in" in page and "data:image/webp" in page and "Decided for you" in page


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("detect", "train"), 2, "missing argument 'DATA'"),
        (("detect", "train", "nowhere"), 3, "no such folder or file"),
        (("detect", "train", "{photos}"), 3, "no annotations of boxes found"),
        (("detect", "train", "{shapes}", "--form", "yolo"), 2, "--form"),
        (("detect", "train", "{shapes}", "--recipe", "quik"), 2, "did you mean quick"),
        (("detect", "train", "{shapes}", "--augment", "flop"), 2, "did you mean flip"),
        (("detect", "train", "{shapes}", "--freeze", "stem"), 2, "random weights have learned nothing"),
        (("detect", "train", "{shapes}", "--out", "{detector}"), 3, "exists and is never overwritten"),
        (("detect", "train", "--resume", "{detector}"), 2, "is finished"),
        (("detect", "train", "--resume", "nowhere"), 3, "does not exist: give the folder of a run"),
        (("detect", "eval", "nowhere", "{shapes}"), 3, "no model file"),
        (("detect", "eval", "{detector}", "{photos}"), 3, "no annotations of boxes found"),
        (("detect", "predict", "{trained}", "{photos}"), 3, "is no detector"),
        (("predict", "{detector}", "{photos}"), 3, "is a model for detection"),
        (("eval", "{detector}", "digits"), 3, "is a model for detection"),
        (("train", "--resume", "{detector}"), 3, "residua detect train --resume"),
        (("report", "{detector}", "{trained}"), 3, "is a run of detection: only runs of classifiers"),
    ],
)
def test_what_does_not_fit_is_one_line(
    residua: Residua,
    words: tuple[str, ...],
    code: int,
    line: str,
    shapes: Path,
    detector: Path,
    trained: Path,
    photos: Path,
):
    places = {"shapes": shapes, "detector": detector, "trained": trained, "photos": photos}
    ran = residua(*(w.format(**places) for w in words))
    assert ran.code == code and line in ran.line and not ran.out


def test_a_check_of_boxes_names_them_and_draws_a_page(residua: Residua, tmp_path: Path):
    root = make(tmp_path / "data" / "cells")
    mark = root / "Annotations" / "03.xml"
    mark.write_text(mark.read_text().replace("<xmax>", "<xmax>0", 1).replace("<xmin>", "<xmin>99", 1))
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    ran = residua("check", root)
    assert ran.code == 0 and "1 box is without area" in ran.out and "JPEGImages/03.png  (box 1, " in ran.out
    assert "residua detect train" in ran.out and {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    page = Path("checks/cells-1/data_check.html").read_text()
    assert "20 images with 39 boxes" in page and page.count("data:image/webp") >= 7


def test_a_picture_in_two_splits_must_be_mended(residua: Residua, tmp_path: Path):
    root = make(tmp_path / "data" / "cells")
    (root / "JPEGImages" / "18.png").write_bytes((root / "JPEGImages" / "02.png").read_bytes())
    ran = residua("check", root, "--json", "--out", "found")
    assert ran.code == 3 and "in more than one split" in ran.line
    assert ran.json["findings"][0]["kind"] == "leak" and ran.json["findings"][0]["severity"] == "must"
