"""What is wrong with pictures and their boxes, and what they are like: every file decoded once, nothing changed."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from residua.boxes.dataset import CUT, NO_AREA, OUTSIDE, TWICE, BadBox, Framed, Sound, framed, sound
from residua.boxes.listing import Marked
from residua.data.dataset import Skipped
from residua.data.decode import BadPicture, decode
from residua.data.names import shown
from residua.data.splits import some
from residua.errors import DataError

#: How bad: what must be mended ends the command with exit code 3; what should be looked at; what is good to know.
MUST, SHOULD, NOTE = "must", "should", "note"
#: A class of fewer boxes than this is hard to learn; a document names so many examples of a finding.
FEW, EXAMPLES = 20, 12
#: Pictures of one thing each have so many boxes on average at most.
SEVERAL = 1.5
#: Sides of boxes in pixels below which COCO calls them small, and medium.
SMALL_PX, MEDIUM_PX = 32, 96


@dataclass(frozen=True)
class Example:
    """A picture of a finding, by its position (-1: it is none), its name or a file's, what of it, and boxes to show."""

    picture: int
    name: str
    remark: str = ""
    boxes: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Finding:
    """One thing found: `count` of them, in a sentence, what to do, and some of them."""

    kind: str
    severity: str
    count: int
    sentence: str
    todo: str = ""
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, eq=False)
class BoxCheck:
    """What was found in a set of pictures with boxes, worst first."""

    of: Framed
    good: Sound
    unreadable: dict[int, str]
    findings: tuple[Finding, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def to_mend(self) -> list[Finding]:
        """What must be mended before a training makes sense."""
        return [f for f in self.findings if f.severity == MUST]

    def boxes_of(self, i: int) -> np.ndarray:
        """The boxes of picture i that are used (n, 4)."""
        own = np.arange(self.of.marked.starts[i], self.of.marked.starts[i + 1])
        return self.good.boxes[own[self.good.keep[own]]]

    def labels_of(self, i: int) -> np.ndarray:
        """What is in them (n,)."""
        own = np.arange(self.of.marked.starts[i], self.of.marked.starts[i + 1])
        return self.of.marked.labels[own[self.good.keep[own]]]

    @property
    def task(self) -> str:
        """What these pictures suit: localization where each shows one thing of one of several classes."""
        each = [self.labels_of(int(i)) for i in self.of.rows]
        things = [labels for labels in each if len(labels)]
        alone = len(self.of.marked.classes) > 1 and all(len(set(labels.tolist())) == 1 for labels in things)
        return "localization" if alone and sum(map(len, things)) <= SEVERAL * len(things) else "detection"

    def to_json(self) -> dict[str, Any]:
        """Everything as words, numbers and lists."""
        marked = self.of.marked
        return {
            "task": self.task, "name": marked.name, "spec": marked.where, "kind": marked.kind,
            "classes": list(marked.classes), **self.facts,
            "findings": [
                {
                    "kind": f.kind, "severity": f.severity, "count": f.count, "sentence": f.sentence, "todo": f.todo,
                    "groups": len(f.examples),
                    "examples": [[{"path": e.name, "remark": e.remark}] for e in f.examples[:EXAMPLES]],
                }
                for f in self.findings
            ],
            "skipped": [{"path": s.path, "reason": s.reason} for s in marked.skipped],
            "bad_boxes": [vars(b) | {"edges": list(b.edges)} for b in self.good.bad],
            "notes": list(marked.notes),
        }  # fmt: skip

    def rows(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Every example of every finding: kind, severity, sentence, path, remark."""
        for f in self.findings:
            for e in f.examples or (Example(-1, ""),):
                yield f.kind, f.severity, f.sentence, e.name, e.remark


def examine(marked: Marked, *, moved: Callable[[int], object] = lambda n: None) -> BoxCheck:
    """Decode every picture, check every box, and say what is found. Raises DataError where nothing is listed at all."""
    if not len(marked):
        first = next((f"; the first of {len(marked.skipped)}: {s.path}: {s.reason}" for s in marked.skipped), "")
        raise DataError(f"{shown(marked.where)}: no picture with an annotation{first}")
    of = framed(marked)
    good = sound(of)
    hashes: dict[int, str] = {}
    broken = dict(of.unusable)

    def look(i: int) -> tuple[int, str, str]:
        try:
            decode(marked.paths[i], "RGB")
            with open(marked.paths[i], "rb") as file:
                return i, hashlib.file_digest(file, "sha256").hexdigest(), ""
        except (BadPicture, OSError) as e:
            return i, "", getattr(e, "reason", None) or str(e)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for i, digest, reason in pool.map(look, of.rows.tolist()):
            moved(1)
            if reason:
                broken[i] = reason
            else:
                hashes[i] = digest
    moved(len(marked) - len(of.rows))
    found = [
        *classes(of, good, broken),
        *files(marked, broken),
        *copies(marked, hashes),
        *boxes(of, good),
        *kinds(of, good),
    ]
    order = sorted((f for f in found if f.count), key=lambda f: (MUST, SHOULD, NOTE).index(f.severity))
    return BoxCheck(of, good, broken, tuple(order), facts(of, good, broken))


# -- facts ----------------------------------------------------------------------------------------------------------


def facts(of: Framed, good: Sound, broken: dict[int, str]) -> dict[str, Any]:
    """Pictures and boxes of each class and split, sizes, how many boxes a picture has."""
    marked, owner = of.marked, of.marked.owner()
    usable = np.array([i not in broken for i in range(len(marked))])
    keep = good.keep & usable[owner]
    split = np.array([("train", "val", "test").index(s) for s in marked.splits])
    names = [s for s in ("train", "val", "test") if s in marked.splits]
    sides = good.boxes[keep][:, 2:] - good.boxes[keep][:, :2]
    root = np.sqrt(sides.prod(1)) if len(sides) else np.zeros(0)
    each = np.bincount(owner[keep], minlength=len(marked))[usable]
    return {
        "pictures": {n: int((usable & (split == ("train", "val", "test").index(n))).sum()) for n in names},
        "splits": {
            n: {
                c: int(((marked.labels == k) & keep & (split[owner] == ("train", "val", "test").index(n))).sum())
                for k, c in enumerate(marked.classes)
            }
            for n in names
        },
        "boxes": int(keep.sum()),
        "box_sizes": {
            "small": int((root < SMALL_PX).sum()), "medium": int(((root >= SMALL_PX) & (root < MEDIUM_PX)).sum()),
            "large": int((root >= MEDIUM_PX).sum()),
        },
        "boxes_per_picture": {
            "median": float(np.median(each)) if len(each) else 0.0, "most": int(each.max(initial=0)),
            "none": int((each == 0).sum()),
        },
        "sides": of.sizes[usable][:, ::-1][:1500].tolist(),
    }  # fmt: skip


# -- findings -------------------------------------------------------------------------------------------------------


def counted(n: int, what: str) -> str:
    """``1 box``, ``2 boxes``."""
    return f"{n:,} {what}" + ("" if n == 1 else "es" if what.endswith(("x", "s")) else "s")


def classes(of: Framed, good: Sound, broken: dict[int, str]) -> Iterator[Finding]:
    """Classes that cannot be learned, or hardly."""
    marked, owner = of.marked, of.marked.owner()
    usable = np.array([i not in broken for i in range(len(marked))])
    train = np.array([s == "train" for s in marked.splits])
    keep = good.keep & usable[owner]
    counts = np.bincount(marked.labels[keep & train[owner]], minlength=len(marked.classes))
    every = np.bincount(marked.labels[keep], minlength=len(marked.classes))
    if not counts.sum():
        yield Finding("nothing", MUST, 1, "No picture of train has a usable box.", "Draw boxes, or give more pictures.")
        return
    if lost := [c for c, n, m in zip(marked.classes, counts, every, strict=True) if m and not n]:
        yield Finding(
            "lost-class", MUST, len(lost), f"{some(lost)} has boxes, but none in train: it cannot be learned."
        )
    if few := [f"{c} ({n})" for c, n in zip(marked.classes, counts, strict=True) if 0 < n < FEW]:
        yield Finding(
            "few", SHOULD, len(few), f"Classes of fewer than {FEW} training boxes: {some(few)}.", "Draw more."
        )
    if bare := [c for c, m in zip(marked.classes, every, strict=True) if not m]:
        yield Finding("bare-class", NOTE, len(bare), f"Classes without any box: {some(bare)}.")


def files(marked: Marked, broken: dict[int, str]) -> Iterator[Finding]:
    """Pictures that cannot be used; annotations without pictures, and the reverse."""
    if broken:
        examples = tuple(Example(-1, marked.names[i], reason) for i, reason in broken.items())
        sentence = f"{counted(len(broken), 'picture')} of {len(marked):,} cannot be used."
        yield Finding("unusable", SHOULD, len(broken), sentence, "Training leaves them out. Replace them.", examples)
    bare = [s for s in marked.skipped if s.reason == "no annotation"]
    others = [s for s in marked.skipped if s.reason != "no annotation"]
    if bare:
        sentence = (
            f"{counted(len(bare), 'picture')} without an annotation {'is' if len(bare) == 1 else 'are'} left out."
        )
        todo = "Annotate them; an empty annotation says that nothing is there."
        yield Finding("no-annotation", SHOULD, len(bare), sentence, todo, told(bare))
    if others:
        sentence = (
            f"{len(others):,} {'file, row or box is' if len(others) == 1 else 'files, rows or boxes are'} not used."
        )
        yield Finding("not-used", SHOULD, len(others), sentence, "", told(others))


def told(skipped: Sequence[Skipped]) -> tuple[Example, ...]:
    """Files and rows as examples."""
    return tuple(Example(-1, s.path, s.reason) for s in skipped)


def copies(marked: Marked, hashes: dict[int, str]) -> Iterator[Finding]:
    """Pictures that are there more than once, file by file."""
    groups: dict[str, list[int]] = {}
    for i, digest in hashes.items():
        groups.setdefault(digest, []).append(i)
    twice = [g for g in groups.values() if len(g) > 1]
    across = [g for g in twice if len({marked.splits[i] for i in g}) > 1]
    within = [g for g in twice if g not in across]
    for which, severity, kind, where in (
        (across, MUST, "leak", "in more than one split: what is measured is too good"),
        (within, SHOULD, "copies", "more than once in a split"),
    ):
        examples = tuple(Example(i, marked.names[i], marked.splits[i]) for g in which for i in g)
        sentence = f"{counted(len(which), 'picture')} {'is' if len(which) == 1 else 'are'} {where}, file by file."
        yield Finding(kind, severity, len(which), sentence, "Keep each once.", examples)


def boxes(of: Framed, good: Sound) -> Iterator[Finding]:
    """Boxes that are left out or cut."""
    rows = {name: i for i, name in enumerate(of.marked.names)}

    def examples(bad: Sequence[BadBox]) -> tuple[Example, ...]:
        return tuple(Example(rows[b.picture], b.picture, words(b), (b.edges,)) for b in bad)

    for reason, kind, what, todo in (
        (NO_AREA, "no-area", "without area", "A click without a drag: draw them again, or take them away."),
        (OUTSIDE, "outside", "outside their pictures", "Were the pictures scaled or turned after they were annotated?"),
        (TWICE, "twice", "there twice", "The second one is left out."),
    ):
        bad = [b for b in good.bad if b.reason == reason]
        sentence = f"{counted(len(bad), 'box')} {'is' if len(bad) == 1 else 'are'} {what}."
        yield Finding(kind, SHOULD, len(bad), sentence, todo, examples(bad))
    cut = [b for b in good.cut if b.reason == CUT]
    yield Finding(
        "cut", NOTE, len(cut), f"{counted(len(cut), 'box')} reach beyond their pictures and are cut at the edge.", "",
        examples(cut),
    )  # fmt: skip


def words(bad: BadBox) -> str:
    """A box in words."""
    return f"box {bad.number}, {bad.label}: " + ", ".join(f"{e:g}" for e in bad.edges)


def kinds(of: Framed, good: Sound) -> Iterator[Finding]:
    """How pictures and boxes are read."""
    marked = of.marked
    if of.misfit:
        examples = tuple(Example(i, marked.names[i], misfit(of, i)) for i in of.misfit)
        sentence = f"{counted(len(of.misfit), 'picture')} have another size than their annotations say."
        todo = "Boxes are taken as pixels of the picture; if it was scaled, scale them too."
        yield Finding("misfit", SHOULD, len(of.misfit), sentence, todo, examples)
    if of.turned:
        examples = tuple(Example(i, marked.names[i]) for i in of.turned)
        sentence = f"{counted(len(of.turned), 'picture')} are stored turned, with boxes of the stored frame."
        yield Finding("turned", NOTE, len(of.turned), sentence, "Both are set upright.", examples)
    owner = marked.owner()
    empty = [i for i in of.rows.tolist() if not good.keep[owner == i].any()]
    if empty:
        sentence = f"{counted(len(empty), 'picture')} have no box and count as background."
        yield Finding("background", NOTE, len(empty), sentence, "", tuple(Example(i, marked.names[i]) for i in empty))
    aside = int((marked.difficult | marked.crowd).sum())
    yield Finding(
        "aside", NOTE, aside, f"{counted(aside, 'box')} are difficult or crowds: neither demanded nor counted."
    )


def misfit(of: Framed, i: int) -> str:
    """Both sizes."""
    (width, height), (h, w) = of.marked.stated[i].tolist(), of.sizes[i].tolist()
    return f"{width} x {height} in the annotation, {w} x {h} in the file"
