"""The model card: what the model is for, what it was made from, how good it is, and where it is not to be trusted.

Source of the form: Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv:1810.03993.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from residua.files import write
from residua.report import facts, say
from residua.report.confusion import matrix_of
from residua.report.files import RunFiles
from residua.report.reliability import panels_of
from residua.report.scores import scores
from residua.report.trust import leaning, temperature

#: A class that is found less often than this, one with fewer test images, a test set with fewer: each is a limit.
RECALL, CLASS_IMAGES, TEST_IMAGES = 0.8, 20, 1000
#: A calibration error above this is a limit; so is a commonest class that is so many times as large as the rarest.
ECE, IMBALANCE = 0.05, 5
#: Classes that a sentence names, at most.
NAMED = 6

LICENCE = "The model that you train is yours."
NOT_FOR = (
    "Nothing that harms someone when the answer is wrong: no decision about people, health, safety or rights rests on "
    "this model alone. Whoever uses it tests it on pictures of that use first and answers for what is done with it."
)


@dataclass(frozen=True)
class Part:
    """One part of the card: sentences, or points in a list."""

    title: str
    lines: tuple[str, ...]
    points: bool = False


def card(files: RunFiles) -> list[Part]:
    """The parts of the model card of a run; of an unfinished one what is known so far."""
    parts = (
        Part("Intended use", tuple(_use(files))),
        Part("Not for", (NOT_FOR,)),
        Part("Data", tuple(_data(files))),
        Part("Training", tuple(_training(files))),
        Part("Results", tuple(_results(files)), points=True),
        Part("Known limits", tuple(limits(files)), points=True),
        Part("Licence", (LICENCE,)),
    )
    return [p for p in parts if p.lines]


def write_card(files: RunFiles) -> Path:
    """Write ``model_card.md`` into the run folder and return its path. Raises DataError where it cannot be written."""
    net, data = facts.titles(files)
    return written(files.folder, f"{net} on {data}", card(files))


def written(folder: Path, title: str, parts: Sequence[Part]) -> Path:
    """Write the parts of a card into ``model_card.md`` of a folder and return its path. Raises DataError."""
    lines = [f"# {_markdown(title)}", ""]
    for part in parts:
        lines += [f"## {part.title}", ""]
        lines += [f"- {_markdown(line)}" if part.points else f"{_markdown(line)}\n" for line in part.lines]
        lines += [""] if part.points else []
    out = folder / "model_card.md"
    write(out, "\n".join(lines).encode("utf-8", "backslashreplace"))
    return out


def _markdown(text: str) -> str:
    """Words of a user as Markdown shows them: nothing in them is a mark or a tag."""
    return re.sub(r"([\\`*_{}\[\]<>#|&~$])", r"\\\1", text.replace(say.JOIN, " "))


# -- the parts ------------------------------------------------------------------------------------------------------


def _classes(files: RunFiles) -> list[str]:
    found = files.evaluation.get("classes") or files.data_check.get("classes") or []
    return [say.label(c) for c in found] if isinstance(found, list) else []


def _listed(names: list[str], most: int = 24) -> str:
    rest = f" and {say.count(len(names) - most)} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _use(files: RunFiles) -> Iterator[str]:
    classes = _classes(files)
    if classes:
        yield (
            f"Says which of {say.plural(len(classes), 'class', 'classes')} a picture shows: {_listed(classes)}. "
            "It is meant for pictures like those that it was trained on."
        )


def _data(files: RunFiles) -> Iterator[str]:
    counts = {facts.SPLITS.get(s, s): sum(v.values()) for s, v in facts.splits(files).items()}
    _, data = facts.titles(files)
    told = (f"{say.count(n) if i else say.plural(n, 'image')} {what}" for i, (what, n) in enumerate(counts.items()))
    images = ", ".join(told)
    mark = say.label(files.data_check.get("fingerprint") or "")
    yield f"{data}: {images}." if images else f"{data}."
    if mark:
        yield f"Fingerprint {mark}: the same data give the same fingerprint."


def _training(files: RunFiles) -> Iterator[str]:
    told = dict(facts.recipe_facts(files))
    words = [f"{told['recipe']} ({told['source']})" if "source" in told else told["recipe"]] if "recipe" in told else []
    words += [f"{k} {told[k]}" for k in ("length", "batch", "optimiser", "learning rate") if k in told]
    words += [f"seed {files.summary['seed']}"] if say.number(files.summary.get("seed")) is not None else []
    if words:
        yield f"Recipe {', '.join(words)}."
    engine = files.environment.get("engine") if isinstance(files.environment.get("engine"), str) else ""
    place = files.environment.get("gpu") or files.environment.get("processor")
    seconds = say.number(files.summary.get("seconds"))
    machine = ", ".join(say.label(w) for w in (place, engine) if w)
    if machine:
        yield f"Trained on {machine}{f', in {say.duration(seconds)}' if seconds else ''}."


def _results(files: RunFiles) -> Iterator[str]:
    e = files.evaluation
    n, wrong = say.number(e.get("n")), say.number(e.get("wrong"))
    for s in scores(files):
        count = f", {say.count(wrong)} of {say.count(n)} test images" if s.word == "top1_error" and n else ""
        yield f"{s.name} {s.text}{f' (95 % interval {s.range}{count})' if s.range else count}"
    if isinstance(e.get("calibration"), dict):
        yield temperature(files).rstrip(".")


# -- known limits, from the numbers ---------------------------------------------------------------------------------


def limits(files: RunFiles) -> Iterator[str]:
    """What the numbers of the run warn of, one sentence each; never empty."""
    if not files.finished:
        yield "The training is not finished: nothing has been tested yet."
    yield from _against_chance(files)
    yield from _weak_classes(files)
    yield from _sureness(files)
    yield from _size(files)
    yield from _training_images(files)
    skipped = files.data_check.get("skipped")
    if isinstance(skipped, list) and skipped:
        verb = "was" if len(skipped) == 1 else "were"
        yield f"{say.plural(len(skipped), 'file')} of the data {verb} left out and never seen."
    yield "It names one of its classes for every picture, also for one that shows none of them."
    yield (
        "The test images come from the same source as the training images; of pictures from elsewhere, another camera "
        "or another time, expect more errors and count them with residua eval."
    )


def _against_chance(files: RunFiles) -> Iterator[str]:
    """Whether always naming the commonest class would be as good, within the interval."""
    matrix, error = matrix_of(files), next((s for s in scores(files) if s.word == "top1_error"), None)
    if matrix is None or error is None or not matrix.counts.sum():
        return
    blind = float(1 - matrix.counts.sum(1).max() / matrix.counts.sum())
    if (error.value if error.high is None else error.high) >= blind:
        yield (
            f"It is not clearly better than always naming the commonest class, which would miss {say.percent(blind)}."
        )


def _weak_classes(files: RunFiles) -> Iterator[str]:
    rows = files.evaluation.get("per_class")
    found = [
        (recall, int(n), say.label(r.get("name", "")))
        for r in (rows if isinstance(rows, list) else [])
        if isinstance(r, dict) and (n := say.number(r.get("n"))) and (recall := say.number(r.get("recall"))) is not None
    ]
    weak = sorted(f for f in found if f[0] < RECALL)
    if weak:
        words = [f"{name} ({say.percent(recall, 1)} of {say.count(n)})" for recall, n, name in weak]
        yield (
            f"{len(weak)} of {say.plural(len(found), 'class', 'classes')} {'is' if len(weak) == 1 else 'are'} found "
            f"less than {say.percent(RECALL, 1)} of the time: {_listed(words, NAMED)}."
        )
    few = [(n, name) for _, n, name in found if n < CLASS_IMAGES]
    if few:
        words = [f"{name} ({n})" for n, name in sorted(few)]
        yield f"Fewer than {CLASS_IMAGES} test images, so their rates are rough: {_listed(words, NAMED)}."


def _sureness(files: RunFiles) -> Iterator[str]:
    calibration = files.evaluation.get("calibration")
    panels = panels_of(calibration) if isinstance(calibration, dict) else []
    if panels and (error := say.number(panels[-1][1])) is not None and error > ECE:
        lean = leaning(panels[-1][2])
        how = "" if lean.startswith("as") else f": on the whole it is {lean}"
        yield f"Its probabilities are off by {say.percent(error)} on average{how}."


def _size(files: RunFiles) -> Iterator[str]:
    error = next((s for s in scores(files) if s.word == "top1_error"), None)
    n = say.number(files.evaluation.get("n"))
    if error is not None and n and n < TEST_IMAGES and error.range:
        yield f"{say.plural(n, 'test image')} leave room: an error of {error.range} is plausible."


def _training_images(files: RunFiles) -> Iterator[str]:
    counts = {name: n for name, n in facts.splits(files).get("train", {}).items() if n}
    if len(counts) < 2:
        return
    rare, common = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[common] >= IMBALANCE * counts[rare]:
        yield (
            f"The classes are uneven: {say.plural(counts[rare], 'training image')} of {say.label(rare)}, "
            f"{say.count(counts[common])} of {say.label(common)}."
        )
