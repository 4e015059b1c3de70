"""What is wrong with a data set, and what it is like: every picture looked at once, nothing changed.

``examine(material("./photos"))`` reports what `open_data` would refuse; only what is no data at all is an error.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from residua.data.copies import copies, near_copies
from residua.data.dataset import ArrayImages, Skipped
from residua.data.decode import BadPicture, as_image, decode
from residua.data.facts import hidden_by_crop, imbalance, sizes
from residua.data.findings import MUST, NOTE, SHOULD, Finding, balance, classes, unusable
from residua.data.folder import class_folders, root_of, split_folders
from residua.data.known import open_known
from residua.data.names import KNOWN, check_spec
from residua.data.names import hidden as is_hidden
from residua.data.scan import LOOK, look_at_array, scan
from residua.data.seen import ORDER, Material, Seen
from residua.data.shapes import kinds, shapes
from residua.data.sources import listed

#: What a document names of each finding: groups, and pictures of a group.
GROUPS, MEMBERS = 12, 6

#: Pictures whose sides are told one by one, spread evenly.
SIDES = 1500

#: Hidden names that are told.
LITTER = 200


@dataclass(frozen=True)
class Proposal:
    """What suits the data: an option's value, why, and the flag; training does what is `automatic` by itself."""

    what: str
    value: str
    why: str
    flag: str
    automatic: bool


@dataclass(frozen=True, eq=False)
class Check:
    """What was found in a data set, worst first; `proposals` and `command` say how to train on it (``job.propose``)."""

    seen: Seen
    findings: tuple[Finding, ...]
    seconds: float
    proposals: tuple[Proposal, ...] = ()
    command: str = ""

    @property
    def to_mend(self) -> list[Finding]:
        """What must be mended before a training makes sense."""
        return [f for f in self.findings if f.severity == MUST]

    @property
    def pictures(self) -> int:
        """How many pictures can be used."""
        return int(self.seen.good.sum())

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of train that have a usable picture."""
        train = self.seen.per_split.get("train", {})
        return tuple(c for c, n in train.items() if n)

    def picture(self, i: int) -> Image.Image | None:
        """Picture i, upright, in colour; None where it cannot be read."""
        of = self.seen.of
        for array in of.arrays:
            if i < len(array):
                return as_image(array[i]).convert("RGB")
            i -= len(array)
        try:
            return as_image(decode(of.paths[i], "RGB"))
        except BadPicture:
            return None

    def picture_of(self) -> Callable[[str], Image.Image | None]:
        """A function from the names that findings hold to pictures."""
        rows = {self.seen.of.names[int(i)]: int(i) for f in self.findings for g in f.groups for i in g}
        return lambda name: self.picture(rows[name]) if name in rows else None

    def to_json(self) -> dict[str, Any]:
        """Everything as words, numbers and lists; pictures go by their names."""
        seen, of = self.seen, self.seen.of
        looks = seen.looks[seen.good]
        return {
            "name": of.name,
            "spec": of.spec,
            "known": of.known,
            "files": len(of),
            "pictures": self.pictures,
            "classes": list(self.classes),
            "splits": seen.per_split,
            "channels": seen.channels,
            "side_px": seen.dataset.side_px,
            "sizes": sizes(looks["width"], looks["height"]),
            "sides": sides(seen),
            "formats": tally(looks["format"]),
            "modes": tally(looks["mode"]),
            "imbalance": imbalance(seen.per_split.get("train", {})),
            "hidden_by_crop": hidden_of(seen),
            "findings": [told(f, seen) for f in self.findings],
            "skipped": [{"path": s.path, "reason": s.reason} for s in left_out(seen)],
            "notes": list(of.notes),
            "proposals": [vars(p) for p in self.proposals],
            "command": self.command,
            "seconds": round(self.seconds, 2),
        }

    def rows(self) -> Iterator[tuple[str, str, str, int, str, str, str, str]]:
        """Every finding picture by picture: kind, severity, sentence, group, path, label, split, remark."""
        of = self.seen.of
        for f in self.findings:
            if not f.groups and not f.files:
                yield f.kind, f.severity, f.sentence, 0, "", "", "", ""
            for g, group in enumerate(f.groups, 1):
                for i in map(int, group):
                    where = of.classes[of.labels[i]], of.splits[of.split[i]]
                    yield f.kind, f.severity, f.sentence, g, of.names[i], *where, f.remarks.get(i, "")
            for g, (path, remark) in enumerate(f.files, 1):
                yield f.kind, f.severity, f.sentence, g, path, "", "", remark


def tally(values: Any) -> dict[str, int]:
    """How often each word occurs, the most frequent first."""
    words, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(words[i]): int(counts[i]) for i in order if str(words[i])}


def sides(seen: Seen) -> list[list[int]]:
    """Width and height of some pictures, spread evenly over all; of one where all are of one size."""
    rows = np.flatnonzero(seen.good)
    rows = rows[:1] if seen.dataset.same_size else rows
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(SIDES, len(rows))).astype(np.int64))]
    found: list[list[int]] = np.stack([seen.looks["width"][rows], seen.looks["height"][rows]], axis=1).tolist()
    return found


def hidden_of(seen: Seen) -> dict[str, Any]:
    """What a centre crop would hide of each class, with the sides of the view that was reckoned with."""
    if not seen.good.any():  # and so no view
        return {}
    looks = seen.looks[seen.good]
    return hidden_by_crop(
        seen.view, (looks["width"], looks["height"]), seen.of.labels[seen.good], classes=seen.of.classes
    )


def left_out(seen: Seen) -> Iterator[Skipped]:
    """Everything that is not used, with the reason."""
    yield from seen.of.skipped
    yield from (Skipped(seen.of.names[i], reason) for i, reason in sorted(seen.reasons.items()))


def told(finding: Finding, seen: Seen) -> dict[str, Any]:
    """A finding for a document: some of its groups, and of each some pictures."""
    of = seen.of

    def picture(i: int) -> dict[str, Any]:
        label, split = of.classes[of.labels[i]], of.splits[of.split[i]]
        return {"path": of.names[i], "label": label, "split": split, "remark": finding.remarks.get(i, "")}

    examples = [[picture(int(i)) for i in islice(group, MEMBERS)] for group in islice(finding.groups, GROUPS)]
    examples += [
        [{"path": path, "label": "", "split": "", "remark": remark}] for path, remark in islice(finding.files, GROUPS)
    ]
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "count": finding.count,
        "sentence": finding.sentence,
        "todo": finding.todo,
        "groups": max(len(finding.groups), len(finding.files)),
        "examples": examples,
    }


# -- looking --------------------------------------------------------------------------------------------------------


def material(spec: str, *, root: str | None = None) -> Material:
    """What a folder, a table or a known set holds, before any picture is looked at.

    Raises UsageError for a word that names nothing, DataError where nothing can be listed or read at all.
    """
    check_spec(spec)
    if spec in KNOWN:
        return known(spec, root)
    listing = listed(spec)
    files = listing.files
    words = sorted({files.labels.words[c] for c in np.unique(files.labels.codes).tolist()})
    label = np.array([words.index(w) if w in words else -1 for w in files.labels.words], np.int64)
    there = [s for s in ORDER if s in files.splits.words]
    split = np.array([there.index(w) if w in there else -1 for w in files.splits.words], np.int64)
    made = Material(
        spec=spec, name=listing.name, names=files.names, classes=tuple(words),
        labels=label[files.labels.codes], splits=tuple(there), split=split[files.splits.codes],
        paths=files.paths, skipped=listing.skipped, notes=listing.notes, advice=listing.advice,
        groups=files.group_codes() is not None,
    )  # fmt: skip
    if not os.path.isdir(root_of(spec)):
        return made
    folders = class_folders(split_folders(root_of(spec))["train"])
    return replace(
        made, empty=tuple(sorted(set(folders) - set(words))), litter=tuple(islice(litter(root_of(spec)), LITTER))
    )


def known(name: str, root: str | None) -> Material:
    """A known set."""
    dataset = open_known(name, root=root)
    splits = tuple(s for s in ORDER if s in dataset.splits)
    parts = [dataset.splits[s] for s in splits]
    return Material(
        spec=name, name=name, names=[n for p in parts for n in p.names], classes=dataset.classes,
        labels=np.concatenate([p.labels for p in parts]), splits=splits,
        split=np.repeat(np.arange(len(parts)), [len(p) for p in parts]),
        arrays=tuple(p.images for p in parts if isinstance(p.images, ArrayImages)), root=root or "",
    )  # fmt: skip


def litter(root: Path) -> Iterator[str]:
    """The names (relative to `root`, POSIX) of what is hidden in a folder, or left there by a computer."""
    for here, folders, files in os.walk(root):
        names = sorted(n for n in (*folders, *files) if is_hidden(n))
        yield from ((Path(here) / n).relative_to(root).as_posix() for n in names)
        folders[:] = sorted(f for f in folders if not is_hidden(f))


def examine(what: Material, *, workers: int = 0, moved: Callable[[int], object] = lambda n: None) -> Check:
    """Look at every picture, by `workers` processes, and say what is found; `moved` hears of pictures that are done."""
    began = time.monotonic()
    looks = np.zeros(len(what), LOOK)
    reasons: dict[int, str] = {}
    if what.arrays:
        first = 0
        for array in what.arrays:
            looks[first : first + len(array)] = look_at_array(array.array.numpy())
            moved(len(array))
            first += len(array)
    else:
        for part in scan(what.paths, workers):
            looks[part.first : part.first + len(part.looks)] = part.looks
            reasons |= part.reasons
            moved(len(part.looks))
    seen = Seen(what, looks, reasons)
    return Check(seen, tuple(findings(seen)), time.monotonic() - began)


def findings(seen: Seen) -> list[Finding]:
    """Everything that is found, the worst first; none is a must in a known set, which nobody here can mend."""
    parts = (classes(seen), unusable(seen), copies(seen), near_copies(seen), balance(seen), shapes(seen), kinds(seen))
    found = [f for part in parts for f in part if f.count]
    if seen.of.known:
        found = [Finding(**{**vars(f), "severity": SHOULD if f.severity == MUST else f.severity}) for f in found]
    return sorted(found, key=lambda f: (MUST, SHOULD, NOTE).index(f.severity))
