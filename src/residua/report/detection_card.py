"""The model card of a detector: what it finds, what it was made from, how good it is, where it is not to be trusted."""

from collections.abc import Iterator
from pathlib import Path

from residua.report import say
from residua.report.boxes_card import FEW, data, elsewhere, training
from residua.report.boxes_run import mapping
from residua.report.card import LICENCE, NOT_FOR, Part, written
from residua.report.files import RunFiles

#: A class that is found with a lower average precision than this is a limit.
PRECISION = 0.7


def write_detection_card(run: RunFiles) -> Path:
    """Write ``model_card.md`` into the run folder of a detector and return its path. Raises DataError."""
    parts = (
        Part("Intended use", tuple(_use(run))),
        Part("Not for", (NOT_FOR,)),
        Part("Data", tuple(data(run))),
        Part("Training", tuple(training(run, _what(run)))),
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


def _what(run: RunFiles) -> str:
    detector, view = (mapping(run.summary.get(k)) for k in ("detector", "view"))
    form = "with a feature pyramid" if detector.get("form") == "fpn" else "in the C4 form"
    norm = say.label(detector.get("norm") or "")
    return f"Faster R-CNN {form}, norms {norm}, short side {view.get('short_px')} px."


def _results(run: RunFiles) -> Iterator[str]:
    coco, n = mapping(run.evaluation.get("coco")), say.number(run.evaluation.get("n"))
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
    few = [r for r in rows if (say.number(r.get("boxes")) or 0) < FEW]
    if few:
        told = ", ".join(f"{say.label(r.get('name', ''))} ({say.count(r.get('boxes'))})" for r in few[:6])
        yield f"Fewer than {FEW} test boxes, so their figures are rough: {told}."
    errors = mapping(run.evaluation.get("errors"))
    missed, right = say.number(errors.get("missed")), say.number(errors.get("right"))
    if missed is not None and right is not None and missed + right:
        yield f"At that score it misses {say.percent(missed / (missed + right))} of the boxes."
    yield from elsewhere("residua detect eval")
