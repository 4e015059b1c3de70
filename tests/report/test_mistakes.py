"""Laws of the pictures behind the confusion matrix: a cell shows its own images and no others, by mouse and by keys."""

import html
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from residua.evaluate import Evaluation, evaluation
from residua.job.mistakes import COLUMNS, MISTAKES, RIGHT, SHEET, mistakes
from residua.report import page
from residua.report.confusion import matrix_of
from residua.report.files import read
from residua.report.mistakes import mistakes_of
from residua.training.run import Run

CHROMIUM = shutil.which("chromium")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=3000")
CLASSES = ("ant", "<script>alert(1)</script>", "new\nline", "bee")


def answered(n: int = 150, classes: tuple[str, ...] = CLASSES, wrong: float = 0.25) -> Evaluation:
    """An evaluation with about a quarter of it wrong, each image with a loss of its own."""
    rng, k = np.random.default_rng(3), len(classes)
    labels = rng.integers(0, k, n)
    said = np.where(rng.random(n) < wrong, (labels + rng.integers(1, k, n)) % k, labels)
    top5 = np.stack([(said + i) % k for i in range(min(5, k))], 1)
    probability = np.repeat(rng.uniform(0.4, 1, (n, 1)), top5.shape[1], 1) / (1 + np.arange(top5.shape[1]))
    losses = rng.permutation(n) / 10 + 0.1
    squares, raw = np.ones(n), np.tile(np.array([[0.9, 0.5, 0.8]]), (n, 1))
    return evaluation(np.arange(n), labels, top5, probability, losses, classes, squares=squares, raw=raw)


def colour(i: int) -> tuple[int, int, int]:
    """A colour that no other image has."""
    return (40 + 5 * (i % 40), 40 + 5 * (i // 40 % 40), 40 + 40 * (i // 1600))


def written(run: Path, found: Evaluation) -> dict[str, Any]:
    """mistakes.json of a run folder whose image i is of `colour(i)` all over and is named ``folder/i.png``."""
    truth = {
        "classes": list(found.classes), "confusion": found.confusion.tolist(), "n": found.n, "wrong": found.wrong,
        "top1_error": found.top1_error,
    }  # fmt: skip
    (run / "evaluation.json").write_text(json.dumps(truth))
    with Run.open(run) as opened:
        names = [f"folder/{i}.png" for i in range(found.n)]
        mistakes(opened, found, names, picture_of=lambda i: Image.new("RGB", (9, 7), colour(i)))
    made: dict[str, Any] = json.loads((run / "mistakes.json").read_text(encoding="utf-8"))
    return made


def test_every_item_lies_in_its_place_on_the_sheet(make_run) -> None:  # type: ignore[no-untyped-def]
    run, found = make_run(), answered()
    made = written(run, found)
    with Image.open(run / SHEET) as sheet:
        pixels = np.array(sheet.convert("RGBA"))
    px = made["cell_px"]
    assert px == 9 and made["columns"] == COLUMNS and made["wrong"] == found.wrong
    for place, item in enumerate(made["items"]):
        i = int(item["name"].removeprefix("folder/").removesuffix(".png"))
        top, left = place // COLUMNS * px, place % COLUMNS * px
        assert tuple(pixels[top + 4, left + 4]) == (*colour(i), 255)
        assert pixels[top, left + 4, 3] == 0, "around a picture that is not square the ground is clear"
        assert (item["truth"], item["prediction"]) == (CLASSES[found.labels[i]], CLASSES[found.predictions[i]])


def test_all_mistakes_are_there_while_they_fit_and_each_class_has_its_least_sure_right_ones(make_run) -> None:  # type: ignore[no-untyped-def]
    found = answered()
    items = written(make_run(), found)["items"]
    cells = Counter((i["truth"], i["prediction"]) for i in items)
    assert sum(n for (a, b), n in cells.items() if a != b) == found.wrong
    assert {n for (a, b), n in cells.items() if a == b} == {RIGHT}
    right = np.flatnonzero((found.labels == 0) & (found.predictions == 0))
    hardest = right[np.argsort(-found.losses[right])][:RIGHT]
    shown = {i["name"] for i in items if i["truth"] == i["prediction"] == CLASSES[0]}
    assert shown == {f"folder/{i}.png" for i in hardest}


def test_of_too_many_mistakes_every_cell_keeps_its_worst(make_run) -> None:  # type: ignore[no-untyped-def]
    found = answered(1500, wrong=0.6)
    items = [i for i in written(make_run(), found)["items"] if i["truth"] != i["prediction"]]
    cells = Counter((i["truth"], i["prediction"]) for i in items)
    assert len(items) == MISTAKES and len(cells) == 12 and max(cells.values()) - min(cells.values()) <= 1
    for (a, b), n in cells.items():
        rows = np.flatnonzero((found.labels == CLASSES.index(a)) & (found.predictions == CLASSES.index(b)))
        worst = {f"folder/{i}.png" for i in rows[np.argsort(-found.losses[rows])][:n]}
        assert {i["name"] for i in items if (i["truth"], i["prediction"]) == (a, b)} == worst


def test_without_a_mistake_or_a_picture_that_fits_there_is_nothing_to_choose(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run()
    made = written(run, answered())
    whole = read(run)
    assert mistakes_of(whole, matrix_of(whole)) is not None
    for damage in ({"cell_px": "wide"}, {"columns": 0}, {"items": 3}, {"sheet": "../../etc/passwd"}, {"sheet": "gone"}):
        (run / "mistakes.json").write_text(json.dumps(made | damage))
        files = read(run)
        assert mistakes_of(files, matrix_of(files)) is None
        assert 'id="cell"' not in page(run).read_text(encoding="utf-8")
    (run / "mistakes.json").write_text(json.dumps(made | {"items": [None, {"truth": "of another data set"}]}))
    assert 'id="cell"' not in page(run).read_text(encoding="utf-8")


#: Appended to a copy of the page: chooses cells and mistakes as a hand would; what is then seen goes into the title.
PROBE = """<script>addEventListener("load", async () => {
  await document.getElementById("mistakes-sheet").decode();
  const dialog = document.getElementById("cell");
  const seen = () => [...dialog.querySelectorAll("li")].map((li) => {
    const c = li.querySelector("canvas");
    const [r, g, b] = c.getContext("2d").getImageData(c.width >> 1, c.height >> 1, 1, 1).data;
    return [li.querySelector("figcaption").title, [r, g, b]];
  });
  const key = (place, name) => place.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
  const cells = {};
  for (const td of document.querySelectorAll("td[data-cell]")) {
    td.querySelector("button").click();
    cells[td.dataset.cell] = [dialog.open, document.getElementById("cell-title").textContent, seen()];
    dialog.querySelector(".close").click();
  }
  const listed = document.querySelector(".pairs [data-cell] button");
  listed.click();
  const first = document.getElementById("cell-title").textContent;
  key(dialog, "ArrowRight");
  const second = document.getElementById("cell-title").textContent;
  key(dialog, "ArrowLeft");
  const again = document.getElementById("cell-title").textContent;
  const inside = dialog.contains(document.activeElement);
  dialog.close();
  const buttons = [...document.querySelectorAll("td[data-cell] button")];
  const stops = buttons.filter((b) => b.tabIndex === 0).length;
  const walked = [];
  buttons[0].focus();
  for (const name of ["ArrowRight", "ArrowDown", "ArrowLeft"]) {
    key(document.activeElement, name);
    walked.push(document.activeElement.parentElement.dataset.cell);
  }
  const named = buttons.every((b) => b.getAttribute("aria-label") && b.getAttribute("aria-haspopup") === "dialog");
  document.title = JSON.stringify({ cells, first, second, again, inside, stops, walked, named, open: dialog.open });
});</script>"""


@pytest.mark.browser
def test_a_cell_that_is_chosen_shows_its_own_images_and_nothing_else(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert CHROMIUM
    run, found = make_run(), answered()
    written(run, found)
    source = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", page(run).read_text(encoding="utf-8"))
    probe = tmp_path / "probe.html"
    probe.write_text(source.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", probe.as_uri()],
        capture_output=True, text=True, timeout=120, check=True, env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title
    seen = json.loads(html.unescape(title[1]))
    shown = {tuple(map(int, k.split("-"))): v for k, v in seen["cells"].items()}
    assert shown.keys() == {(int(i), int(j)) for i, j in np.argwhere(found.confusion)}
    for (i, j), (opened, words, pictures) in shown.items():
        rows = np.flatnonzero((found.labels == i) & (found.predictions == j))
        hardest = rows[np.argsort(-found.losses[rows])][: RIGHT if i == j else None]
        assert opened and words.endswith("recognised" if i == j else CLASSES[j].replace("\n", "\\n"))
        assert pictures == [[f"folder/{r}.png", list(colour(int(r)))] for r in hardest]
    assert seen["first"] == seen["again"] != seen["second"] and seen["inside"] and not seen["open"]
    assert seen["stops"] == 1 and seen["named"] and seen["walked"] == ["0-1", "1-1", "1-0"]
