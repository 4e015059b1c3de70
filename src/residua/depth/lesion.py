"""Nets without some of their units, or with units that changed places: how often are they wrong?

Source: Veit et al. 2016, arXiv:1605.06431, sec. 4. The net is never edited: a variant is a list of its own links.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from residua.data.batches import Batch
from residua.depth.chain import Link, chain, keeps_shape, remainder
from residua.depth.variants import Count, Family, Variant, counts
from residua.engine import Engine
from residua.errors import UsageError
from residua.seeds import generator
from residua.words import unknown


@dataclass(frozen=True)
class Row(Count):
    """The net without the unit of this path."""

    path: str
    stage: int


@dataclass(frozen=True)
class Table:
    """The intact net's counts over the first `n` images, and those without each unit, in network order."""

    n: int
    base_wrong: int
    base: Count
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Removal:
    """Some random units that leave together; `seed` tells draws of equally many apart."""

    k: int
    seed: int
    units: tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """Another order of the units, by `swaps` exchanges within stages; `tau` is Kendall's, 1 for the net's own order."""

    swaps: int
    seed: int
    tau: float
    units: tuple[str, ...]


def lesions(
    net: nn.Module, batches: Iterable[Batch], classes: Sequence[str], engine: Engine, paths: Iterable[str] | None = None
) -> Iterator[Table]:
    """The counts without each unit (or each of `paths`), one at a time, after every batch.

    Equal to as many evaluations of the edited net on the same batches. `net` is where the engine placed it.
    Raises UsageError where there is nothing to leave out, and for an unknown path.
    """
    made = Variants(net)
    chosen = made.known(paths) if paths is not None else made.removable
    for base, *without in counts(net, made.each(chosen), batches, len(classes), engine):
        rows = (Row(c.n, c.wrong, c.loss, link.path, link.stage) for link, c in zip(chosen, without, strict=True))
        yield Table(base.n, base.wrong, base, tuple(rows))


class Variants:
    """The variants of a net, as lists of links that share whatever they have in common."""

    def __init__(self, net: nn.Module) -> None:
        """Take the net apart. Raises UsageError if it has nothing that can be left out."""
        self.net = net
        self.links = chain(net)
        self.removable = [link for link in self.links if link.removable]
        if not self.removable:
            raise UsageError("this net has no units or layers that could be left out")
        self.rest = {link.path: remainder(link) for link in self.removable}

    def known(self, paths: Iterable[str]) -> list[Link]:
        """The links of these paths, in network order. Raises UsageError for an unknown one."""
        wanted = set(paths)
        for path in sorted(wanted - self.rest.keys()):
            raise unknown("unit", path, self.rest)
        return [link for link in self.removable if link.path in wanted]

    def intact(self) -> Variant:
        """The net itself."""
        return [link.module for link in self.links]

    def without(self, paths: Iterable[str]) -> Variant:
        """The net without the units of these paths."""
        gone = set(paths)
        return [self.rest[link.path] if link.path in gone else link.module for link in self.links]

    def each(self, links: Sequence[Link]) -> list[Variant]:
        """The net itself, then the net without each of the links."""
        return [self.intact(), *(self.without([link.path]) for link in links)]

    def ordered(self, units: Sequence[str]) -> Variant:
        """The net with its removable links in this order."""
        modules = {link.path: link.module for link in self.removable}
        coming = iter(units)
        return [modules[next(coming)] if link.removable else link.module for link in self.links]

    # -- random ones ------------------------------------------------------------------------------------------------

    def removals(self, numbers: Sequence[int], seeds: int) -> list[Removal]:
        """For each number k and seed, k units drawn at random. Raises UsageError for more than there are."""
        paths = [link.path for link in self.removable]
        if wrong := [k for k in numbers if not 1 <= k <= len(paths)]:
            raise UsageError(f"{wrong[0]} units cannot leave a net that has {len(paths)}: give 1 to {len(paths)}")
        drawn = []
        for k in sorted(set(numbers)):
            for seed in range(seeds):
                places = sorted(generator("lesion", "random", k, seed).choice(len(paths), k, replace=False).tolist())
                drawn.append(Removal(k, seed, tuple(paths[i] for i in places)))
        return drawn

    def orders(self, n: int) -> list[Order]:
        """`n` other orders, of one exchange within a stage up to as many as there are such units, by equal factors.

        Only units that keep the shape change places. Raises UsageError where no stage has two of them.
        """
        stages: dict[int, list[int]] = {}
        for place, link in enumerate(self.removable):
            if keeps_shape(link):
                stages.setdefault(link.stage, []).append(place)
        pairs = [(a, b) for places in stages.values() for i, a in enumerate(places) for b in places[i + 1 :]]
        if not pairs:
            raise UsageError(
                "no stage of this net has two units or layers that keep the shape, so none can change places: "
                "leave --swap out"
            )
        most = sum(len(places) for places in stages.values() if len(places) > 1)
        return [self._order(pairs, round(most ** (j / max(1, n - 1))), j) for j in range(n)]

    def _order(self, pairs: list[tuple[int, int]], swaps: int, seed: int) -> Order:
        numbers = generator("lesion", "swap", swaps, seed)
        order = list(range(len(self.removable)))
        for i in numbers.integers(len(pairs), size=swaps).tolist():
            a, b = pairs[i]
            order[a], order[b] = order[b], order[a]
        return Order(swaps, seed, kendall_tau(order), tuple(self.removable[i].path for i in order))


def kendall_tau(order: Sequence[int]) -> float:
    """Kendall's rank correlation of an order of 0..n-1 with the natural one: 1 the same, -1 reversed."""
    n = len(order)
    turned = sum(order[i] > order[j] for i in range(n) for j in range(i + 1, n))
    return 1 - 4 * turned / (n * (n - 1)) if n > 1 else 1.0


def cost(variants: Sequence[Variant], shape: tuple[int, int, int]) -> float:
    """What the variants cost together, in evaluations of the first one, counted in multiply-adds."""
    return Family(variants).macs(shape) / Family(variants[:1]).macs(shape)


def to_json(count: Count) -> dict[str, Any]:
    """n, wrong, top1_error, interval, loss."""
    return {
        "n": count.n,
        "wrong": count.wrong,
        "top1_error": count.top1_error,
        "interval": list(count.interval),
        "loss": count.loss,
    }
