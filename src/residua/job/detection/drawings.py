"""The pictures of a detector's run: the first batch with its boxes, and test photos with what was found in them."""

import numpy as np
from PIL import Image

from residua.boxes.batches import BoxBatches
from residua.boxes.draw import drawn, sheet
from residua.boxes.found import Found
from residua.data.decode import BadPicture, as_image, decode
from residua.detect.counts import BoxEvaluation, kinds_of
from residua.job import record
from residua.job.detection.plan import Plan
from residua.training.run import Run

#: Of the test photos so many with most errors and so many with none are drawn, at this long side.
WORST, BEST, SIDE_PX = 8, 4, 640
#: The contact sheet: pictures of the first batch, in rows of so many, at this side.
SHOWN, COLUMNS, CELL_PX = 8, 4, 320


def batch(plan: Plan, batches: BoxBatches) -> Image.Image:
    """Pictures of the first batch as the net sees them, with their boxes."""
    first = batches.at(0)
    images = []
    for i in range(min(SHOWN, len(first))):
        height, width = first.sides[i]
        target = first.targets[i]
        found = Found(target.boxes.astype(np.float64), target.labels, np.ones(len(target.labels)))
        photo = as_image(plan.view.restore(first.images[i, :, :height, :width]))
        images.append(drawn(photo, found, plan.dataset.classes, tags=False))
    return sheet(images, COLUMNS, CELL_PX)


def write(run: Run, plan: Plan, evaluation: BoxEvaluation, found: list[Found]) -> None:
    """Draw the test photos with most errors, and the busiest of those with none; detected.json says what is where."""
    split, classes = plan.dataset.splits["test"], plan.dataset.classes
    rows = []
    for i, (target, of) in enumerate(zip(split.targets, found, strict=True)):
        kinds = kinds_of([target], [of], evaluation.threshold)
        rows.append((sum(kinds.values()) - kinds["right"], kinds["right"], i, kinds))
    worst = sorted((r for r in rows if r[0]), key=lambda r: (-r[0], r[2]))[:WORST]
    best = sorted((r for r in rows if not r[0]), key=lambda r: (-r[1], r[2]))[:BEST]
    told = []
    for n, (wrong, _, i, kinds) in enumerate([*worst, *best]):
        try:
            photo = as_image(decode(split.images.paths[i], "RGB"))
        except BadPicture:
            continue
        scale = min(1.0, SIDE_PX / max(photo.size))
        small = photo.resize([max(1, round(v * scale)) for v in photo.size], Image.Resampling.LANCZOS)
        moved = Found(found[i].boxes * scale, found[i].labels, found[i].scores)
        truth = split.targets[i].boxes * np.float32(scale)
        file = f"detected/{n:02}.png"
        run.write_bytes(file, record.png(drawn(small, moved, classes, threshold=evaluation.threshold, truth=truth)))
        told.append({"file": file, "picture": split.names[i], "wrong": wrong, "kinds": kinds})
    run.write_json("detected.json", told)
    curves = [
        {"name": c.name, "boxes": c.boxes, **thinned(c.curve.recall, c.curve.precision, c.curve.scores)}
        for c in evaluation.classes
    ]
    run.write_json("precision_recall.json", curves)


def thinned(recall: np.ndarray, precision: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
    """A curve of at most some hundred points, its last included."""
    rows = np.unique(np.linspace(0, max(0, len(recall) - 1), min(200, len(recall))).astype(int))
    return {
        name: [round(float(v), 5) for v in values[rows]]
        for name, values in (("recall", recall), ("precision", precision), ("scores", scores))
    }
