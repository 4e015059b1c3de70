"""Boxes drawn on photos: what was found in a colour for each class, with name and score; the truth thin and white."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from residua.boxes.found import Found

#: Colours that people of any sight tell apart, light enough for dark words (Okabe & Ito 2008, and Tol's bright ones).
COLOURS = (
    (86, 180, 233), (230, 159, 0), (0, 190, 140), (240, 228, 66), (213, 114, 40), (204, 121, 167),
    (120, 200, 255), (170, 220, 50), (255, 150, 150), (190, 160, 255),
)  # fmt: skip
DARK, WHITE = (20, 24, 28), (255, 255, 255)
#: A drawn photo has a long side of so many pixels at least: on less there is no room for lines and names.
LEAST_PX = 320


def drawn(
    photo: Image.Image, found: Found, classes: Sequence[str], *, threshold: float = 0.0,
    truth: npt.NDArray[np.float32] | None = None, tags: bool = True,
) -> Image.Image:  # fmt: skip
    """The photo in colour with the detections of at least a score, the surest on top; `truth` (n, 4) under them."""
    image = photo.convert("RGB")
    line = max(2, round(max(image.size) / 320))
    pen = ImageDraw.Draw(image)
    for box in [] if truth is None else truth.tolist():  # white between two dark lines: seen on any ground
        pen.rectangle(grown(box, 1), outline=DARK, width=line + 2)
        pen.rectangle(box, outline=WHITE, width=line)
    sure = [i for i in np.argsort(found.scores, kind="stable").tolist() if found.scores[i] >= threshold]
    for i in sure:
        pen.rectangle(found.boxes[i].tolist(), outline=colour(int(found.labels[i])), width=line)
    if not tags:
        return image
    font = ImageFont.load_default(size=max(10, round(max(image.size) / 48)))
    taken: list[tuple[float, float, float, float]] = []
    for i in reversed(sure):  # the surest choose their places first
        words = f"{classes[int(found.labels[i])]} {100 * found.scores[i]:.0f} %"
        tag(pen, found.boxes[i].tolist(), words, colour(int(found.labels[i])), font, image.size, taken)
    return image


def enlarged(photo: Image.Image, found: Found) -> tuple[Image.Image, Found]:
    """A small photo and what was found in it, a whole number of times as large; another as it is."""
    times = times_larger(photo)
    if times == 1:
        return photo, found
    large = photo.resize((times * photo.width, times * photo.height), Image.Resampling.BICUBIC)
    return large, Found(found.boxes * times, found.labels, found.scores)


def times_larger(photo: Image.Image) -> int:
    """How many times as large a photo is drawn."""
    return max(1, -(-LEAST_PX // max(photo.size)))


def colour(label: int) -> tuple[int, int, int]:
    """The colour of a class."""
    return COLOURS[label % len(COLOURS)]


def grown(box: Sequence[float], by: float) -> tuple[float, float, float, float]:
    """A box that is larger by so much on each side, never turned inside out."""
    left, top, right, bottom = box[0] - by, box[1] - by, box[2] + by, box[3] + by
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def tag(
    pen: ImageDraw.ImageDraw, box: Sequence[float], words: str, fill: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont, size: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
) -> None:  # fmt: skip
    """The name of a box above its upper edge, or within it where there is no room; not over another name."""
    left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
    width, height = right - left + 6, bottom - top + 5
    x = min(max(0, box[0]), max(0, size[0] - width))
    for y in (box[1] - height, box[1], box[3] - height, box[3]):
        place = (x, y, x + width, y + height)
        free = not any(a[0] < place[2] and place[0] < a[2] and a[1] < place[3] and place[1] < a[3] for a in taken)
        if 0 <= y <= size[1] - height and free:
            pen.rectangle(place, fill=fill)
            pen.text((x + 3 - left, y + 2 - top), words, fill=DARK, font=font)
            taken.append(place)
            return


def sheet(images: Sequence[Image.Image], columns: int, cell_px: int, gap_px: int = 6) -> Image.Image:
    """Pictures of any sides in rows on a clear ground, each as large as fits into its cell."""
    small = []
    for image in images:
        scale = cell_px / max(image.size)
        small.append(image.resize([max(1, round(n * scale)) for n in image.size], Image.Resampling.LANCZOS))
    rows = -(-len(small) // columns)
    high = [max(i.height for i in small[r * columns : (r + 1) * columns]) for r in range(rows)]
    width = columns * cell_px + (columns - 1) * gap_px
    out = Image.new("RGBA", (width, sum(high) + (rows - 1) * gap_px), (0, 0, 0, 0))
    for i, image in enumerate(small):
        row, column = divmod(i, columns)
        out.paste(image, (column * (cell_px + gap_px), sum(high[:row]) + row * gap_px))
    return out
