"""The model card of a localizer: what it names and places, what it was made from, how good it is, what it cannot do."""

from collections.abc import Iterator
from pathlib import Path

from residua.report import say
from residua.report.boxes_card import FEW, data, elsewhere, training
from residua.report.boxes_run import listed, mapping
from residua.report.card import LICENCE, NOT_FOR, Part, written
from residua.report.files import RunFiles
from residua.report.localization import refined

#: A class that is answered wrongly more often than this is a limit.
ERROR = 0.4


def write_localization_card(run: RunFiles) -> Path:
    """Write ``model_card.md`` into the run folder of a localizer and return its path. Raises DataError."""
    view = mapping(run.summary.get("view"))
    second = ", with a second look at its surest places" if refined(run) else ""
    what = f"A classifier with a region head for each class{second}, on squares of {view.get('short_px')} px."
    parts = (
        Part("Intended use", tuple(_use(run))),
        Part("Not for", (NOT_FOR,)),
        Part("Data", tuple(data(run))),
        Part("Training", tuple(training(run, what))),
        Part("Results", tuple(_results(run)), points=True),
        Part("Known limits", tuple(_limits(run)), points=True),
        Part("Licence", (LICENCE,)),
    )
    arch, of = (say.label(run.summary.get(k, "")) for k in ("arch", "data"))
    return written(run.folder, f"{arch or 'a localizer'} names and places {of}", [p for p in parts if p.lines])


def _use(run: RunFiles) -> Iterator[str]:
    classes = [say.label(c) for c in run.summary.get("classes") or []]
    if classes:
        yield (
            f"Says which of {say.plural(len(classes), 'class', 'classes')} a picture shows, and where: "
            f"{', '.join(classes[:24])}. It is meant for pictures of one thing, like those that it was trained on."
        )


def _results(run: RunFiles) -> Iterator[str]:
    n = say.number(run.evaluation.get("n"))
    words = {
        "top1_localization_error": "Localization error, top 1", "top5_localization_error": "top 5",
        "given_localization_error": "with the class known", "top1_error": "Class error",
        "mean_box_given_error": "The mean box of the class, with the class known",
    }  # fmt: skip
    for key, name in words.items():
        value = say.number(run.evaluation.get(key))
        if value is not None and n:
            yield f"{name}: {say.percent(value)} ({n:,.0f} test images)"


def _limits(run: RunFiles) -> Iterator[str]:
    rows = [(r, n) for r in listed(run.evaluation.get("classes")) if (n := say.number(r.get("n")))]
    weak = [(r, w / n) for r, n in rows if (w := say.number(r.get("wrong"))) is not None and w / n > ERROR]
    if weak:
        told = ", ".join(f"{say.label(r.get('name', ''))} ({say.percent(v)})" for r, v in weak[:6])
        which = say.plural(len(weak), "class is", "classes are")
        yield f"{which} answered wrongly on more than {100 * ERROR:.0f} % of the test images: {told}."
    few = [r for r, n in rows if n < FEW]
    if few:
        told = ", ".join(f"{say.label(r.get('name', ''))} ({say.count(r.get('n'))})" for r in few[:6])
        yield f"Fewer than {FEW} test images, so their figures are rough: {told}."
    yield "It always answers with one class and one box, also where a picture shows nothing, or several things."
    yield from elsewhere("residua localize eval")
