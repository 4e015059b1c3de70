"""What is wrong with classes and files, as findings: what it is, how bad, how much of it, in a sentence, what to do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from residua.data.dataset import Indices
from residua.data.facts import UNEQUAL, imbalance
from residua.data.names import shown
from residua.data.seen import Seen
from residua.data.splits import some

#: How bad: what must be mended ends the command with exit code 3; what should be looked at; what is good to know.
MUST, SHOULD, NOTE = "must", "should", "note"

#: Copies of training pictures are more than a flaw of a held-out split where they are this share of it.
LEAK = 0.01

#: Notes that hold for more pictures than this name so many of them.
NAMED = 1000

#: A class of fewer training pictures than this is hard to learn.
FEW = 20

#: A crop should be thought about where it hides half of this share of a class's pictures, or of their mean area.
HALF = 0.5

Groups = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Finding:
    """One thing found: `count` pictures (or classes), as groups of positions that belong together, worst first.

    `remarks` say something of a picture by its position; `files` are what has no position: a path and what of it.
    """

    kind: str
    severity: str
    count: int
    sentence: str
    todo: str = ""
    groups: Groups = ()
    remarks: Mapping[int, str] = field(default_factory=dict)
    files: Sequence[tuple[str, str]] = ()


def pictures(n: int, what: str = "picture") -> str:
    """``1 picture``, ``2,000 pictures``, ``3 classes``."""
    return f"{n:,} {what}" + ("" if n == 1 else "es" if what.endswith("s") else "s")


def is_are(n: int) -> str:
    """The verb."""
    return "is" if n == 1 else "are"


def each(rows: Iterable[int]) -> list[tuple[int, ...]]:
    """Pictures one by one."""
    return [(int(i),) for i in rows]


def spread(rows: Indices, labels: Indices, n: int = NAMED) -> list[int]:
    """The first of `rows`, taken from each class in turn."""
    turn = np.empty(len(rows), np.int64)
    for c in np.unique(labels[rows]):
        turn[labels[rows] == c] = np.arange((labels[rows] == c).sum())
    return [int(i) for i in rows[np.lexsort((labels[rows], turn))[:n]]]


# -- classes --------------------------------------------------------------------------------------------------------


def classes(seen: Seen) -> Iterator[Finding]:
    """What keeps a training from starting, or a class from being learned or tested."""
    of, per = seen.of, seen.per_split
    train = {c for c, n in per.get("train", {}).items() if n}
    if of.advice or not train:
        why = of.advice or ("no usable picture" if not seen.good.any() else "no usable picture to train on")
        yield Finding(
            "nothing", MUST, 1, f"Nothing can be trained: {why}.", "Put pictures into a folder of each class."
        )
    elif len(train) < 2:
        yield Finding("one-class", MUST, 1, f"There is only one class, '{shown(min(train))}': a classifier needs two.")
    listed = (
        {of.classes[c] for c in np.unique(of.labels[of.split == of.splits.index("train")])} if "train" in per else set()
    )
    if lost := sorted(listed - train):
        sentence = f"No picture of {some([shown(c) for c in lost])} in train can be used."
        yield Finding("lost-class", MUST, len(lost), sentence, "Mend its pictures (below), or take its folder away.")
    strange = {c: s for s in of.splits if s != "train" for c, n in per[s].items() if n and c not in listed}
    if strange and train:
        words = some([f"'{shown(c)}' (in {s})" for c, s in strange.items()])
        todo = "Training refuses it: put pictures of it into train too, rename it, or take it away."
        rows = [int(i) for c in strange for i in np.flatnonzero(seen.good & (of.labels == of.classes.index(c)))[:3]]
        yield Finding(
            "unknown-class", MUST, len(strange), f"Not among the classes of train: {words}.", todo, each(rows)
        )
    for s in (s for s in of.splits if s != "train"):
        if not any(per[s].values()):
            yield Finding("lost-split", SHOULD, 1, f"No picture of {s} can be used.", "Training goes on as without it.")
        elif none := sorted(c for c in train if not per[s].get(c)):
            sentence = f"{s} has no picture of {some([shown(c) for c in none])}."
            yield Finding("missing-class", SHOULD, len(none), sentence, "How well it is recognised cannot be measured.")
    if of.empty:
        sentence = f"Folders without any picture: {some([shown(c) for c in of.empty])}."
        yield Finding(
            "empty-class", SHOULD, len(of.empty), sentence, "They are no classes. Fill them or take them away."
        )
    yield from few(seen, train)


def few(seen: Seen, train: Iterable[str]) -> Iterator[Finding]:
    """Classes with hardly a picture."""
    counts = seen.per_split.get("train", {})
    rare = sorted((n, c) for c, n in counts.items() if c in set(train) and n < FEW)
    if rare:
        words = some([f"{shown(c)} ({n})" for n, c in rare])
        bad = SHOULD if rare[0][0] < 3 else NOTE
        sentence = f"{pictures(len(rare), 'class')} of fewer than {FEW} training pictures: {words}."
        todo = "Of fewer than three none is held out. Take more pictures, or start from weights: --weights imagenet."
        yield Finding("few", bad, len(rare), sentence, todo)


def balance(seen: Seen) -> Iterator[Finding]:
    """Classes of very different size."""
    found = imbalance(seen.per_split.get("train", {}))
    if found and found["ratio"] > UNEQUAL:
        most, least = found["largest"], found["smallest"]
        sentence = (
            f"The largest class, {shown(most['class'])}, has {most['pictures']:,} training pictures, "
            f"{found['ratio']:.3g} times as many as the smallest, {shown(least['class'])} ({least['pictures']:,})."
        )
        yield Finding("imbalance", SHOULD, 1, sentence, "Rare classes would be missed more often: --balance sampler.")


# -- files ----------------------------------------------------------------------------------------------------------


def unusable(seen: Seen) -> Iterator[Finding]:
    """What cannot be used, is not used, or may be damaged."""
    of = seen.of
    torn = [s for s in of.skipped if s.reason.startswith("two labels")]
    if torn:
        sentence = f"{pictures(len(torn))} {is_are(len(torn))} listed with two labels."
        yield Finding(
            "torn", MUST, len(torn), sentence, "Keep the right row.", files=[(s.path, s.reason) for s in torn]
        )
    if n := len(seen.reasons):
        rows = sorted(seen.reasons, key=lambda i: (seen.reasons[i], i))
        sentence = f"{pictures(n, 'file')} of {len(of):,} cannot be used."
        yield Finding(
            "unusable", SHOULD, n, sentence,
            "Training leaves out what cannot be used, and lists it. Replace it, or take it away.",
            each(rows), seen.reasons,
        )  # fmt: skip
    others = [(s.path, s.reason) for s in of.skipped if not s.reason.startswith("two labels")]
    if others:
        sentence = f"{len(others):,} {'file or row is' if len(others) == 1 else 'files or rows are'} not used."
        yield Finding("not-used", NOTE, len(others), sentence, "", files=others[:NAMED])
    if of.litter:
        what = "file or folder is" if len(of.litter) == 1 else "files or folders are"
        sentence = f"{len(of.litter):,} hidden {what} passed over."
        files = [(name, "hidden, or left by a computer") for name in of.litter[:NAMED]]
        yield Finding("hidden", NOTE, len(of.litter), sentence, "", files=files)
    blank = seen.where(seen.looks["blank"])
    if len(blank):
        end = "ends" if len(blank) == 1 else "end"
        sentence = f"{pictures(len(blank))} {end} in one flat colour, as a file does of which the rest was lost."
        yield Finding(
            "blank",
            SHOULD,
            len(blank),
            sentence,
            "Look at them: they decode, and are trained on as they are.",
            each(blank),
        )
