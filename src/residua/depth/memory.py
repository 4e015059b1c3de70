"""How much memory a training needs: the maps of every unit, what recomputing saves, and what the machine has free."""

import os
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from math import prod
from pathlib import Path

import torch

from residua import heap
from residua.engine import PRECISIONS, Engine
from residua.nn.arch import Arch, Row
from residua.nn.cost import FLOAT_BYTES, Flow, Ledger, blueprint, through
from residua.nn.recompute import chained
from residua.training.recipe import Recipe


@dataclass(frozen=True)
class Maps:
    """Bytes that training keeps of one image. Of U units: `between` are their inputs, `inside` what they keep beside
    input and output (both U). `outside` is what stem and head keep, `largest` the largest single map.
    """  # fmt: skip

    outside: int
    between: tuple[int, ...]
    inside: tuple[int, ...]
    largest: int

    @property
    def total(self) -> int:
        """All of them together."""
        return self.outside + sum(self.between) + sum(self.inside)


@cache
def maps(row: Row, side_px: int, precision: str = "fp32") -> Maps:
    """The maps of the row's net on images of `side_px`; nets without units keep everything outside.

    Counted as `nn.cost` does; under autocast the numbers between layers take two bytes.
    """
    net, ledger = blueprint(row), Ledger()
    size = PRECISIONS[precision].itemsize / FLOAT_BYTES
    x = Flow((row.channels, side_px, side_px))
    if not isinstance(row, Arch):
        through(net, x, "", ledger)
        return Maps(_bytes(ledger, size), (), (), _largest(ledger, size))
    x = through(net.stem, x, "stem", ledger)
    outside, largest = _bytes(ledger, size, x.tensor), _largest(ledger, size)
    between, inside, own = [], [], ledger
    for module in chained(net):
        own = Ledger()
        between.append(int(prod(x.shape) * FLOAT_BYTES * size))
        x = through(module, replace(x, tensor=0), "", own)
        inside.append(_bytes(own, size, 0, x.tensor))
        largest = max(largest, _largest(own, size))
    head = Ledger(kept={0: own.kept[x.tensor]} if x.tensor in own.kept else {})
    through(net.head, replace(x, tensor=0), "head", head)
    return Maps(outside + _bytes(head, size), tuple(between), tuple(inside), largest)


@cache
def parameters(row: Row) -> int:
    """How many numbers the row's net learns."""
    return sum(p.numel() for p in blueprint(row).parameters())


def _bytes(ledger: Ledger, size: float, *without: int) -> int:
    return int(size * sum(n for tensor, n in ledger.kept.items() if tensor not in without))


def _largest(ledger: Ledger, size: float) -> int:
    return int(size * max(ledger.kept.values(), default=0))


# -- recomputing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segments:
    """Runs of units that are computed again (`Net.segments`), the bytes an image then needs, and the work it adds."""

    sizes: tuple[int, ...]
    bytes: int
    again: float  # units computed a second time, as a share of all


def plain(m: Maps) -> Segments:
    """Nothing is computed again."""
    return Segments((), m.total, 0.0)


def segments(m: Maps, limit: float, *, recompute: bool = True) -> Segments:
    """The least recomputing with which an image needs at most `limit` bytes; the thriftiest where none does.

    The first units are recomputed, the last kept: when the backward pass comes to a segment, all that is behind it is
    free again. So a segment may be as large as what was kept, and what remains besides are the segments' inputs.
    """
    best = plain(m)
    for count in range(len(m.inside) + 1 if recompute else 1):
        found = recomputed(m, count)
        if found.bytes <= limit:
            return found
        best = min(best, found, key=lambda s: s.bytes)
    return best


def recomputed(m: Maps, count: int) -> Segments:
    """The first `count` units recomputed, in as few segments as their memory allows."""
    if count == 0:
        return plain(m)
    kept = sum(m.between[count:]) + sum(m.inside[count:])
    own = [a + b for a, b in zip(m.between, m.inside, strict=True)][:count]
    room = max(kept, max(own))
    sizes, filled = [0], 0
    for bytes_ in own:
        if sizes[-1] and filled + bytes_ > room:
            sizes.append(0)
            filled = 0
        sizes[-1] += 1
        filled += bytes_
    starts = [0, *accumulate(sizes)][:-1]
    inputs = [m.between[i] for i in starts]
    busiest = max(
        sum(inputs[: i + 1]) + sum(own[start : start + size]) - m.between[start]
        for i, (start, size) in enumerate(zip(starts, sizes, strict=True))
    )
    return Segments(tuple(sizes), m.outside + max(sum(inputs) + kept, busiest), count / len(m.inside))


# -- a whole training -----------------------------------------------------------------------------------------------

#: What a process on each kind of device takes for libraries, once it trains (measured, docs/log.md).
LIBRARIES = {"cpu": 180 * 2**20, "cuda": 800 * 2**20, "mps": 400 * 2**20}
#: Passing maps of the backward pass, in largest maps: gradients, what a layer works with.
PASSING = 3.5
#: Batches that are made ahead, in use, and on their way into the memory format.
BATCHES = 5
#: Copies of the weights that an optimiser keeps.
KEPT = {"sgd": 1, "adamw": 2, "lamb": 2}
#: Of the free memory, what a training may plan with: forecasts are right to 15 %.
SHARE = 0.85
#: A batch is never cut into slices smaller than this: the norms of fewer pictures say little.
SMALLEST_SLICE = 8


@dataclass(frozen=True)
class Demand:
    """A training whose memory is asked for; `before` are the bytes that the process holds already."""

    row: Row
    side_px: int
    recipe: Recipe
    engine: Engine
    before: int

    @property
    def maps(self) -> Maps:
        """What one image's pass keeps."""
        return maps(self.row, self.side_px, self.engine.precision)

    def fixed(self, m: Maps, pictures: int) -> int:
        """Bytes that slices of `pictures` need beside the kept maps."""
        image = self.row.channels * self.side_px**2 * FLOAT_BYTES
        return int(self.weights + pictures * PASSING * m.largest + self.recipe.batch_size * BATCHES * image)

    @property
    def weights(self) -> int:
        """Bytes of the process, its libraries, and everything that is as large as the weights."""
        own = FLOAT_BYTES * parameters(self.row)
        copies = 2 + KEPT[self.recipe.optimiser] + (self.recipe.ema is not None) + 1  # with the best epoch's
        return self.before + LIBRARIES[self.engine.kind] + own * (copies + 1)  # a pass casts and rearranges them


@dataclass(frozen=True)
class Fit:
    """How a training fits into memory: units to recompute, slices of a batch, and the bytes that it then takes.

    `plain` is what it would take without either.
    """

    segments: Segments
    accumulate: int
    bytes: int
    plain: int


def fit(demand: Demand, limit: float, *, slices: bool = True) -> Fit | None:
    """The least change with which a training takes at most `limit` bytes: recomputing first, which changes no number,
    then, if `slices` may be cut, smaller ones. None if nothing fits. Compiled nets are not recomputed.
    """  # fmt: skip
    m, r = demand.maps, demand.recipe
    first = r.batch_size // r.accumulate
    whole = demand.fixed(m, first) + first * m.total
    accumulate = r.accumulate
    while True:
        pictures = r.batch_size // accumulate
        fixed = demand.fixed(m, pictures)
        found = segments(m, (limit - fixed) / pictures, recompute=not demand.engine.compile)
        if (bytes_ := fixed + pictures * found.bytes) <= limit:
            return Fit(found, accumulate, bytes_, whole)
        accumulate *= 2
        if not slices or r.batch_size // accumulate < SMALLEST_SLICE:
            return None


# -- the machine ----------------------------------------------------------------------------------------------------


def held() -> int:
    """Bytes of main memory that this process holds, when what earlier tensors have left in it is given back."""
    heap.release()
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def free(engine: Engine) -> int:
    """Bytes that are free on the device; on a CPU within what the container allows."""
    if engine.kind == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(engine.device))[0])
    return min(_free_of_machine(), _free_of_container())


def _free_of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
        return kilobytes["MemAvailable"] * 1024
    except (OSError, ValueError, KeyError, IndexError):
        pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def _free_of_container(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """What the control group (version 2, or 1) leaves; without a limit, more than there is."""
    for most, used in (
        ("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
    ):  # fmt: skip
        try:
            return max(0, int((groups / most).read_text()) - int((groups / used).read_text()))
        except (OSError, ValueError):
            continue
    return 2**63
