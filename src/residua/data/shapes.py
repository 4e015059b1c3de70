"""Findings about the shapes of pictures and the way they are stored, and names that tell of series."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from residua.data.facts import MUCH, hidden
from residua.data.findings import HALF, NAMED, NOTE, SHOULD, Finding, each, is_are, pictures, spread
from residua.data.names import shown
from residua.data.seen import Seen
from residua.data.similar import Flags
from residua.data.splits import some


def shapes(seen: Seen) -> Iterator[Finding]:
    """What the view does to pictures of these shapes."""
    if not seen.good.any():
        return
    of, looks, view = seen.of, seen.looks, seen.view
    lost = np.zeros(len(of))
    lost[seen.good] = hidden(view, looks["width"][seen.good], looks["height"][seen.good])
    cut = seen.where(lost > MUCH)
    worst = cut[np.argsort(-lost[cut], kind="stable")]
    if len(cut):
        means = {
            c: lost[seen.good & (of.labels == k)].mean()
            for k, c in enumerate(of.classes)
            if (seen.good & (of.labels == k)).any()
        }
        most = max(means, key=lambda c: means[c])
        halves = int((lost > HALF).sum())
        sentence = (
            f"A centre crop hides more than {100 * MUCH:.0f} % of the picture in {len(cut):,} of "
            f"{int(seen.good.sum()):,}, more than half in {halves:,}; {shown(most)} loses most, "
            f"{100 * means[most]:.0f} % on average."
        )
        bad = SHOULD if halves > seen.good.sum() / 5 or means[most] > HALF else NOTE
        todo = "What stands at an edge is never seen. Look at the frames; --fit pad shows all of each picture."
        remarks = {int(i): f"{100 * lost[i]:.0f} % hidden" for i in worst[:NAMED]}
        yield Finding("crop", bad, len(cut), sentence, todo, each(worst[:NAMED]), remarks)
    side = np.minimum(looks["width"], looks["height"])
    small = seen.where(side < view.side_px) if not seen.dataset.same_size else np.array([], np.int64)
    if len(small):
        order = small[np.argsort(side[small], kind="stable")][:NAMED]
        sentence = f"{pictures(len(small))} {is_are(len(small))} smaller than the {view.side_px} px that the net sees."
        bad = SHOULD if len(small) > seen.good.sum() / 10 else NOTE
        remarks = {int(i): f"{looks['width'][i]} × {looks['height'][i]}" for i in order}
        yield Finding(
            "small",
            bad,
            len(small),
            sentence,
            "They are enlarged and look soft. --image-size sets the side.",
            each(order),
            remarks,
        )


# -- kinds ----------------------------------------------------------------------------------------------------------

#: How pictures are read that are not plain, by what Pillow calls their mode.
READ = {"CMYK": "CMYK as RGB", "YCCK": "CMYK as RGB", "P": "palettes as RGB", "1": "black and white as grey"}


def kinds(seen: Seen) -> Iterator[Finding]:
    """What is unusual about the way pictures are stored, and whether that gives the class away."""
    looks, labels = seen.looks, seen.of.labels
    mode, grey = looks["mode"], looks["grey"] & ~looks["flat"]
    gif = seen.where(looks["format"] == "GIF")
    if 0 < len(gif) * 20 <= seen.good.sum():
        sentence = f"{pictures(len(gif), 'GIF')} among {int(seen.good.sum()):,} pictures."
        yield Finding(
            "gif",
            SHOULD,
            len(gif),
            sentence,
            "Look at it: often a placeholder that a page showed for a lost photo.",
            each(gif),
        )
    if seen.channels == 3 and len(some_grey := seen.where(grey)):
        sentence = f"{pictures(len(some_grey))} of a set in colour {is_are(len(some_grey))} grey."
        yield Finding(
            "grey", NOTE, len(some_grey), sentence, "They are read as colour.", each(spread(some_grey, labels))
        )
    if len(flat := seen.where(looks["flat"])):
        sentence = f"{pictures(len(flat))} {is_are(len(flat))} of one colour all over."
        yield Finding(
            "flat",
            SHOULD,
            len(flat),
            sentence,
            "There is nothing to learn from them: take them away.",
            each(spread(flat, labels)),
        )
    if len(turned := seen.where(looks["turned"])):
        sentence = f"{pictures(len(turned))} {is_are(len(turned))} stored turned."
        yield Finding(
            "turned",
            NOTE,
            len(turned),
            sentence,
            "They are set upright, as their EXIF data say.",
            each(spread(turned, labels)),
        )
    wide = np.char.startswith(mode, "I")
    others = [f"{n:,} {word}" for key, word in READ.items() if (n := len(seen.where(mode == key)))]
    others += [f"{n:,} of 16 bits as 8"] if (n := len(seen.where(wide))) else []
    others += [f"{n:,} transparent over white"] if (n := len(seen.where(looks["clear"]))) else []
    others += [f"{n:,} moving by the first frame"] if (n := len(seen.where(looks["moving"]))) else []
    unusual = seen.where(np.isin(mode, list(READ)) | wide | looks["clear"] | looks["moving"])
    if len(unusual):
        yield Finding(
            "read",
            NOTE,
            len(unusual),
            f"Read in their own way: {', '.join(others)}.",
            "",
            each(spread(unusual, labels)),
        )
    yield from gives_away(
        seen, {"grey": grey, **{f"{f} files": looks["format"] == f for f in np.unique(looks["format"][seen.good])}}
    )


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
