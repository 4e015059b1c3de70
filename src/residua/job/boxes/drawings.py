"""The pictures of a run on boxes: the first batch with its boxes, and test photos with what was found in them."""

import numpy as np
from PIL import Image

from residua.boxes.batches import BoxBatches
from residua.boxes.dataset import BoxSplit
from residua.boxes.draw import drawn, enlarged, sheet, times_larger
from residua.boxes.found import Found
from residua.data.decode import BadPicture, as_image, decode
from residua.job.boxes.plan import BoxPlan

#: Of the test photos so many that are wrong and so many that are right are drawn.
WORST, BEST = 8, 4
#: A photo on a page has this long side at most.
SIDE_PX = 640
#: The contact sheet: pictures of the first batch, in rows of so many, at this side.
SHOWN, COLUMNS, CELL_PX = 8, 4, 320


def batch(plan: BoxPlan, batches: BoxBatches) -> Image.Image:
    """Pictures of the first batch as the net sees them, with their boxes."""
    first = batches.at(0)
    images = []
    for i in range(min(SHOWN, len(first))):
        height, width = first.sides[i]
        target = first.targets[i]
        found = Found(target.boxes.astype(np.float64), target.labels, np.ones(len(target.labels)))
        photo = as_image(plan.view.restore(first.images[i, :, :height, :width]))
        images.append(drawn(*enlarged(photo, found), plan.dataset.classes, tags=False))
    return sheet(images, COLUMNS, CELL_PX)


def photo_of(
    split: BoxSplit, i: int, found: Found, classes: tuple[str, ...], threshold: float = 0.0
) -> Image.Image | None:  # fmt: skip
    """Picture i of a split with what was found in it, and the truth under that; None where it cannot be decoded."""
    try:
        photo = as_image(decode(split.images.paths[i], "RGB"))
    except BadPicture:
        return None
    scale = min(times_larger(photo), SIDE_PX / max(photo.size))
    small = photo.resize([max(1, round(v * scale)) for v in photo.size], Image.Resampling.LANCZOS)
    moved = Found(found.boxes * scale, found.labels, found.scores)
    truth = split.targets[i].boxes * np.float32(scale)
    return drawn(small, moved, classes, threshold=threshold, truth=truth)
