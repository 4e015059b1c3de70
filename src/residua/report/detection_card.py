"""The model card of a detector: what it finds, what it was made from, how good it is, where it is not to be trusted."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from residua.report import say
from residua.report.card import LICENCE, NOT_FOR, Part, written
from residua.report.files import RunFiles

#: A class that is found with a lower average precision than this, one with fewer test boxes: each is a limit.
PRECISION, BOXES = 0.7, 50


def write_detection_card(run: RunFiles) -> Path:
    """Write ``model_card.md`` into the run folder of a detector and return its path. Raises DataError."""
    parts = (
        Part("Intended use", tuple(_use(run))),
        Part("Not for", (NOT_FOR,)),
        Part("Data", tuple(_data(run))),
        Part("Training", tuple(_training(run))),
        Part("Results", tuple(_results(run)), points=True),
        Part("Known limits", tuple(_limits(run)), points=True),
        Part("Licence", (LICENCE,)),
    )
    title = f"{say.label(run.summary.get('arch', 'a detector'))} finds in {say.label(run.summary.get('data', ''))}"
    return written(run.folder, title, [p for p in parts if p.lines])


def _use(run: RunFiles) -> Iterator[str]:
    classes = [say.label(c) for c in run.summary.get("classes") or []]
    if classes:
        yield (
            f"Says where on a picture there is something of {say.plural(len(classes), 'class', 'classes')}: "
            f"{', '.join(classes[:24])}. It is meant for pictures like those that it was trained on."
        )


def _data(run: RunFiles) -> Iterator[str]:
    images, boxes = (_mapping(run.summary.get(k)) for k in ("images", "boxes"))
    words = {"train": "for training", "val": "for choosing", "test": "for testing"}
    told = [f"{n:,} images with {boxes.get(s, 0):,} boxes {words.get(s, s)}" for s, n in images.items()]
    yield f"{say.label(run.summary.get('data', ''))}: {'; '.join(told)}."
    if mark := say.label(run.data_check.get("fingerprint") or ""):
        yield f"Fingerprint {mark}: the same data give the same fingerprint."


def _training(run: RunFiles) -> Iterator[str]:
    recipe, detector = (_mapping(run.summary.get(k)) for k in ("recipe", "detector"))
    view = _mapping(run.summary.get("view"))
    form = "with a feature pyramid" if detector.get("form") == "fpn" else "in the C4 form"
    norm, name, source = (say.label(v or "") for v in (detector.get("norm"), recipe.get("name"), recipe.get("source")))
    yield f"Faster R-CNN {form}, norms {norm}, short side {view.get('short_px')} px."
    yield f"Recipe {name} ({source}), batch {recipe.get('batch_size')}."
    seconds = say.number(run.summary.get("seconds"))
    if seconds:
        yield f"Trained on {say.label(run.environment.get('processor', ''))} in {say.duration(seconds)}."


def _results(run: RunFiles) -> Iterator[str]:
    coco, n = _mapping(run.evaluation.get("coco")), say.number(run.evaluation.get("n"))
    boxes = say.number(run.evaluation.get("boxes"))
    for key, words in (("ap50", "AP50, at overlap 0.5"), ("ap", "AP, over overlaps 0.5 to 0.95")):
        value = say.number(coco.get(key))
        if value is not None and n and boxes:
            yield f"{words}: {say.percent(value)} ({n:,.0f} test images, {boxes:,.0f} boxes)"
    f1, threshold = (say.number(run.evaluation.get(k)) for k in ("f1", "threshold"))
    if f1 is not None and threshold is not None:
        yield f"F1 {f1:.3f} at the score {threshold:.2f}"


def _limits(run: RunFiles) -> Iterator[str]:
    rows = [r for r in run.evaluation.get("classes") or [] if isinstance(r, dict)]
    weak = [(r, v) for r in rows if (v := say.number(r.get("ap50"))) is not None and v < PRECISION]
    if weak:
        told = ", ".join(f"{say.label(r.get('name', ''))} ({say.percent(v)})" for r, v in weak[:6])
        n = say.plural(len(weak), "class is", "classes are")
        yield f"{n} found with an AP50 below {100 * PRECISION:.0f} %: {told}."
    few = [r for r in rows if (say.number(r.get("boxes")) or 0) < BOXES]
    if few:
        told = ", ".join(f"{say.label(r.get('name', ''))} ({say.count(r.get('boxes'))})" for r in few[:6])
        yield f"Fewer than {BOXES} test boxes, so their figures are rough: {told}."
    errors = _mapping(run.evaluation.get("errors"))
    missed, right = say.number(errors.get("missed")), say.number(errors.get("right"))
    if missed is not None and right is not None and missed + right:
        yield f"At that score it misses {say.percent(missed / (missed + right))} of the boxes."
    yield "It has learned nothing of things of other classes, and may take them for its own."
    yield (
        "The test images come from the same source as the training images; of pictures from elsewhere, another camera "
        "or another time, expect more errors and count them with residua detect eval."
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
