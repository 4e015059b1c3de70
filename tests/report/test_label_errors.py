"""The page of likely label errors: one file, nothing of a name runs, bounded."""

import csv
import html
import json
import re
import shutil

import pytest
from PIL import Image

from report.test_browser import opened
from residua.report import label_errors
from residua.report.label_errors import MOST

NASTY = "a/<script>alert(1)</script>\n\"'=.png"


def rows(n=3):
    """Predictions of which n are surely wrong."""
    good = [
        {"path": f"g{i}", "truth": "cat", "loss": "0.5", "class_1": "cat", "probability_1": "0.6"} for i in range(n)
    ]
    good += [
        {"path": f"h{i}", "truth": "dog", "loss": "0.5", "class_1": "dog", "probability_1": "0.6"} for i in range(n)
    ]
    bad = {"truth": "cat", "loss": "4", "class_1": "dog", "probability_1": "0.97"}
    return good + [{"path": NASTY if i == 0 else f"=b{i}", **bad} for i in range(n)]


def test_the_page_and_the_table_hold_every_suspect(tmp_path):
    asked = []

    def picture_of(path):
        asked.append(path)
        return Image.new("RGB", (400, 300), "teal") if path == NASTY else None

    found = label_errors(tmp_path, rows(), picture_of)
    text = (tmp_path / "label_errors.html").read_text()
    assert len(found) == len(asked) == text.count('class="suspect"') == 3
    assert text.count("data:image/webp") == 1 and "<script>alert" not in text
    assert '="http' not in text
    with open(tmp_path / "label_errors.csv", newline="") as f:
        table = list(csv.DictReader(f))
    assert {r["path"] for r in table} == {NASTY, "'=b1", "'=b2"} and {r["likely"] for r in table} == {"dog"}


def test_the_page_is_bounded_and_the_table_is_not(tmp_path):
    found = label_errors(tmp_path, rows(MOST + 50), lambda path: None)
    text = (tmp_path / "label_errors.html").read_text()
    assert len(found) == MOST + 50 and text.count('class="suspect"') == MOST
    assert len((tmp_path / "label_errors.csv").read_text().splitlines()) > MOST + 50


def test_without_suspects_the_page_says_so(tmp_path):
    assert label_errors(tmp_path, rows()[:3], lambda path: None) == []
    assert "looks wrong to nets" in (tmp_path / "label_errors.html").read_text()


PROBE = """<script>addEventListener("load", () => {
  const cards = [...document.querySelectorAll(".suspect")];
  cards[0].focus();
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "w", bubbles: true }));
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "r", bubbles: true }));
  cards[2].querySelector("input").click();
  cards[2].querySelectorAll("input")[1].click();
  let table = "";
  window.Blob = class { constructor(parts) { table = parts.join(""); } };
  URL.createObjectURL = () => "#";
  HTMLAnchorElement.prototype.click = () => {};
  document.getElementById("save").click();
  document.title = JSON.stringify([cards.map((c) => c.className), document.getElementById("progress").textContent,
    table, document.documentElement.scrollWidth - innerWidth]);
});</script>"""


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_keys_and_boxes_decide_and_decisions_can_be_downloaded(tmp_path):
    label_errors(tmp_path, rows(), lambda path: Image.new("L", (8, 8)))
    page = tmp_path / "label_errors.html"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    page.write_text(text.replace("</body>", PROBE + "</body>"))
    dom, _ = opened(page, tmp_path, 430)
    title = html.unescape(re.search(r"<title>(.*?)</title>", dom, re.S)[1])
    kinds, progress, table, wider = json.loads(title)
    assert kinds == ["suspect wrong", "suspect right", "suspect right"] and progress == "3 of 3 decided"
    decided = list(csv.DictReader(table.splitlines(keepends=True)))
    assert [r["decision"] for r in decided] == ["wrong", "right", "right"]
    assert {r["path"] for r in decided} == {NASTY, "'=b1", "'=b2"} and wider <= 0
