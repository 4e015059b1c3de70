"""Laws of the pictures: drawn from the run folder alone, for any number of classes, without a trace in matplotlib."""

import json
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from residua.report import confusion, curves, draw
from residua.report.confusion import Matrix, matrix_of, most_confused
from residua.report.files import read
from residua.report.pictures import KEEP_BYTES, picture
from residua.report.style import RIGHT, TRAINING, VALIDATION, WRONG


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def read_pixels(path: Path | None) -> np.ndarray:
    """uint8 (H, W, 3)."""
    assert path is not None
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


@pytest.mark.parametrize("epochs", [1, 2, 60])
def test_curves_are_drawn_and_leave_matplotlib_as_it_was(make_run, tmp_path: Path, epochs: int) -> None:  # type: ignore[no-untyped-def]
    before = dict(matplotlib.rcParams)
    out = curves(make_run(epochs=epochs), tmp_path / "c.png")
    assert out == tmp_path / "c.png" and read_pixels(out).shape == (960, 1200, 3)
    assert dict(matplotlib.rcParams) == before


def test_there_are_no_curves_without_metrics_and_no_confusion_without_a_test(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run = make_run(without=("metrics.jsonl", "evaluation.json"))
    assert curves(run, tmp_path / "c.png") is None and confusion(run, tmp_path / "m.png") is None
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("k", [2, 100, 200])
def test_confusion_is_drawn_for_any_number_of_classes(make_run, tmp_path: Path, k: int) -> None:  # type: ignore[no-untyped-def]
    run = make_run(classes=tuple(f"a class of number {i}" for i in range(k)))
    pixels = read_pixels(confusion(run, tmp_path / "m.png"))
    assert min(pixels.shape[:2]) > 400 and max(pixels.shape[:2]) < 3000
    red, blue = pixels[..., 0], pixels[..., 2]
    assert ((red < 60) & (blue > 150)).any(), "the diagonal is blue"
    assert ((red > 200) & (blue < 150)).any(), "mistakes are vermilion"


def test_names_that_look_like_formulas_are_drawn_as_they_are(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert confusion(make_run(classes=("$x^", "$\\frac$", "a_b")), tmp_path / "m.png")


def test_the_most_frequent_mistakes_come_first_and_none_is_a_hit() -> None:
    matrix = Matrix(("a", "b", "c"), np.array([[9, 1, 2], [0, 5, 2], [1, 0, 0]]))
    pairs = [(p.truth, p.said, p.wrong, p.n) for p in most_confused(matrix)]
    assert pairs == [("b", "c", 2, 7), ("a", "c", 2, 12), ("c", "a", 1, 1), ("a", "b", 1, 12)]
    assert len(most_confused(matrix, most=1)) == 1
    assert matrix.shares.sum(1) == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    "broken",
    [{}, {"confusion": [[1]], "classes": ["a", "b"]}, {"confusion": [[-1]], "classes": ["a"]},
     {"confusion": "x", "classes": ["a"]}, {"confusion": [], "classes": []},
     {"confusion": [[1, 2], [3]], "classes": ["a", "b"]}],
)  # fmt: skip
def test_a_matrix_that_is_none_is_not_drawn(make_run, broken: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    run = make_run()
    (run / "evaluation.json").write_text(json.dumps(broken))
    assert matrix_of(read(run)) is None


def test_everything_is_drawn_at_once_and_the_page_is_named(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run()
    assert draw(run) == run / "report.html"
    assert all((run / name).stat().st_size > 1000 for name in ("curves.png", "confusion.png", "report.html"))
    assert not list(run.glob(".*"))


def test_lines_differ_in_lightness_and_text_on_paper_is_legible() -> None:
    light, dark = sorted((luminance(VALIDATION), luminance(TRAINING)))
    assert dark / light > 1.15, "also without colour the lines differ (and in width)"
    assert all((1.05) / (luminance(c) + 0.05) >= 3 for c in (VALIDATION, TRAINING)), "3:1 for graphics (WCAG 1.4.11)"
    for scale in (RIGHT, WRONG):
        steps = [luminance(matplotlib.colors.to_hex(scale(v))) for v in np.linspace(0, 1, 9)]
        assert steps == sorted(steps, reverse=True), "a colour scale that only gets darker"


def test_a_large_picture_is_made_smaller_and_a_small_one_stays(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 900, 4), np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    Image.fromarray(noise[:9, :8]).save(tmp_path / "small.png")
    large, small = picture(tmp_path, "large.png"), picture(tmp_path, "small.png")
    assert large is not None and large.uri.startswith("data:image/webp;base64,") and not large.tiny
    assert len(large.uri) < (tmp_path / "large.png").stat().st_size and (large.width, large.height) == (900, 1500)
    assert small is not None and small.uri.startswith("data:image/png;base64,") and small.tiny
    assert (tmp_path / "large.png").stat().st_size > KEEP_BYTES


def test_what_is_no_picture_of_the_run_is_left_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "outside.png")
    (run / "text.png").write_text("no picture")
    (run / "link.png").symlink_to(tmp_path / "outside.png")
    for name in ("../outside.png", "link.png", "text.png", "gone.png", ""):
        assert picture(run, name) is None


def test_reports_import_no_torch_and_no_pyplot() -> None:
    code = "import sys, residua.report; print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
