"""Which units leave first: one after the other, each time the one whose absence costs least on held-out pictures."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

from torch import Tensor

from residua.data.batches import Batch
from residua.depth.lesion import lesions
from residua.depth.prune import Seen, pruned, recalibrate, removable, what_norms_see
from residua.depth.variants import first
from residua.engine import Engine
from residua.evaluate import evaluate
from residua.nn.arch import Arch
from residua.nn.resnet import Net

#: Units that are measured again at a time, those that cost least when last measured first.
AT_A_TIME = 4
#: Held-out pictures that the choice of a unit is made on; errors are counted on all.
CHOOSE_BY = 1000
UNKNOWN = (-inf, 0.0)


@dataclass(frozen=True)
class Pictures:
    """What the choice is made by: `held` pictures that the test does not know, and training batches for the norms."""

    held: Iterable[Batch]  # can be gone through again and again
    seen: Sequence[Tensor]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Cut:
    """A net after some units have left; `removed` are their paths in the whole net, in the order in which they left.

    `wrong` of `n` held-out pictures, with their mean `loss`.
    """

    row: Arch
    removed: tuple[str, ...]
    n: int
    wrong: int
    loss: float

    @property
    def units(self) -> int:
        """How many units are left."""
        return sum(self.row.depths)

    @property
    def error(self) -> float:
        """The held-out error, a fraction."""
        return self.wrong / self.n


@dataclass(frozen=True, eq=False)
class Whole:
    """The net that is pruned, where the engine placed it; never changed."""

    net: Net
    row: Arch
    pictures: Pictures
    engine: Engine

    @cached_property
    def seen(self) -> Seen:
        """What its norms see of the training batches."""
        return what_norms_see(self.net, self.pictures.seen, self.engine)

    def without(self, removed: Sequence[str]) -> tuple[Net, Arch]:
        """The net without these units, its norms recalibrated, and its row: a copy, also where nothing is removed."""
        if not removed:
            return copy.deepcopy(self.net), self.row
        made = pruned(self.net, self.row, removed)
        recalibrate(made, self.seen, self.pictures.seen, self.engine)
        return made.net, made.row

    def counted(self, net: Net, row: Arch, removed: tuple[str, ...] = ()) -> Cut:
        """The cut that this net is, with its held-out error."""
        found = evaluate(net, self.pictures.held, self.pictures.classes, self.engine)
        return Cut(row, removed, found.n, found.wrong, found.loss)


def choose(whole: Whole) -> Iterator[tuple[Cut, Net]]:
    """The whole net, then the net without one unit, two, ..., until none can leave; norms recalibrated after each.

    The unit that leaves is the one without which fewest pictures are wrong, then the loss is least, among the first
    `CHOOSE_BY` held-out pictures. A unit is measured again only while it may still be that one: what its absence costs
    rarely falls when others leave (the lazy greedy choice of Minoux 1978). Raises UsageError for nets without units.
    """
    able, now, present = removable(whole.row), whole.net, {path: path for path in _all_paths(whole.row)}
    cut = whole.counted(now, whole.row)
    yield cut, now
    known: dict[str, tuple[float, float]] = {}
    while able:
        measured = _measured(whole, now, able, {p: known.get(present[p], UNKNOWN) for p in able})
        known |= {present[p]: cost for p, cost in measured.items()}
        path = min(measured, key=measured.__getitem__)
        removed = (*cut.removed, present[path])
        now, shorter = whole.without(removed)
        cut = whole.counted(now, shorter, removed)
        able, present = removable(shorter), _moved(present, path)
        yield cut, now


def _measured(
    whole: Whole, net: Net, able: list[str], known: dict[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """What the absence of some units costs now (more wrong, more loss): of all that may cost least."""
    found: dict[str, tuple[float, float]] = {}
    held, classes = whole.pictures.held, whole.pictures.classes
    waiting = sorted(able, key=known.__getitem__)
    while waiting and (not found or known[waiting[0]] < min(found.values())):
        n = max(AT_A_TIME, sum(known[p] == UNKNOWN for p in waiting))
        asked, waiting = waiting[:n], waiting[n:]
        *_, table = lesions(net, first(held, CHOOSE_BY), classes, whole.engine, asked)
        found |= {r.path: (r.wrong - table.base.wrong, r.loss - table.base.loss) for r in table.rows}
    return found


def _all_paths(row: Arch) -> list[str]:
    return [f"stages.{stage}.{unit}" for stage, depth in enumerate(row.depths) for unit in range(depth)]


def _moved(present: dict[str, str], gone: str) -> dict[str, str]:
    """Of each present unit its path in the whole net, once one has left and those behind it have moved up."""
    stage = gone.split(".")[1]
    rest = [origin for p, origin in present.items() if p.split(".")[1] == stage and p != gone]
    others = {p: origin for p, origin in present.items() if p.split(".")[1] != stage}
    return others | {f"stages.{stage}.{i}": origin for i, origin in enumerate(rest)}
