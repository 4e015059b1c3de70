"""Laws of names from users: they leave no folder and steer no table, page, document or terminal."""

import csv
import html.parser
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from residua.files import FORMULA, HARMFUL

CLASSES = (
    '=HYPERLINK("x")<script>alert(1)</script>|**b**\x1b]0;x\x07../../x',
    "$\\frac$ @SUM\u202eevil\u2066 [red]b[/red] `c` #\x9b31m {{ 7*7 }} &lt;",
    "-1+cmd|' /C calc'!A0\r\n# head\n\n[a](javascript:alert(1))",
)
FILE = "=1+1<img src=x onerror=alert(1)>\x1b[31m\u202e$x^$|`a`\n-{}.png"
MARKS = ("<script>alert", "<img src=x", "onerror=alert(1)>\x1b", "](javascript")


def photo(path: Path, shade: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(shade, shade + 60, (12, 12, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A table of three classes, eight pictures each to train on and three to test."""
    root = tmp_path_factory.mktemp("inside") / "here"
    rows = [("path", "label", "split")]
    for k, label in enumerate(CLASSES):
        for i in range(11):
            name = f"{k}/{FILE.format(i)}"
            photo(root / name, 30 + 70 * k, 100 * k + i)
            rows.append((name, label, "train" if i < 8 else "test"))
    with open(root / "table.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return root / "table.csv"


@pytest.fixture(scope="module")
def ran(data):
    """Every command, once, in the folder of the table; what each printed."""
    import contextlib
    import io
    import os

    from residua.cli.main import run

    printed = {}
    with contextlib.chdir(data.parent):
        test = sorted(str(p) for p in Path("1").glob("*-9.png"))
        for name, words in {
            "check": ["check", data.name, "--out", "checked"],
            "train": [
                "train",
                data.name,
                "--arch",
                "cifar_resnet8",
                "--epochs",
                "1",
                "--batch-size",
                "8",
                "--out",
                "run",
            ],
            "eval": ["eval", "run", data.name, "--out", "eval.csv"],
            "eval-json": ["eval", "run", data.name, "--json"],
            "predict": ["predict", "run", *test, "--top", "3"],
            "predict-json": ["predict", "run", *test, "--json"],
            "predict-csv": ["predict", "run", *test, "--out", "predicted.csv"],
            "predict-to-json": ["predict", "run", *test, "--out", "predicted.json"],
            "predict-parquet": ["predict", "run", *test, "--out", "predicted.parquet"],
            "explain": ["explain", "run", *test, "--out", "explained"],
            "describe": ["describe", "run"],
            "report": ["report", "run"],
        }.items():
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run(words)
            printed[name] = (code, out.getvalue(), err.getvalue())
        assert os.path.isdir("run")
    return printed


def written(data: Path, pattern: str) -> list[Path]:
    return [p for p in sorted(data.parent.rglob(pattern)) if p != data and p.is_file()]


def test_every_command_takes_such_names(ran):
    assert {name: (code, err) for name, (code, _, err) in ran.items() if code} == {}


def test_no_output_steers_the_terminal(ran):
    for name, (_, out, err) in ran.items():
        odd = {c for c in out + err if not c.isprintable() and c not in "\n\r\t"}
        assert not odd, (name, odd)
    rows = ran["predict"][1].strip().splitlines()
    assert len({row.count("\t") for row in rows}) == 1  # tabs part columns there; those of names are spelled out


def test_what_is_printed_as_json_gives_the_names_back(ran):
    for name in ("eval-json", "predict-json"):
        assert CLASSES[0] in json.dumps(json.loads(ran[name][1]), ensure_ascii=False).replace('\\"', '"').replace(
            "\\u001b", "\x1b"
        ).replace("\\u0007", "\x07"), name


def test_nothing_is_written_outside(ran, data):
    assert [p.name for p in data.parent.parent.iterdir()] == ["here"]
    known = {"0", "1", "2", "table.csv", "checked", "run", "eval.csv", "explained"}
    assert {p.name for p in data.parent.iterdir()} == known | {f"predicted.{e}" for e in ("csv", "json", "parquet")}


def test_tables_have_their_columns_and_no_formula(ran, data):
    tables = written(data, "*.csv")
    assert len(tables) >= 6
    for path in tables:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert len({len(row) for row in rows}) == 1, path
        for cell in (c for row in rows for c in row if c.startswith(FORMULA)):
            float(cell)


def test_documents_are_json_without_harmful_signs(ran, data):
    documents = [*written(data, "*.json"), *written(data, "*.jsonl")]
    assert len(documents) >= 6
    for path in documents:
        text = path.read_text(encoding="utf-8")
        for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
            json.loads(part)
        assert not HARMFUL.search(text), path


class Tags(html.parser.HTMLParser):
    """What a browser would see as tags, and attributes that are code."""

    def __init__(self):
        super().__init__()
        self.scripts, self.code = 0, []

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.code += [k for k, v in attrs if k.startswith("on") or (v or "").startswith("javascript:")]


def test_pages_hold_names_as_text(ran, data):
    pages = written(data, "*.html")
    assert len(pages) >= 2
    for path in pages:
        text = path.read_text(encoding="utf-8")
        tags = Tags()
        tags.feed(text)
        assert not tags.code and not [m for m in MARKS[:2] if m in text], path
        assert text.count("alert(1)") and tags.scripts <= text.count("<script"), path
        assert not HARMFUL.search(text), (path, HARMFUL.search(text))
        assert "\x1b" not in text and "\x07" not in text, path


def test_the_card_holds_names_as_text(ran, data):
    (card,) = written(data, "*.md")
    text = card.read_text(encoding="utf-8")
    assert "alert" in text and not HARMFUL.search(text)
    assert not {c for c in text if not c.isprintable()} - {"\n"}
    assert not re.search(r"(?<!\\)[<|*`$]", text.replace("&", ""))
    assert not re.search(r"^# head", text, re.M) and not re.search(r"(?<!\\)\]\(javascript", text)


def test_pictures_are_whole(ran, data):
    for path in written(data, "*.svg"):
        ElementTree.parse(path)
    for path in written(data / ".." / "run", "*.png"):
        Image.open(path).load()
