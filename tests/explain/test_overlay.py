"""Heat lies on the photo where the view saw it, at the photo's own size, and hides nothing."""

import io
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from acceptance import ORIENTATION, STORED, oriented, picture
from explain.conftest import view_of
from residua.data.decode import reduced
from residua.explain import photo
from residua.explain.overlay import DIM_TO, DIMMED, FRAME, cover, drawn, painted, small, within

SIZES = ((30, 40), (47, 31), (16, 16), (64, 64), (9, 300), (11, 13))
VIEWS = (
    view_of(16, resize_px=18), view_of(16), view_of(32, resize_px=37), view_of(16, fit="pad"), view_of(16, fit="squash")
)  # fmt: skip


def pixels(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(picture(height, width, seed).transpose(2, 0, 1).copy())


def waves(height: int, width: int) -> torch.Tensor:
    """A picture of which red says the column and green the row, as shares of 250."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    out = torch.zeros(3, height, width)
    out[0], out[1] = x * 250 / width, (y * 250 / height)[:, None]
    return out.round().to(torch.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("view", VIEWS)
def test_a_place_on_the_square_is_the_place_on_the_photo_that_the_view_shows_there(view, size):
    height, width = size
    found = cover(view, height, width)
    seen = view.tensor(waves(height, width)) * 255 / 250  # what the view itself makes of columns and rows
    (p0, q0, p1, q1), (x0, y0, x1, y1) = found.photo, found.square
    for x in range(int(x0) + 1, int(x1) - 1):
        column = p0 + (x + 0.5 - x0) * (p1 - p0) / (x1 - x0)
        assert float(seen[0, int(y0 + y1) // 2, x]) * width == pytest.approx(column, abs=0.6 + 0.02 * width)
    for y in range(int(y0) + 1, int(y1) - 1):
        row = q0 + (y + 0.5 - y0) * (q1 - q0) / (y1 - y0)
        assert float(seen[1, y, int(x0 + x1) // 2]) * height == pytest.approx(row, abs=0.6 + 0.02 * height)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("view", VIEWS)
def test_an_overlay_has_the_photos_own_size(view, size):
    made = painted(pixels(*size), torch.rand(view.side_px, view.side_px), view)
    assert (made.height, made.width, made.mode) == (*size, "RGB")
    assert painted(pixels(*size), torch.rand(view.side_px, view.side_px), view, (50, 21)).size == (50, 21)


@pytest.mark.parametrize("orientation", STORED)
def test_an_overlay_is_upright_whatever_the_camera_wrote(orientation):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](picture(30, 40))))
    file = io.BytesIO()
    stored.save(file, "PNG", exif=oriented(orientation))
    view = view_of(24)
    seen = photo("a.png", partial(reduced, file.getvalue()), view)
    made = painted(seen.pixels, torch.zeros(24, 24), view)
    assert made.size == (40, 30) and made.getexif().get(ORIENTATION) in (None, 1)
    assert torch.equal(seen.pixels, pixels(30, 40))
    assert torch.equal(seen.seen, view.tensor(pixels(30, 40)))


def test_heat_is_where_the_map_is_and_nowhere_else():
    heat, grey = torch.zeros(16, 16), torch.full((3, 32, 48), 128, dtype=torch.uint8)
    heat[0:4, 12:16] = 1  # upper right of the square: of the photo's columns 8 to 40
    made = np.asarray(painted(grey, heat, view_of(16)), dtype=int)
    hot = made[..., 0] - made[..., 2] > 30
    rows, columns = np.nonzero(hot)
    assert hot[2:6, 33:38].all() and rows.max() < 10 and columns.min() > 29 and columns.max() < 40


def test_what_the_view_does_not_see_is_grey_and_dim_behind_a_frame():
    made = np.asarray(painted(pixels(30, 60), torch.zeros(10, 10), view_of(10)), dtype=int)
    outside = made[:, :15]
    assert (outside.max(2) == outside.min(2)).all()
    grey = np.array(Image.fromarray(picture(30, 60)).convert("L"), dtype=float)[:, :15]
    assert np.abs(outside[..., 0] - (DIMMED * grey + (1 - DIMMED) * DIM_TO)).max() <= 1
    assert (made[:, [15, 44]] == FRAME).all() and not (made[:, 16:44] == FRAME).all(axis=(0, 2)).any()
    whole = np.asarray(painted(pixels(30, 30), torch.zeros(10, 10), view_of(10)), dtype=int)
    assert not (whole[0] == FRAME).all()


def test_the_photo_is_still_to_be_seen_under_the_hottest_place():
    board = (torch.arange(32) // 4 % 2 * 255).to(torch.uint8).expand(3, 32, 32).contiguous()
    made = np.asarray(painted(board, torch.ones(8, 8), view_of(8)), dtype=float).mean(2)
    assert made[:, 4:8].mean() - made[:, 0:4].mean() > 60


def test_a_grey_photo_is_painted_in_colour():
    made = painted(pixels(12, 12)[:1], torch.ones(6, 6), view_of(6, mode="L", mean=(0.0,), std=(1.0,)))
    assert made.mode == "RGB" and np.ptp(np.asarray(made, dtype=int), axis=2).max() > 20


def test_small_photos_are_drawn_larger_by_whole_numbers_and_large_ones_smaller():
    assert within(torch.zeros(3, 8, 6), 96, 420) == (72, 96)
    assert within(torch.zeros(3, 50, 100), 96, 420) == (100, 50)
    assert within(torch.zeros(3, 3000, 1000), 96, 420) == (140, 420)
    assert within(torch.zeros(3, 1, 9000), 96, 420) == (420, 1)
    tiny = pixels(4, 4)
    large = np.asarray(drawn(tiny, (16, 16)))
    assert (large[::4, ::4] == tiny.permute(1, 2, 0).numpy()).all() and (large[1::4, 2::4] == large[::4, ::4]).all()


def test_of_a_strip_that_is_cropped_the_middle_is_drawn_small_and_of_one_that_is_padded_all():
    strip = pixels(20, 8000)
    for image in small(strip, torch.ones(32, 32), view_of(32), 96, 420):
        assert image.size == (80, 20)
    shown, _ = small(strip, torch.ones(32, 32), view_of(32), 96, 420)
    assert (np.asarray(shown) == strip[:, :, 3960:4040].permute(1, 2, 0).numpy()).all()
    upright, _ = small(pixels(500, 9), torch.ones(32, 32), view_of(32), 96, 420)
    assert upright.size == (18, 72)
    padded, _ = small(strip, torch.ones(32, 32), view_of(32, fit="pad"), 96, 420)
    assert padded.size == (420, 1)
