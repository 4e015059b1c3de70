"""Laws of the page of a check: it stands alone, names are text in it, problems are shown; its part of a report."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from report.test_page import Page
from residua.report.data_page import THUMB_PX, data_page, frame, parts, section
from residua.report.files import read
from residua.report.page import rendered

HOSTILE = ("<script>alert(1)</script>", "new\nline", "\"quotes' & more")


def shown(path: str, remark: str = "") -> dict[str, str]:
    return {"path": path, "label": HOSTILE[0], "split": "train", "remark": remark}


def finding(kind: str, severity: str, examples: list[list[dict[str, str]]], groups: int = 0) -> dict[str, Any]:
    return {
        "kind": kind, "severity": severity, "count": 1, "sentence": f"Found {kind} in {HOSTILE[0]}.",
        "todo": "Look at it; --fit pad shows all.", "groups": groups or len(examples), "examples": examples,
    }  # fmt: skip


@pytest.fixture
def document() -> dict[str, Any]:
    """What a check of hostile names tells."""
    classes = {
        "mean": 0.3, "over_40": 1, "pictures": 9, "side_px": 224, "resize_px": 256,
        "classes": {c: {"mean": 0.3, "over_40": 1, "pictures": 3} for c in HOSTILE},
    }  # fmt: skip
    side = {"min": 100, "median": 200, "max": 900}
    return {
        "name": HOSTILE[0], "spec": f"./{HOSTILE[1]}", "files": 12, "pictures": 9, "classes": list(HOSTILE),
        "splits": {"val": dict.fromkeys(HOSTILE, 1), "train": dict.fromkeys(HOSTILE, 2)},
        "sizes": {"width": side, "height": side, "short_side": side}, "sides": [[100, 100], [900, 200], [900, 200]],
        "imbalance": {
            "ratio": 4.0, "largest": {"class": HOSTILE[0], "pictures": 8}, "smallest": {"class": "b", "pictures": 2},
        },
        "hidden_by_crop": classes,
        "findings": [
            finding("two-labels", "must", [[shown("a/1.png"), shown("b/<b>1</b>.png")]]),
            finding("unusable", "should", [[shown("a/<i>bad</i>.jpg", "an <u>empty</u> file")]]),
            finding("crop", "note", [[shown("a/wide.png", "70 % hidden")]], groups=289),
            finding("grey", "note", [[shown("a/gone.png")]]),
        ],
        "skipped": [{"path": f"a/<i>{i}</i>.jpg", "reason": "an <u>empty</u> file"} for i in range(3)],
        "notes": ["2 repeated rows count once"],
        "proposals": [
            {"what": "fit", "value": "pad", "why": "<b>wide</b>", "flag": "--fit pad", "automatic": False},
        ],
        "command": "residua train './new\nline' --fit pad",
    }  # fmt: skip


def picture_of(name: str) -> Image.Image | None:
    return None if "gone" in name else Image.new("RGB", (600, 200) if "wide" in name else (20, 30), "teal")


@pytest.fixture
def seen(document: dict[str, Any], tmp_path: Path) -> Page:
    return Page(data_page(tmp_path, document, picture_of))


def test_the_page_stands_alone(seen: Page):
    for _, attrs in seen.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attrs.get(name, "#").startswith(("#", "data:image/"))
    assert "@import" not in seen.source and "url(" not in seen.source
    assert not seen.all("link") and not seen.all("iframe") and len(seen.all("script")) == 1


def test_the_page_is_whole_and_can_be_read_by_anyone(seen: Page):
    assert seen.open == [] and len(seen.all("h1")) == 1
    assert all(img["alt"] for img in seen.all("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in seen.all("svg"))
    ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) and {a["href"].removeprefix("#") for a in seen.all("a")} <= set(ids)
    assert all(attrs["aria-labelledby"] in ids for _, attrs in seen.tags if "aria-labelledby" in attrs)


def test_no_name_breaks_out_of_the_page(seen: Page):
    assert not re.search(r"<script>alert|<b>1|<i>bad|<i>0|<u>empty|<b>wide", seen.source)
    assert HOSTILE[0] in seen.text and "new\\nline" in seen.text and "b/<b>1</b>.png" in seen.text


def test_it_says_what_was_found_and_what_to_do(seen: Page):
    for words in (
        "9 pictures of 3 classes: 6 in train, 3 in val.", "3 files cannot be used", "To be mended", "Worth a look",
        "Good to know", "70 % hidden", "288 more in data_check.csv", "times as many training pictures as b",
        "From 100 to 900 px wide", "2 repeated rows count once", "--fit pad", "not shown",
    ):  # fmt: skip
        assert words in seen.words.replace("\xa0", " "), words
    assert [a["class"] for a in seen.all("code") if "class" in a] == ["flag"] * 5


def test_pictures_are_small_and_only_of_what_can_be_seen(seen: Page):
    images = [Image.open(io.BytesIO(base64.b64decode(i["src"].partition(",")[2]))) for i in seen.all("img")]
    assert len(images) == 3  # two of one picture, one cropped; broken files and lost ones have none
    assert max(max(i.size) for i in images) == THUMB_PX and {i.format for i in images} == {"WEBP"}


def test_a_frame_holds_the_share_that_a_crop_keeps():
    found = frame((600, 200), {"side_px": 224, "resize_px": 256})
    assert found is not None
    assert found["width"] * 600 == pytest.approx(found["height"] * 200) == pytest.approx(175 * 100)
    assert found["left"] * 2 + found["width"] == pytest.approx(100)


def test_a_page_of_many_pictures_stays_small(document: dict[str, Any], tmp_path: Path):
    import numpy as np

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    document["findings"] = [
        finding("alike", "note", [[shown(f"{f}/{g}/{i}.png") for i in range(6)] for g in range(12)]) for f in range(8)
    ]
    assert data_page(tmp_path, document, lambda name: noise).stat().st_size < 5_000_000


def test_of_many_classes_the_largest_and_the_smallest_are_shown(document: dict[str, Any]):
    document["splits"] = {"train": {str(i): i for i in range(1000)}}
    told = parts(document)
    assert told["more"] == 960 and [c["name"] for c in told["classes"]][::39] == ["999", "0"]


def test_nothing_at_all_makes_a_page_too(tmp_path: Path):
    empty = {"name": "x", "spec": "x", "findings": [], "proposals": [], "splits": {}, "classes": []}
    assert "nothing" in Page(data_page(tmp_path, empty, picture_of)).text


@pytest.mark.parametrize("lacks", [(), ("data_check.json",)])
def test_its_part_of_a_report_tells_what_a_run_left_out(make_run, tmp_path: Path, lacks: tuple[str, ...]):  # type: ignore[no-untyped-def]
    said = {"data": section(read(make_run(without=lacks)))}
    seen = Page(rendered("data_section.html.j2", tmp_path / "part.html", said))
    assert seen.open == []
    assert ("1 file was left out" in seen.words) == (not lacks)
    assert ("an empty file (0 bytes) (1)" in seen.words) == (not lacks)
    assert "<i>bad" not in seen.source and "<script>" not in seen.source


def test_a_torn_document_still_makes_its_part_of_a_report(document: dict[str, Any], tmp_path: Path):
    for key in ("splits", "sizes", "imbalance", "hidden_by_crop", "skipped", "notes", "sides"):
        made = [parts(document | {key: torn}) for torn in (None, 7, "text", [], {}, [1, "2", None], {"a": 1})]
        rendered("data_section.html.j2", tmp_path / "part.html", {"data": made[-1]})
