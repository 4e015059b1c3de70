"""Findings about pictures that are there twice: under two labels, in two splits, or in one place."""

from collections.abc import Iterator, Sequence

import numpy as np

from residua.data.findings import LEAK, MUST, NOTE, SHOULD, Finding, Groups, is_are, pictures
from residua.data.seen import ORDER, Seen
from residua.data.similar import alike, joined, same


def copies(seen: Seen) -> Iterator[Finding]:
    """Files that hold the same, under two labels, in two splits, or in one place."""
    rows = np.flatnonzero(seen.good)
    groups: list[list[int]] = [rows[g].tolist() for g in same(seen.looks["digest"][rows])]
    labels, split = seen.of.labels, seen.of.split
    torn = [g for g in groups if len(set(labels[g])) > 1]
    if torn:
        n = sum(map(len, torn))
        sentence = (
            f"{pictures(len(torn))} {is_are(len(torn))} there under two labels, as {pictures(n, 'identical file')}."
        )
        yield Finding("two-labels", MUST, len(torn), sentence, "One of the labels is wrong: keep the right one.", torn)
    yield from leaks(seen, [g for g in groups if len(set(split[g])) > 1])
    rest = [g for g in groups if len(set(labels[g])) == 1 and len(set(split[g])) == 1]
    if rest:
        n = sum(len(g) - 1 for g in rest)
        sentence = f"{pictures(n)} {is_are(n)} there again in the same class and split."
        yield Finding("copies", NOTE, n, sentence, "They count twice. Keep one of each.", rest)


def leaks(seen: Seen, groups: Groups) -> Iterator[Finding]:
    """The same file in two splits."""
    for s, held, earlier in held_again(seen, groups):
        n, share = len(held), len(held) / sum(seen.per_split[s].values())
        sentence = f"{pictures(n)} of {s} ({per_cent(share)} of it) {is_are(n)} also in {earlier}, file by file."
        todo = f"What is measured on {s} is too good. Take the copies out of one of the two."
        yield Finding("leak", MUST if share >= LEAK else SHOULD, n, sentence, todo, holding(groups, held))


def per_cent(share: float) -> str:
    """``0.0913`` as ``9.1 %``."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def holding(groups: Groups, some: Sequence[int]) -> list[Sequence[int]]:
    """The groups that hold one of some pictures."""
    wanted = set(some)
    return [g for g in groups if not wanted.isdisjoint(g)]


def held_again(seen: Seen, groups: Groups) -> Iterator[tuple[str, list[int], str]]:
    """Of each held-out split: the pictures of some groups that an earlier split has too, and which splits."""
    split = seen.of.split
    ranks = {c: ORDER.index(s) for c, s in enumerate(seen.of.splits)}
    for c, s in enumerate(seen.of.splits):
        held, before = [], set()
        for g in groups:
            lower = {int(split[i]) for i in g if ranks[int(split[i])] < ranks[c]}
            mine = [int(i) for i in g if split[i] == c]
            if lower and mine:
                held += mine
                before |= lower
        if held:
            yield s, held, " and ".join(seen.of.splits[b] for b in sorted(before))


def near_copies(seen: Seen) -> Iterator[Finding]:
    """Pictures that look the same and are not the same file."""
    pairs = alike(seen.prints)
    digests = seen.looks["digest"]
    pairs = pairs[(digests[pairs[:, 0]] != digests[pairs[:, 1]]).any(1)]
    labels, split = seen.of.labels, seen.of.split
    groups: list[list[int]] = [g.tolist() for g in joined(len(seen.of), pairs)]
    torn = [g for g in groups if len(set(labels[g])) > 1]
    if torn:
        sentence = f"{pictures(len(torn), 'group')} of pictures look nearly the same and have different labels."
        yield Finding("alike-two-labels", SHOULD, len(torn), sentence, "Look at them: a label may be wrong.", torn)
    crossing = [g for g in groups if len(set(split[g])) > 1]
    for s, held, earlier in held_again(seen, crossing):
        n, share = len(held), len(held) / sum(seen.per_split[s].values())
        look = "looks" if n == 1 else "look"
        sentence = f"{pictures(n)} of {s} ({per_cent(share)} of it) {look} nearly the same as one in {earlier}."
        todo = f"What is measured on {s} is too good. Keep pictures of one thing in one split."
        yield Finding("alike-leak", SHOULD, n, sentence, todo, holding(crossing, held))
    rest = [g for g in groups if len(set(labels[g])) == 1 and len(set(split[g])) == 1]
    if rest:
        n = sum(map(len, rest))
        sentence = f"{pictures(n)} look nearly the same as another of their class and split."
        todo = "Where no split is given, such pictures may be torn apart by chance: give a table with a column `group`."
        yield Finding("alike", NOTE, n, sentence, todo, rest)
