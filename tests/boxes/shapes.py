"""A small set of squares and discs on grey, as Pascal VOC."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from boxes.conftest import xml


def make(root: Path) -> Path:
    """20 pictures: 12 to train on, 4 to choose by, 4 to test by."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(20):
        image = Image.new("RGB", (96, 64), (120, 120, 120))
        pen, boxes = ImageDraw.Draw(image), []
        for k in range(2):
            x, y, side = int(rng.integers(48 * k, 48 * k + 18)), int(rng.integers(0, 34)), int(rng.integers(18, 30))
            name = ("square", "disc")[int(rng.integers(2))]
            draw = pen.rectangle if name == "square" else pen.ellipse
            draw((x, y, x + side, y + side), fill=(230, 60, 40) if name == "square" else (40, 60, 230))
            boxes.append((name, x, y, x + side, y + side))
        image.save(root / "JPEGImages" / f"{i:02}.png")
        (root / "Annotations" / f"{i:02}.xml").write_text(xml((96, 64), boxes))
    for split, numbers in (("train", range(12)), ("val", range(12, 16)), ("test", range(16, 20))):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(f"{i:02}" for i in numbers))
    return root
