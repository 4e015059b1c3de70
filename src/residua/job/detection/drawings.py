"""The pictures of a detector's test: photos with what was found in them, and curves."""

import numpy as np

from residua.boxes.found import Found
from residua.detect.counts import BoxEvaluation, kinds_of
from residua.job import record
from residua.job.boxes.drawings import BEST, WORST, photo_of
from residua.job.detection.plan import Plan
from residua.training.run import Run


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
        photo = photo_of(split, i, found[i], classes, evaluation.threshold)
        if photo is None:
            continue
        file = f"detected/{n:02}.png"
        run.write_bytes(file, record.png(photo))
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
