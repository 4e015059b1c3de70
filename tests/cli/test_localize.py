"""Laws of ``residua localize``: what does not fit is one line, and every answer is written."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from cli.conftest import Residua
from localize.conftest import make
from residua.cli.main import run

SMALL = (
    "--arch", "cifar_resnet20:1-1-1", "--epochs", "2", "--batch-size", "8", "--threads", "1", "--precision", "fp32",
)  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder: what they write by default lands there."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares, discs and bars, one a picture."""
    return make(tmp_path_factory.mktemp("data") / "things")


@pytest.fixture(scope="module")
def localizer(things: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small training."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run(["localize", "train", str(things), *SMALL, "--out", str(folder)]) == 0
    return folder


def test_training_says_how_it_ended_and_what_to_do_next(residua: Residua, things: Path):
    ran = residua("localize", "train", things, *SMALL)
    assert ran.code == 0
    where = "runs/things-cifar_resnet20-1-1-1-places-1"
    for words in ("with the mean box", "class known", "n03", f"residua localize predict {where}", "report.html"):
        assert words in ran.out, words
    for words in ("image_size: 48 px, square", "anchors: ", "validation loc error"):
        assert words in ran.err, words


def test_json_is_one_document_and_eval_says_the_same(residua: Residua, things: Path, localizer: Path):
    told = json.loads((localizer / "evaluation.json").read_text())
    ran = residua("localize", "eval", localizer, things, "--json")
    assert ran.code == 0 and {k: ran.json[k] for k in told} == told
    assert {"top5_localization_error", "given_localization_error", "mean_box_given_error"} <= told.keys()
    every = residua("localize", "eval", localizer / "model.safetensors", things, "--split", "all")
    assert every.code == 0 and "36 pictures" in every.out and "with the mean box" in every.out


def test_predict_draws_and_writes_tables(residua: Residua, things: Path, localizer: Path, tmp_path: Path):
    (tmp_path / "bad.png").write_bytes(b"")
    ran = residua("localize", "predict", localizer, things / "val" / "images", tmp_path / "bad.png", "--top", "2")
    assert ran.code == 3 and "1 of 13 pictures could not be read" in ran.err and "bad.png: an empty file" in ran.err
    out = Path("localizations/run-1")
    assert len(list(out.glob("*.jpg"))) == 12
    with Image.open(out / "val_0_0.jpg") as drawn:
        assert drawn.size == (336, 336)  # seven times: lines and names need room
    coco = json.loads((out / "localizations.json").read_text())
    rows = list(csv.DictReader((out / "localizations.csv").read_text().splitlines()))
    assert len(rows) == len(coco["annotations"]) == 24 and len(coco["images"]) == 12
    assert all(0 <= float(r["overlap"]) <= 1 and 0 <= float(r["left"]) <= float(r["right"]) <= 48 for r in rows)
    quiet = residua("localize", "predict", localizer, things / "val" / "images" / "val_0_0.png", "--json", "--no-draw")
    (one,) = quiet.json["pictures"]
    assert quiet.code == 0 and one["width"] == 48 and len(one["localizations"]) == 3


def test_a_report_can_be_drawn_again(residua: Residua, localizer: Path):
    (localizer / "report.html").unlink()
    ran = residua("report", localizer)
    page, card = (localizer / "report.html").read_text(), (localizer / "model_card.md").read_text()
    assert ran.code == 0 and "names and places" in page and "data:image/webp" in page and "with the mean box" in page
    assert "Says which of 3 classes a picture shows, and where: n01, n02, n03" in card and "## Known limits" in card


def test_a_check_of_such_pictures_proposes_it(residua: Residua, things: Path):
    ran = residua("check", things, "--boxes")
    assert ran.code == 0 and "residua localize train" in ran.out
    assert "residua localize train" in next(Path("checks").rglob("data_check.html")).read_text()


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("localize", "train"), 2, "missing argument 'DATA'"),
        (("localize", "train", "nowhere"), 3, "no such folder or file"),
        (("localize", "train", "{photos}"), 3, "no annotations of boxes found"),
        (("localize", "train", "{things}", "--stem", "9x9"), 2, "--stem"),
        (("localize", "train", "{things}", "--recipe", "quik"), 2, "did you mean quick"),
        (("localize", "train", "{things}", "--augment", "flop"), 2, "did you mean flip"),
        (("localize", "train", "{things}", "--freeze", "stem"), 2, "random weights have learned nothing"),
        (("localize", "train", "{things}", "--refine"), 2, "name one by --weights"),
        (("localize", "train", "{things}", "--out", "{localizer}"), 3, "exists and is never overwritten"),
        (("localize", "train", "--resume", "{localizer}"), 2, "is finished"),
        (("localize", "eval", "nowhere", "{things}"), 3, "no model file"),
        (("localize", "predict", "{trained}", "{photos}"), 3, "is no localizer: `residua predict` takes it"),
        (("predict", "{localizer}", "{photos}"), 3, "is a model for localization"),
        (("detect", "predict", "{localizer}", "{photos}"), 3, "`residua localize predict` takes it"),
        (("train", "--resume", "{localizer}"), 3, "residua localize train --resume"),
        (("detect", "train", "--resume", "{localizer}"), 3, "residua localize train --resume"),
        (("report", "{localizer}", "{trained}"), 3, "only runs of classifiers are compared"),
    ],
)
def test_what_does_not_fit_is_one_line(
    residua: Residua, words: tuple[str, ...], code: int, line: str, things: Path, localizer: Path, trained: Path,
    photos: Path,
):  # fmt: skip
    places = {"things": things, "localizer": localizer, "trained": trained, "photos": photos}
    ran = residua(*(w.format(**places) for w in words))
    assert ran.code == code and line in ran.line and not ran.out
