"""Laws of the page's newer sections: only what a run has is shown, no name breaks out, ten thousand images fit."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from residua.job.mistakes import CELL_PX, COLUMNS, SHEET, sheet
from residua.report import page

SCRIPT = "<script>alert(1)</script>"
UNITS = [f"stages.{s}.{i}" for s in range(3) for i in range(3)]
TITLES = {
    "figures": "How good it is", "trust": "Can one trust its probabilities?", "reasons": "Why it says what it says",
    "strengths": "How much each unit does", "cell": "Images of a cell", "card": "Model card",
}  # fmt: skip


def noise(side: int, seed: int = 0) -> Image.Image:
    """A picture as hard to compress as a photograph of leaves."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (side // 3, side // 3, 3), np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def explanations(run: Path, count: int = 2, side: int = 16) -> dict[str, Any]:
    """explanations.json, and its pictures."""
    (run / "explanations").mkdir(exist_ok=True)
    items = []
    for i in range(count):
        for name in (f"explanations/{i:02}.png", f"explanations/{i:02}-photo.png"):
            noise(side, i).save(run / name)
        items.append({
            "file": f"explanations/{i:02}.png", "picture": f"explanations/{i:02}-photo.png", "name": f"a/{SCRIPT}",
            "truth": SCRIPT, "prediction": "new\nline", "probability": 0.75, "bare": 0.2, "logit": 3.5,
            "units": [
                {"unit": u, "stage": int(u[7]), "contribution": 0.3 - 0.1 * j, "added": 0.2 + 0.05 * j}
                for j, u in enumerate(UNITS)
            ],
        })  # fmt: skip
    return {"method": "grad-cam", "stage": "stages.2", "target": SCRIPT, "items": items, "why_not": None}


def strengths() -> dict[str, Any]:
    """strengths.json of nine units; the last has nearly learned the identity."""
    rows = [{"unit": u, "stage": int(u[7]), "ratio": 0.5 / (1 + i) ** 2, "cosine": 0.1} for i, u in enumerate(UNITS)]
    return {"images": 256, "units": rows}


def calibration() -> dict[str, Any]:
    """Of evaluation.json."""
    edges = np.linspace(0, 1, 11)
    bins = [
        {"low": a, "high": b, "n": 12, "confidence": (a + b) / 2, "accuracy": ((a + b) / 2) ** 2}
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]
    return {
        "ece": 0.16, "ece_uncalibrated": 0.2, "nll": 0.5, "brier": 0.2, "temperature": 1.7, "bins": bins,
        "bins_uncalibrated": bins,
    }  # fmt: skip


def put(run: Path, name: str, **more: Any) -> None:
    """Write a document, or more into one that is there."""
    path = run / name
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | more))


def full(run: Path, thumbs: int = 12) -> Path:
    """The run folder with every document that the page knows."""
    classes = json.loads((run / "evaluation.json").read_text())["classes"]
    put(run, "explanations.json", **explanations(run))
    put(run, "strengths.json", **strengths())
    put(run, "evaluation.json", calibration=calibration(), macro={"f1": 0.8}, intervals={"macro_f1": [0.7, 0.9]})
    items = [
        {"name": f"{SCRIPT}\n{i}", "truth": classes[i % 3], "prediction": classes[i % 3 + 1], "probability": 0.5}
        for i in range(thumbs)
    ]
    (run / SHEET).write_bytes(sheet([noise(CELL_PX, i) for i in range(thumbs)], CELL_PX))
    put(run, "mistakes.json", sheet=SHEET, cell_px=CELL_PX, columns=COLUMNS, wrong=thumbs, items=items)
    return run


def ids(source: str) -> set[str]:
    """The sections and the dialog that are there."""
    return set(TITLES) & set(re.findall(r'id="([\w-]+)"', source))


def test_a_run_with_everything_shows_every_section(make_run) -> None:  # type: ignore[no-untyped-def]
    source = page(full(make_run())).read_text(encoding="utf-8")
    assert ids(source) == set(TITLES) and all(t in source for t in TITLES.values())
    said = re.sub(r"\s+", " ", source).replace("\xa0", " ")
    assert "softer" in said and "off most where it says about" in said and "Most for it: 0.0 (+0.30)" in said
    assert "20 % with no unit at work" in said and "Measured on 256 held-out images" in said


@pytest.mark.parametrize(
    ("name", "gone"),
    [("explanations.json", {"reasons"}), ("strengths.json", {"strengths"}), ("mistakes.json", {"cell"}),
     ("evaluation.json", {"figures", "trust", "cell"})],
)  # fmt: skip
def test_without_its_document_a_section_is_left_out(make_run, name: str, gone: set[str]) -> None:  # type: ignore[no-untyped-def]
    run = full(make_run())
    (run / name).unlink()
    source = page(run).read_text(encoding="utf-8")
    assert ids(source) == set(TITLES) - gone
    assert {h for h in re.findall(r'href="#([\w-]+)"', source)} <= set(re.findall(r'id="([\w-]+)"', source))
    (run / name).write_text('{"items": [1, null, {"units": "x"}], "units": [{"unit": 3}, 4], "torn')
    assert ids(page(run).read_text(encoding="utf-8")) == set(TITLES) - gone


def test_no_name_breaks_out_of_any_section(make_run) -> None:  # type: ignore[no-untyped-def]
    run = full(make_run(classes=(SCRIPT, "new\nline", "' onclick='alert(2)", '"><img src=x>', "5")))
    put(run, "explanations.json", method="</style><b>", stage="<b>\n", why_not=f"because {SCRIPT}")
    put(run, "strengths.json", units=[{"unit": f"stages.0.0{SCRIPT}", "stage": 0, "ratio": 0.1}])
    source = page(run).read_text(encoding="utf-8")
    assert source.count("<script>") == 1 and source.count("</style>") == 1
    assert "<img src=x" not in source and "<b>\n" not in source and f"because {SCRIPT}" not in source
    assert not re.search(r"<[^>]*\sonclick=", re.sub(r"(['\"]).*?\1", "", source))
    assert "new\\nline" in source


def test_odd_numbers_are_left_out(make_run) -> None:  # type: ignore[no-untyped-def]
    run = full(make_run())
    made = explanations(run)
    odd = {"probability": "high", "bare": None, "units": [{"unit": "u", "contribution": float("inf")}, None]}
    made["items"][0] |= odd
    put(run, "explanations.json", **made)
    put(run, "strengths.json", units=[{"unit": "stages.0.0", "stage": "x", "ratio": 0.0}, {"ratio": float("nan")}])
    put(run, "evaluation.json", calibration={"ece": "x", "bins": [{"n": 3}]}, macro=[], intervals=3)
    source = page(run).read_text(encoding="utf-8")
    assert "nan" not in re.findall(r'(?:x|y|d|height)="([^"]*)"', source) and "inf" not in ids(source)
    assert "reasons" in ids(source) and "trust" not in ids(source)


def test_a_plain_net_says_why_there_are_no_units(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run()
    put(run, "explanations.json", items=[], why_not="a plain net has no units")
    assert "a plain net has no units" in page(run).read_text(encoding="utf-8")


def test_the_page_of_ten_thousand_images_stays_below_five_megabytes(make_run) -> None:  # type: ignore[no-untyped-def]
    classes = tuple(f"a class of pictures {i}" for i in range(30))
    run = full(make_run(classes=classes, epochs=300), thumbs=3)
    counts = np.full((30, 30), 3)
    np.fill_diagonal(counts, 10_000 // 30 - 87)
    put(
        run, "evaluation.json", n=int(counts.sum()), confusion=counts.tolist(), wrong=int(counts.sum() - counts.trace())
    )
    skipped = [{"path": f"a/long/path/of/pictures/{i}.jpg", "reason": f"broken in way {i % 7}"} for i in range(10_000)]
    put(run, "data_check.json", skipped=skipped)
    tiles = [noise(CELL_PX, i) for i in range(520)]
    (run / SHEET).write_bytes(sheet(tiles, CELL_PX))
    items = [
        {"name": f"a/long/path/of/pictures/{i}.jpg", "truth": classes[i % 30], "prediction": classes[i // 30 % 30],
         "probability": 0.5}
        for i in range(520)
    ]  # fmt: skip
    put(run, "mistakes.json", items=items)
    put(run, "explanations.json", **explanations(run, count=12, side=320))
    gallery = []
    for i in range(24):
        noise(96, i).save(run / "gallery" / f"{i}.png")
        gallery.append({"kind": "worst", "file": f"gallery/{i}.png", "name": "x", "truth": "a", "prediction": "b"})
    (run / "gallery.json").write_text(json.dumps(gallery))
    size = page(run).stat().st_size
    assert 1_000_000 < size < 5_000_000
