"""A small set of squares, discs and bars on noise, one a picture, laid out as Tiny ImageNet."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

CLASSES = ("n01", "n02", "n03")


def thing(rng: np.random.Generator, kind: int, side: int = 48) -> tuple[Image.Image, tuple[int, ...]]:
    """A picture and the box of what it shows, its last pixel included."""
    image = Image.fromarray(rng.integers(90, 150, (side, side, 3), dtype=np.uint8))
    w, h = (int(n) for n in rng.integers(14, 30, 2))
    if kind == 2:
        w, h = w + 12, max(6, h // 2)
    x, y = int(rng.integers(0, side - w)), int(rng.integers(0, side - h))
    box = (x, y, x + w - 1, y + h - 1)
    pen = ImageDraw.Draw(image)
    draw = pen.ellipse if kind == 1 else pen.rectangle
    draw(box, fill=((230, 60, 40), (40, 60, 230), (50, 200, 60))[kind])
    return image, box


def make(root: Path, train: int = 8, test: int = 4) -> Path:
    rng = np.random.default_rng(0)
    for k, name in enumerate(CLASSES):
        folder = root / "train" / name / "images"
        folder.mkdir(parents=True)
        rows = []
        for i in range(train):
            image, box = thing(rng, k)
            image.save(folder / f"{name}_{i}.png")
            rows.append("\t".join([f"{name}_{i}.png", *map(str, box)]))
        (root / "train" / name / f"{name}_boxes.txt").write_text("\n".join(rows) + "\n")
    rows = []
    (root / "val" / "images").mkdir(parents=True)
    for k, name in enumerate(CLASSES):
        for i in range(test):
            image, box = thing(rng, k)
            image.save(root / "val" / "images" / f"val_{k}_{i}.png")
            rows.append("\t".join([f"val_{k}_{i}.png", name, *map(str, box)]))
    (root / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="session")
def things(tmp_path_factory) -> Path:
    """24 pictures to train on, 12 to test by."""
    return make(tmp_path_factory.mktemp("things") / "things")
