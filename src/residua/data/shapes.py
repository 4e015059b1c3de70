"""Findings about the shapes of pictures and the way they are stored, and names that tell of series."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from residua.data.facts import MUCH, hidden
from residua.data.findings import HALF, NAMED, NOTE, SHOULD, Finding, each, is_are, pictures, spread
from residua.data.names import shown
from residua.data.seen import Seen
from residua.data.similar import Flags, Indices
from residua.data.splits import some

#: A class is named as the one that a crop hides most of where its mean is this much above the mean of all.
UNLIKE = 0.05


def shapes(seen: Seen) -> Iterator[Finding]:
    """What the view does to pictures of these shapes."""
    if seen.good.any():
        yield from cut(seen)
        yield from enlarged(seen)


def cut(seen: Seen) -> Iterator[Finding]:
    """Pictures of which a centre crop would hide much."""
    labels, n = seen.of.labels[seen.good], int(seen.good.sum())
    shares = hidden(seen.view, seen.looks["width"][seen.good], seen.looks["height"][seen.good])
    lost = np.zeros(len(seen.of))
    lost[seen.good] = shares
    rows = seen.where(lost > MUCH)
    if not len(rows):
        return
    means = np.bincount(labels, shares) / np.maximum(np.bincount(labels), 1)
    most, halves = int(means.argmax()), int((shares > HALF).sum())
    sentence = f"A centre crop hides more than {100 * MUCH:.0f} % of the area of {len(rows):,} of {pictures(n)}"
    sentence += f", more than half of {halves:,}" if halves else ""
    if means[most] > shares.mean() + UNLIKE:
        sentence += f"; '{shown(seen.of.classes[most])}' loses most, {100 * means[most]:.0f} % on average"
    todo = "What stands at an edge is never seen; everything is with --fit pad."
    rows = rows[np.argsort(-lost[rows], kind="stable")][:NAMED]
    bad = SHOULD if halves > n / 5 or means[most] > HALF else NOTE
    remarks = {int(i): f"{100 * lost[i]:.0f} % hidden" for i in rows}
    yield Finding("crop", bad, int((lost > MUCH).sum()), f"{sentence}.", todo, each(rows), remarks)


def enlarged(seen: Seen) -> Iterator[Finding]:
    """Pictures smaller than what the net sees."""
    looks, side_px = seen.looks, seen.view.side_px
    side = np.minimum(looks["width"], looks["height"])
    small = seen.where(side < side_px)
    if seen.dataset.same_size or not len(small):
        return
    sentence = f"{pictures(len(small))} {is_are(len(small))} smaller than the {side_px} px that the net sees."
    bad = SHOULD if len(small) > seen.good.sum() / 10 else NOTE
    rows = small[np.argsort(side[small], kind="stable")][:NAMED]
    remarks = {int(i): f"{looks['width'][i]} × {looks['height'][i]}" for i in rows}
    todo = "What is enlarged looks soft. --image-size sets the side."
    yield Finding("small", bad, len(small), sentence, todo, each(rows), remarks)


# -- kinds ----------------------------------------------------------------------------------------------------------

#: How pictures are read that are not plain, by what Pillow calls their mode.
READ = {"CMYK": "of CMYK as RGB", "YCCK": "of YCCK as RGB", "P": "of a palette as RGB", "1": "black and white as grey"}


def kinds(seen: Seen) -> Iterator[Finding]:
    """What is unusual about the way pictures are stored, and whether that gives the class away."""
    looks, labels = seen.looks, seen.of.labels
    grey, files = looks["grey"] & ~looks["flat"], looks["format"]

    def told(kind: str, bad: str, rows: Indices, sentence: str, todo: str) -> Iterator[Finding]:
        if len(rows):
            yield Finding(kind, bad, len(rows), sentence, todo, each(spread(rows, labels)))

    gif = seen.where(files == "GIF")
    if len(gif) * 20 <= seen.good.sum():
        sentence = f"{pictures(len(gif), 'GIF')} among {int(seen.good.sum()):,} pictures."
        todo = "Look at it: often a placeholder that a page showed for a lost photo."
        yield from told("gif", SHOULD, gif, sentence, todo)
    if seen.channels == 3:
        rows = seen.where(grey)
        sentence = f"{pictures(len(rows))} of a set in colour {is_are(len(rows))} grey."
        yield from told("grey", NOTE, rows, sentence, "What is grey is read as colour.")
    rows = seen.where(looks["flat"])
    sentence = f"{pictures(len(rows))} {is_are(len(rows))} of one colour all over."
    yield from told("flat", SHOULD, rows, sentence, "There is nothing to learn in one colour: take it away.")
    rows = seen.where(looks["turned"])
    sentence = f"{pictures(len(rows))} {is_are(len(rows))} stored turned."
    yield from told("turned", NOTE, rows, sentence, "Each is set upright, as its EXIF data say.")
    rows, ways = read(seen)
    yield from told("read", NOTE, rows, f"Read in their own way: {', '.join(ways)}.", "")
    yield from gives_away(seen, {"grey": grey, **{f"{f} files": files == f for f in np.unique(files[seen.good]) if f}})


def read(seen: Seen) -> tuple[Indices, list[str]]:
    """The pictures that are read in a way of their own, and how many in which."""
    looks = seen.looks
    mode, wide = looks["mode"], np.char.startswith(looks["mode"], "I")
    facts = {word: mode == key for key, word in READ.items()}
    facts |= {"of 16 bits as 8": wide, "transparent over white": looks["clear"]}
    facts |= {"moving by the first frame": looks["moving"]}
    counts = {word: len(seen.where(holds)) for word, holds in facts.items()}
    every = np.logical_or.reduce(list(facts.values()))
    return seen.where(every), [f"{n:,} {word}" for word, n in counts.items() if n]


def gives_away(seen: Seen, facts: Mapping[str, Flags]) -> Iterator[Finding]:
    """What nearly all pictures of a class have and hardly any other has: the net may learn that instead."""
    told = defaultdict(list)
    for fact, holds in facts.items():
        n = np.bincount(seen.of.labels[seen.good], minlength=len(seen.of.classes))
        k = np.bincount(seen.of.labels[seen.good & holds], minlength=len(seen.of.classes))
        for c in np.flatnonzero(n >= 5):
            others, theirs = n.sum() - n[c], k.sum() - k[c]
            if others >= 5 and k[c] >= 0.9 * n[c] and theirs <= 0.1 * others and fact:
                told[fact].append(shown(seen.of.classes[c]))
    for fact, names in told.items():
        sentence = f"Nearly all pictures of {some(names)} are {fact}, and hardly any other."
        yield Finding("gives-away", SHOULD, len(names), sentence, "The net may learn that instead of what they show.")


# -- series ---------------------------------------------------------------------------------------------------------

#: What is counted on at the end of a file's name.
COUNTER = re.compile(r"[-_ .]*[(]?\d+[)]?$")


def series(names: Iterable[str]) -> tuple[int, str]:
    """How many files are named as one of a series (``patient07_3``, ``patient07_4``), and such a name; 0 for few.

    What is left without the counter must hold a number itself: ``IMG_17`` counts pictures, not pictures of one thing.
    """
    found: dict[str, list[str]] = defaultdict(list)
    n = 0
    for name in names:
        n += 1
        stem = name.rpartition(".")[0]
        key = COUNTER.sub("", stem)
        if key != stem and any(c.isdigit() for c in key.rpartition("/")[2]):
            found[key].append(name)
    groups = [g for g in found.values() if len(g) > 1]
    count = sum(map(len, groups))
    return (count, max(groups, key=len)[0]) if len(groups) > 1 and count * 5 >= n else (0, "")
