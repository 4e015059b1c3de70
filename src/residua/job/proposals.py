"""What suits a data set that was checked: fit, size, net, stem, split, balance; and a command that trains on it."""

import shlex
from collections.abc import Iterator
from dataclasses import replace

from residua.data.check import Check, Proposal
from residua.data.facts import UNEQUAL, imbalance
from residua.data.findings import SHOULD
from residua.data.shapes import series
from residua.data.splits import TEST_FRACTION
from residua.errors import ResiduaError
from residua.job.options import TrainOptions
from residua.job.plan import row_for

#: Held-out pictures of each class, on average, below which more are held out.
HELD_OUT = 5
#: Names that are looked at for series.
NAMES = 20_000


def proposed(check: Check) -> Check:
    """The check with what suits the data; nothing is proposed for what cannot be trained on.

    Size, net and stem are those that training takes by itself, by the same functions.
    """
    if len(check.classes) < 2:
        return check
    found = (*fit(check), *net(check), *split(check), *balance(check))
    of = check.seen.of
    asked = [p.flag for p in found if not p.automatic and p.flag]
    where = ["--root", shlex.quote(of.root)] if of.root else []
    return replace(check, proposals=found, command=" ".join(["residua train", shlex.quote(of.spec), *where, *asked]))


def fit(check: Check) -> Iterator[Proposal]:
    """Whether parts may be cut off."""
    seen = check.seen
    shares = [f for f in check.findings if f.kind == "crop"]
    width, height = seen.looks["width"][seen.good], seen.looks["height"][seen.good]
    if (width == height).all():
        yield Proposal("fit", "crop", "all pictures are square", "--fit crop", True)
    elif shares and shares[0].severity == SHOULD:
        yield Proposal("fit", "pad", "a crop would hide half of many pictures", "--fit pad", False)
    else:
        why = "most pictures lose little but their edges; where things stand there, --fit pad"
        yield Proposal("fit", "crop", why, "--fit crop", True)


def net(check: Check) -> Iterator[Proposal]:
    """Size, net and stem, as training decides them."""
    seen = check.seen
    view = seen.view
    why = (
        "the pictures' own size" if seen.dataset.same_size else f"their median short side is {seen.dataset.side_px} px"
    )
    yield Proposal("image_size", str(view.side_px), why, f"--image-size {view.side_px}", True)
    try:
        row, decisions = row_for(TrainOptions(data=seen.of.spec), seen.dataset, view, None)
    except ResiduaError:
        return
    yield from (Proposal(d.what, d.value, d.why, f"{d.flag} {d.value}", True) for d in decisions if d.what == "arch")
    stem = getattr(row, "stem", "")
    if stem:
        yield Proposal("stem", stem, f"suits pictures of {view.side_px} px", f"--stem {stem}", True)


def split(check: Check) -> Iterator[Proposal]:
    """What is held out, and what should stay together."""
    seen = check.seen
    per, k = seen.per_split, len(check.classes)
    sizes = {s: sum(n.values()) for s, n in per.items() if any(n.values())}
    train = sizes["train"]
    if "test" not in sizes and "val" not in sizes:
        train -= round(train * TEST_FRACTION)
        why = f"{100 * TEST_FRACTION:.0f} % of each class for the test, then a tenth of the rest to choose by"
        yield Proposal("split", "by training", why, "", True)
    elif "test" not in sizes:
        yield Proposal(
            "split", "as given", "val serves as the test; a tenth of train is held out to choose by", "", True
        )
    else:
        yield Proposal("split", "as given", f"it has {' and '.join(s for s in sizes if s != 'train')}", "", True)
    if ("val" not in sizes or "test" not in sizes) and train * 0.1 < HELD_OUT * k:
        why = f"a tenth of {train:,} pictures leaves fewer than {HELD_OUT} of a class to choose an epoch by"
        yield Proposal("val_fraction", "0.2", why, "--set val_fraction=0.2", False)
    if not seen.of.known and not seen.of.groups and (why := belonging(check)):
        yield Proposal("group", "a column of a table", why, "", False)


def belonging(check: Check) -> str:
    """Why some pictures should stay together in one split; "" where nothing says so."""
    n, name = series(check.seen.of.names[:NAMES])
    if n:
        return f"names such as {name} look like series of one subject: a table's column `group` keeps each in one split"
    near = [f for f in check.findings if f.kind == "alike"]
    if near and len(check.seen.per_split) < 3:
        return "near copies would be torn apart by chance: a table's column `group` keeps them in one split"
    return ""


def balance(check: Check) -> Iterator[Proposal]:
    """Whether rare classes should count for more."""
    found = imbalance(check.seen.per_split.get("train", {}))
    if found and found["ratio"] > UNEQUAL:
        why = f"the largest class has {found['ratio']:.3g} times as many pictures as the smallest"
        yield Proposal("balance", "sampler", why, "--balance sampler", False)
    elif found:
        yield Proposal("balance", "none", f"no class is {UNEQUAL:g} times as large as another", "--balance none", True)
