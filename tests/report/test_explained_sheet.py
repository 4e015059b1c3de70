"""The sheet says which depth decided, fits its pictures, and no name breaks it."""

from typing import Any

import pytest
from PIL import Image

from report.conftest import HOSTILE
from residua.report.explained_sheet import ROWS, Row, Sheets, stands_from, strongest, verdict

HEAD = {"arch": "cifar_resnet14", "method": "grad-cam", "stage": "stages.2", "target": "the class that the net names"}


def item(
    contributions: tuple[float, ...] = (0.2, -0.5, 2.0, 0.1),
    leads: str = "bbaa",
    *,
    bare_leads: str = "b",
    **words: Any,
) -> dict[str, Any]:
    """An item of explanations.json, of class a; `leads` has a letter for each unit."""
    units = [
        {"unit": f"stages.{i // 2}.{i % 2}", "stage": i // 2, "contribution": c, "added": (i + 1) / 5, "leads": lead}
        for i, (c, lead) in enumerate(zip(contributions, leads, strict=True))
    ]
    return {
        "name": "a.png", "prediction": "a", "probability": 0.8, "classes": ["a", "b"], "probabilities": [0.8, 0.2],
        "target": "a", "target_probability": 0.8, "logit": 1.0 + sum(contributions), "nothing": False, "units": units,
        "bare": 0.1, "bare_logit": 1.0, "bare_leads": bare_leads, "missed": 0.0, "points": 16, "scores": None, **words,
    }  # fmt: skip


def row(found: dict[str, Any], size: tuple[int, int] = (60, 40)) -> Row:
    return Row(found, Image.new("RGB", size, "white"), Image.new("RGB", size, "red"))


# -- in words -------------------------------------------------------------------------------------------------------


def test_the_unit_that_speaks_loudest_decided():
    assert strongest(item())["unit"] == "stages.1.0"
    assert verdict(item()) == "decided at stages.1.0: +2.0 of +1.8 by all units; leads from stages.1.0 on"


@pytest.mark.parametrize(
    ("leads", "bare", "since"),
    [
        ("bbba", "b", "stages.1.1"), ("abaa", "a", "stages.1.0"), ("aaaa", "b", "stages.0.0"), ("aaaa", "a", ""),
        ("aaab", "a", None), ("bbbb", "b", None),
    ],
)  # fmt: skip
def test_a_class_leads_from_the_unit_after_which_it_never_loses_the_lead(leads, bare, since):
    assert stands_from(item(leads=leads, bare_leads=bare)) == since


def test_a_verdict_tells_also_of_leading_with_nothing_and_of_never_leading():
    assert verdict(item(leads="aaaa", bare_leads="a")).endswith("; leads with no unit at all")
    assert "leads" not in verdict(item(leads="bbbb"))
    assert verdict(item((0.1, 0.1, 0.0, 0.1))).startswith("decided by no depth: all units together add +0.3")
    assert verdict(item((-1.0, -0.1, -0.2, -0.1))).startswith("decided by no depth: all units together add −1.4")


def test_where_there_is_no_depth_nothing_is_said():
    none = {**item(), "units": []}
    assert strongest(none) is None and stands_from(none) is None and verdict(none) == ""


# -- the picture ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, names", [
    (0, []), (1, ["sheet.png"]), (ROWS, ["sheet.png"]), (ROWS + 1, ["sheet.png", "sheet-2.png"]),
])  # fmt: skip
def test_a_sheet_has_so_many_rows_and_the_rest_go_on_the_next(tmp_path, monkeypatch, n, names):
    drawn = []
    monkeypatch.setattr(
        "residua.report.explained_sheet._sheet",
        lambda document, rows, out, which: drawn.append((len(rows), which)) or out,
    )
    sheets = Sheets(HEAD, tmp_path)
    for _ in range(n):
        sheets.add(row(item()))
    assert [p.name for p in sheets.close()] == names
    assert sum(rows for rows, _ in drawn) == n and all(rows <= ROWS for rows, _ in drawn)
    if n > ROWS:
        assert [w for _, w in drawn] == [" · sheet 1", " · sheet 2, the last"]


def test_a_sheet_grows_with_its_rows_and_is_narrower_without_depth(tmp_path):
    sizes = []
    for name, rows in (("one", [item()]), ("two", [item(), item()]), ("flat", [{**item(), "units": []}])):
        (tmp_path / name).mkdir()
        sheets = Sheets(HEAD, tmp_path / name)
        for found in rows:
            sheets.add(row(found))
        with Image.open(sheets.close()[0]) as image:
            sizes.append(image.size)
    (w1, h1), (w2, h2), (w3, h3) = sizes
    assert w1 == w2 > w3 and h2 > h1 >= h3 and 1000 < w1 < 2600


def test_names_and_numbers_of_every_kind_are_drawn(tmp_path):
    many = [
        item(name=HOSTILE[0], classes=list(HOSTILE[:2]), prediction=HOSTILE[0], target=HOSTILE[0]),
        item(name=HOSTILE[1], target="$x_2^{$", target_probability=0.0, nothing=True),
        item(name="", probabilities=[1.0, 0.0], leads="aaaa", bare_leads="a", bare=1.0),
        item((0.0, 0.0, 0.0, 0.0), scores={
            "insertion": 0.5, "deletion": 0.4, "insertion_random": 0.4, "deletion_random": 0.5,
        }),
        item(tuple([-1e9] * 54), "a" * 54),
        {**item(), "units": []},
    ]  # fmt: skip
    sheets = Sheets({**HEAD, "stage": None, "target": HOSTILE[1]}, tmp_path)
    for found, size in zip(many, ((1, 1), (500, 3), (3, 500), (8, 8), (420, 300), (96, 96)), strict=True):
        sheets.add(row(found, size))
    with Image.open(sheets.close()[0]) as image:
        assert image.convert("L").getextrema() != (255, 255) and image.height > 1500
