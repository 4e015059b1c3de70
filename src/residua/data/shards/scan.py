"""Shards that nobody wrote an index of: their headers gone through once, every picture looked at, the index kept.

A sample is what follows itself under one key: a picture, and its class in ``KEY.cls`` (a number, or a name) or in
``KEY.json`` (label, cls, class or target). Numbers are named by a classes.txt beside the shards, or by themselves.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import IO, Any

import numpy as np

from residua.data.cache import home
from residua.data.compact import Coding, GrowingNames, GrowingTexts
from residua.data.dataset import Skipped
from residua.data.decode import EXTENSIONS
from residua.data.inspection import FACTS, Facts, all_seen
from residua.data.shards.headers import LABEL, PICTURE, Entry, entries, key_of
from residua.data.shards.index import COLUMNS, NAMED, Index, Part, read_index
from residua.data.shards.layout import CLASSES, TAR
from residua.data.shards.members import Members
from residua.data.shards.shard import Shard, told
from residua.data.shards.store import store
from residua.errors import DataError, ResiduaError
from residua.files import write

#: Where the class stands in ``KEY.json``, the surest first.
LABELS = ("class", "label", "cls", "target")

#: Endings that one sample has at most.
ENDINGS = 64

#: Where a picture lies.
WHERE = ("shard", "offset", "size")

Label = int | str


@dataclass
class Growing:
    """An index to be; `facts` are what the pictures of each shard say of themselves."""

    names: GrowingNames = field(default_factory=GrowingNames)
    members: GrowingTexts = field(default_factory=GrowingTexts)
    labels: Coding = field(default_factory=Coding)
    named: set[str] = field(default_factory=set)  # labels that are words
    groups: Coding = field(default_factory=Coding)
    columns: dict[str, "array[int]"] = field(default_factory=lambda: {n: array("q") for n in WHERE})
    facts: list[Facts] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        """Note what is not used, and why."""
        if len(self.skipped) < NAMED:
            self.skipped.append(Skipped(name, reason))

    def add(self, where: tuple[int, int, int], member: str, told: "Told") -> None:
        """Add a picture: shard, offset and size; what it is called there; what its sample says."""
        for name, value in zip(WHERE, where, strict=True):
            self.columns[name].append(value)
        self.names.append(told.name)
        self.members.append(member)
        self.labels.append(str(told.label))
        self.groups.append(told.group)
        if isinstance(told.label, str):
            self.named.add(told.label)


@dataclass(frozen=True)
class Told:
    """What a sample says of its picture."""

    name: str
    label: Label
    group: str = ""


def scanned(shards: Sequence[Shard], name: str, classes: Sequence[str]) -> Index:
    """The index of some shards: the one that was kept when they were gone through, or a new one, kept from now on.

    `classes` names the numbers; () leaves them as they are. Raises DataError.
    """
    words = repr((1, name, [(s.place, s.name, s.bytes, s.version, s.split) for s in shards], tuple(classes)))
    digest = hashlib.blake2b(words.encode(errors="surrogateescape"), digest_size=16).hexdigest()
    kept = home().parent / "shards" / f"{digest}.npz"
    with suppress(OSError, DataError):
        return read_index(kept.read_bytes(), str(kept))
    index = gone_through(shards, name, classes)
    with suppress(OSError, ResiduaError):
        kept.parent.mkdir(0o700, parents=True, exist_ok=True)
        write(kept, index.to_bytes())
    return index


def gone_through(shards: Sequence[Shard], name: str, classes: Sequence[str]) -> Index:
    """A new index of some shards. Raises DataError."""
    growing, parts = Growing(), []
    for number, shard in enumerate(shards):
        first = len(growing.members)
        with opened(shard) as file:
            length = os.fstat(file.fileno()).st_size
            for sample in samples(file, length, shard.place):
                add(growing, file, sample, shard.name, number)
        parts.append(Part(f"{number:06d}{TAR}", length, shard.split))
        look(growing, replace(shard, bytes=length), first)
    return finished(growing, name, classes, tuple(parts))


def opened(shard: Shard) -> IO[bytes]:
    """A shard as a file; one from far away is fetched whole. Raises DataError."""
    if not shard.remote:
        try:
            return open(shard.place, "rb")
        except OSError as e:
            raise DataError(f"{told(shard.place)}: {(e.strerror or str(e)).lower()}") from e
    if not store().holds(shard):
        why = "without an index shards are read whole, once: RESIDUA_SHARDS=20G makes room"
        raise DataError(f"{told(shard.place)}: {why}")
    handle = store().opened(shard)
    return os.fdopen(os.dup(handle.descriptor), "rb")


def samples(file: IO[bytes], length: int, where: str) -> Iterator[dict[str, Entry]]:
    """The samples of a shard: the members that follow each other under one key, by their endings. DataError."""
    keyed = ((key_of(entry.name), entry) for entry in entries(file, length, where))
    for key, run in groupby(keyed, key=lambda pair: pair[0][0]):
        sample: dict[str, Entry] = {}
        for (_, ending), entry in run:
            if len(sample) < ENDINGS and not entry.name.rpartition("/")[2].startswith("."):
                sample.setdefault(ending, entry)
        if key and sample:
            yield sample


def add(growing: Growing, file: IO[bytes], sample: dict[str, Entry], shard: str, number: int) -> None:
    """Add a sample's picture to an index, or why it is not used."""
    entry = next((e for ending, e in sample.items() if f".{ending}" in EXTENSIONS), None)
    if entry is None:
        if "json" in sample or "cls" in sample:
            growing.skip(f"{shard}/{next(iter(sample.values())).name}", "a label without a picture")
        return
    name = f"{shard}/{entry.name}"
    said = told_by(file, sample, name)
    if isinstance(said, str):
        growing.skip(name, said)
    elif not 0 < entry.size < PICTURE:
        growing.skip(name, "an empty file (0 bytes)" if entry.size == 0 else "a gigabyte or more: no picture")
    else:
        growing.add((number, entry.offset, entry.size), entry.name, said)


def told_by(file: IO[bytes], sample: dict[str, Entry], name: str) -> Told | str:
    """What a sample says of its picture, or what is wrong with it."""
    said: dict[str, Any] = {}
    for ending in ("json", "cls"):
        entry = sample.get(ending)
        if entry is None:
            continue
        if entry.size > LABEL:
            return f"its .{ending} is larger than any label"
        file.seek(entry.offset)
        data = file.read(entry.size)
        if ending == "json":
            try:
                found = json.loads(data)
            except (ValueError, RecursionError):
                return "its .json cannot be read"
            said = found if isinstance(found, dict) else {"label": found}
        else:
            said = {"cls": data.decode("utf-8", "surrogateescape").strip()} | said
    label = next((found for word in LABELS if (found := label_of(said.get(word))) is not None), None)
    if label is None:
        return "no label: neither a .cls nor a .json with one"
    own = all(isinstance(said.get(word), str) for word in ("name", "class")) and said["name"]
    return Told(str(own) if own else name, label, str(said.get("group", "")) if own else "")


def label_of(value: Any) -> Label | None:
    """A class by its number or its name; None for what is neither."""
    if isinstance(value, str):
        value = value.strip()
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else value or None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def look(growing: Growing, shard: Shard, first: int) -> None:
    """Look at the pictures of a shard, those from `first` on, and note what they say of themselves."""
    _, offsets, sizes = (np.array(growing.columns[n][first:], dtype=np.int64) for n in WHERE)
    names = growing.members.done()[first:]
    there = Members((shard,), np.zeros(len(sizes), np.int32), offsets, sizes, None, names)
    facts = np.zeros(len(sizes), FACTS)
    for seen in all_seen(there):
        facts[seen.first : seen.first + len(seen.facts)] = seen.facts
        for i, reason in seen.reasons.items():
            growing.skip(f"{shard.name}/{names[i]}", reason)
    growing.facts.append(facts)


def finished(growing: Growing, name: str, classes: Sequence[str], parts: tuple[Part, ...]) -> Index:
    """The index of all that can be used, its labels counted in the classes. Raises DataError."""
    facts = np.concatenate([np.zeros(0, FACTS), *growing.facts])
    labels, groups = growing.labels.done(), growing.groups.done()
    order = classes_of(list(labels.words), growing.named, classes)
    known = {c: i for i, c in enumerate(order)}
    called = [word if word in growing.named or not classes else named(word, classes) for word in labels.words]
    blank = np.array([not word for word in groups.words], np.bool_)
    columns: dict[str, Any] = {n: np.array(growing.columns[n], dtype=np.int64) for n in WHERE}
    columns |= {"crc": np.zeros(len(facts)), "label": np.array([known[c] for c in called], np.int32)[labels.codes]}
    columns |= {side: facts[side] for side in ("width", "height", "grey")}
    names = growing.names.done()
    columns |= {"folder": names.folders.codes, "group": np.where(blank[groups.codes], -1, groups.codes)}
    index = Index(
        name, order, parts, {n: columns[n].astype(kind) for n, kind in COLUMNS.items()}, names,
        growing.members.done(), groups.words, False, tuple(growing.skipped),
    )  # fmt: skip
    return index if facts["usable"].all() else index.take(np.flatnonzero(facts["usable"]))


def classes_of(labels: Sequence[str], named: set[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes in order: as a list of names has them, by number, or by name."""
    if classes:
        return (*classes, *sorted(named - set(classes)))
    return tuple(sorted(labels, key=lambda w: (0, int(w), "") if w not in named else (1, 0, w)))


def named(number: str, classes: Sequence[str]) -> str:
    """The name of a numbered class. Raises DataError."""
    if int(number) >= len(classes):
        raise DataError(f"{CLASSES} names {len(classes)} classes, and a sample is of class {number}: counted from 0")
    return classes[int(number)]
