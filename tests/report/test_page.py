"""Laws of the page: it stands alone, says what is there and what is not, and no name breaks out of it."""

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residua.errors import DataError
from residua.report import page
from residua.report.facts import commands, shown_path

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The page as a browser would take it apart."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)


@pytest.fixture
def seen(make_run) -> Page:  # type: ignore[no-untyped-def]
    return Page(page(make_run()))


def test_the_page_stands_alone(seen: Page) -> None:
    for _, attrs in seen.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attrs.get(name, "#").startswith(("#", "data:image/"))
    assert "@import" not in seen.source and "url(" not in seen.source
    assert set(re.findall(r"https?://[^\s\"'<]+", seen.source)) <= {"http://www.w3.org/2000/svg"}
    assert not seen.all("link") and not seen.all("iframe")


def test_only_its_own_script_may_run(seen: Page) -> None:
    policy = next(m["content"] for m in seen.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    (script,) = re.findall(r"<script>(.*?)</script>", seen.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert not any(name.startswith("on") for _, attrs in seen.tags for name in attrs)


def test_the_page_is_whole_and_can_be_read_by_anyone(seen: Page) -> None:
    assert seen.open == []
    assert seen.all("html")[0]["lang"] == "en" and len(seen.all("h1")) == 1
    assert all(len(seen.all(tag)) == 1 for tag in ("main", "header", "footer", "nav", "title"))
    assert all(img["alt"] for img in seen.all("img")) and all(
        svg.get("aria-label") or svg.get("aria-hidden") for svg in seen.all("svg")
    )
    ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"].removeprefix("#") for a in seen.all("a")} <= set(ids)
    assert all(attrs["aria-labelledby"] in ids for _, attrs in seen.tags if "aria-labelledby" in attrs)


def test_it_says_what_was_trained_on_what_and_how_well(seen: Page) -> None:
    for words in (
        "cifar_resnet20 on digits", "of 120 images wrong", "95 % interval 5.00 % to 18.0 %", "would miss 80.0 %",
        "269,434 parameters in 20 layers", "500 images of 5 classes for 5 epochs in 1 min 35 s", "8 × 8 px, grey",
        "quick", "pad-crop:1, flip", "no GPU is there", "--precision", "1 file was left out",
        "an empty file (0 bytes) (1)",
        "one set: held out", "residua train digits", "residua.load(", "versions.torch", "was 7",
    ):  # fmt: skip
        assert words in seen.words.replace("\xa0", " "), words


def test_no_name_breaks_out_of_the_page(seen: Page) -> None:
    assert "<script>alert" not in seen.source and "<i>bad" not in seen.source and "<b>fast" not in seen.source
    assert "<script>alert(1)</script>" in seen.text and "new\\nline" in seen.text and "a/<i>bad</i>.jpg" in seen.text
    assert len(seen.all("script")) == 1


def test_the_confusion_is_a_table_up_to_thirty_classes_and_a_picture_beyond(make_run) -> None:  # type: ignore[no-untyped-def]
    for k, cells, pictures in ((30, 900, 0), (31, 0, 1)):
        run = make_run(classes=tuple(f"c{i}" for i in range(k)), name=f"r{k}")
        Image.new("L", (9, 9)).save(run / "confusion.png")
        seen = Page(page(run))
        table = re.findall(r'<table class="confusion.*?</table>', seen.source, re.DOTALL)
        assert sum(part.count("<td") - 1 for part in table) == cells
        assert sum("Confusion matrix" in img["alt"] for img in seen.all("img")) == pictures


def test_a_run_without_mistakes_says_so(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run(classes=("a", "b"))
    data = json.loads((run / "evaluation.json").read_text())
    data |= {"wrong": 0, "top1_error": 0.0, "interval": [0.0, 0.03], "confusion": [[60, 0], [0, 60]]}
    (run / "evaluation.json").write_text(json.dumps(data))
    assert "No test image was classified wrong." in Page(page(run)).words


def test_an_unfinished_run_gives_a_page_that_says_so_and_how_to_go_on(make_run) -> None:  # type: ignore[no-untyped-def]
    seen = Page(page(make_run(without=("evaluation.json", "gallery.json"))))
    assert "not finished" in seen.words and "residua train --resume run" in seen.words
    assert "the best of 5 so far" in seen.words and "test error" not in seen.words.replace("Test error", "")
    bare = Page(
        page(make_run(name="bare", without=("evaluation.json", "metrics.jsonl", "summary.json", "data_check.json")))
    )
    assert "No epoch has been validated yet." in bare.words


@pytest.mark.parametrize(
    "name",
    ["config.toml", "environment.json", "decisions.json", "metrics.jsonl", "evaluation.json", "data_check.json",
     "summary.json", "gallery.json", "batches/step-0.png", "gallery/worst-00.png"],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["missing", "torn", "another kind"])
def test_no_file_that_is_missing_or_torn_keeps_the_page_from_being_drawn(make_run, name: str, damage: str) -> None:  # type: ignore[no-untyped-def]
    run = make_run()
    path = run / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_text('{"a": [1, "torn' if damage == "torn" else '[["x", 1], null, 3]')
    seen = Page(page(run))
    assert seen.open == [] and "cifar_resnet20" in seen.words + "cifar_resnet20" * (name == "summary.json")
    if damage == "torn" and not name.endswith(".png"):
        assert f"Could not be read whole: {name}" in seen.words


def test_odd_values_in_files_are_said_as_unknown(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run()
    data = json.loads((run / "evaluation.json").read_text())
    data["interval"], data["per_class"][0]["recall"], data["loss"] = [None, "x"], None, None
    (run / "evaluation.json").write_text(json.dumps(data))
    (run / "summary.json").write_text(
        '{"params": "many", "arch": 3, "recipe": "quick", "view": [], "data": null, "macs": null}'
    )
    seen = Page(page(run))
    assert seen.open == [] and "95 % interval" not in seen.words and "of 120 images wrong" in seen.words


def test_the_same_folder_gives_the_same_page(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run()
    assert page(run).read_bytes() == page(run).read_bytes()


def test_the_page_of_a_long_run_with_photos_stays_below_two_megabytes(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run(epochs=700, classes=tuple(f"class {i}" for i in range(30)))
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    Image.fromarray(noise // 8 * 8).resize((900, 900)).save(run / "batches" / "step-0.png")
    assert page(run).stat().st_size < 2_000_000


def test_a_page_that_cannot_be_written_is_one_line(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run = make_run()
    (run / "report.html").mkdir()
    with pytest.raises(DataError, match="cannot write"):
        page(run)
    with pytest.raises(DataError, match="does not exist"):
        page(tmp_path / "gone")


def test_commands_name_the_run_as_one_would_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "my run").mkdir(parents=True)
    assert shown_path(tmp_path / "runs" / "my run") == "runs/my run"
    assert (
        commands(Path("runs/my run"), "digits")["predict"]
        == "residua predict 'runs/my run/model.safetensors' photo.jpg"
    )
    monkeypatch.chdir("/")
    assert shown_path(Path("/nowhere/at/all")) == "nowhere/at/all"


def contrast(a: str, b: str) -> float:
    """Of two colours ``#rrggbb`` (WCAG 2.2)."""
    lights = []
    for colour in (a, b):
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        lights.append(sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_text_has_the_contrast_that_eyes_need_by_day_and_night(seen: Page) -> None:
    palettes = re.findall(r":root \{(.*?)\}", seen.source, re.DOTALL)
    assert len(palettes) == 3  # light, dark, paper
    for palette in palettes:
        colours = dict(
            re.findall(
                r"--([a-z]+): (#[0-9a-f]{6})",
                re.sub(r"#([0-9a-f])([0-9a-f])([0-9a-f])\b(?![0-9a-f])", r"#\1\1\2\2\3\3", palette),
            )
        )
        for ground in ("paper", "raised", "sunk"):
            for ink in ("ink", "quiet", "val", "train", "rate"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground, colours)


def test_every_decision_shows_its_flag_and_none_that_was_asked_for_or_said_before(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run()
    decisions = json.loads((run / "decisions.json").read_text())
    decisions.append({"what": "workers", "value": "0", "why": "asked for", "flag": "--workers"})
    decisions.append({"what": "data", "value": "digits", "why": "one set: held out", "flag": ""})
    (run / "decisions.json").write_text(json.dumps(decisions))
    seen = Page(page(run))
    assert Counter(re.findall(r"<code>(--[a-z-]+)</code>", seen.source)) == {"--device": 1, "--precision": 1}
    assert seen.words.count("one set: held out") == 1
