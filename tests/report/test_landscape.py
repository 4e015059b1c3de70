"""landscape.png and its sentences: one scale for all, nothing invented where nothing is known."""

import warnings
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from residua.depth.terrain import terrain
from residua.report.landscape import BOTTOM, CUT, landscape, scale_of, sentences

X, Y = np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 7), indexing="ij")
WIDE, NARROW = 0.01 + X**2 + Y**2, 0.01 + 40 * (X**2 + Y**2)


def about(*surfaces, names=("wide", "narrow")):
    found = [terrain(s, np.where(np.isfinite(s), 0.5, 1), classes=10) for s in surfaces]
    entries = [{"name": n, "terrain": asdict(t)} for n, t in zip(names, found, strict=False)]
    return {"span": 1.0, "surfaces": entries}


def size(path):
    with Image.open(path) as image:
        return image.size


def test_two_surfaces_stand_side_by_side(tmp_path):
    one = landscape(about(WIDE), [WIDE], tmp_path / "one.png")
    two = landscape(about(WIDE, NARROW), [WIDE, NARROW], tmp_path / "two.png")
    assert size(two)[1] == size(one)[1] and size(two)[0] > 1.7 * size(one)[0]


def test_losses_are_cut_in_the_picture_only():
    losses = np.array([[1e-9, 1.0, 1e9], [np.nan, 2.0, 3.0], [1.0, 1.0, 1.0]])
    scale = scale_of([losses], chance=2.0)
    assert 10**scale.low == pytest.approx(2 * BOTTOM) and 10**scale.high == pytest.approx(2 * CUT)
    shown = scale.heights(losses)
    assert shown[0, 2] == scale.high and shown[0, 0] == scale.low and np.isnan(shown[1, 0])
    assert losses[0, 2] == 1e9


def test_a_scale_holds_every_surface():
    scale = scale_of([WIDE, NARROW], chance=2.3)
    assert 10**scale.low == pytest.approx(0.01) and 10**scale.high == pytest.approx(NARROW.max())


@pytest.mark.parametrize("surface", [WIDE * 0, WIDE * 0 + 1, WIDE * 0 + 1e12])
def test_a_flat_surface_is_drawn_too(tmp_path, surface):
    assert landscape(about(surface), [surface], tmp_path / "flat.png").stat().st_size > 1000


def test_holes_are_drawn_as_holes_and_said(tmp_path):
    holed = WIDE.copy()
    holed[0, :3], holed[5, 5] = np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        landscape(about(holed), [holed], tmp_path / "holed.png")
    (words,) = sentences(about(holed))
    assert "4 points not finite" in words


def test_the_sentences_say_the_numbers():
    first, second, compared = sentences(about(WIDE, NARROW))
    assert first.startswith("wide: ") and "100 % of the area" in first and "1 local minimum among 49 points" in first
    assert "0 % of the land is not convex" in first
    assert "takes 2.04 % of the area" in second  # one point of 49
    assert compared == "The valley of wide is 49 times as wide as that of narrow."


def test_a_net_that_knows_nothing_is_not_divided_by():
    lost = WIDE + 5
    assert sentences(about(lost, lost))[-1].startswith("Neither net lies in a valley")
    assert sentences(about(lost, WIDE))[-1].startswith("narrow lies in a valley; wide is no better")
