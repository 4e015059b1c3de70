"""Many variants of one net, evaluated together: what several of them have in common is computed once a batch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from residua.data.batches import Batch
from residua.engine import Engine
from residua.errors import DataError
from residua.evaluate import check_labels, evaluating, summary, wilson
from residua.nn.cost import Flow, Ledger, through

T = TypeVar("T")
Variant = Sequence[nn.Module]  # links in order; equal links of several variants are the same object


@dataclass(frozen=True)
class Count:
    """How often one variant was wrong in `n` images, and its mean cross-entropy (NaN if ever not finite)."""

    n: int
    wrong: int
    loss: float

    @property
    def top1_error(self) -> float:
        """The fraction that was wrong."""
        return self.wrong / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the error."""
        return wilson(self.wrong, self.n)


@dataclass(eq=False)
class Node:
    """A link behind a common beginning: who goes on from it, and the variants that end with it."""

    module: nn.Module
    children: dict[int, "Node"] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)
    size: int = 0  # variants that pass


class Family:
    """Variants of a net as a tree of links: a common beginning is one path, and runs once.

    The modules are used as they are and left as they are; they must not change their input in place.
    """

    def __init__(self, variants: Sequence[Variant]) -> None:
        """Plant the tree. Equal links are those that are the same object."""
        self.roots: dict[int, Node] = {}
        self.n = len(variants)
        for number, links in enumerate(variants):
            level = self.roots
            for module in links:
                node = level.setdefault(id(module), Node(module))
                node.size += 1
                level = node.children
            node.ends.append(number)

    def logits(self, x: Tensor) -> Iterator[tuple[list[int], Tensor]]:
        """(numbers of variants, their logits (N, K)) for images (N, C, H, W); every variant comes once."""
        yield from self._walk(x, lambda module, x: module(x))

    def macs(self, shape: tuple[int, int, int]) -> int:
        """Multiply-adds of all variants together for one image of (C, H, W)."""
        ledger = Ledger()
        for _ in self._walk(Flow(shape), lambda module, x: through(module, x, "", ledger)):
            pass
        return sum(row.macs for row in ledger.rows)

    def _walk(self, x: T, step: Callable[[nn.Module, T], T]) -> Iterator[tuple[list[int], T]]:
        """Small branches first, the largest last: by then nothing else waits for its input, whatever the depth."""
        waiting = [(node, x) for node in _largest_first(self.roots)]
        while waiting:
            node, x = waiting.pop()
            x = step(node.module, x)
            if node.ends:
                yield node.ends, x
            waiting += [(child, x) for child in _largest_first(node.children)]


def _largest_first(nodes: dict[int, Node]) -> list[Node]:
    return sorted(nodes.values(), key=lambda node: -node.size)


def counts(
    net: nn.Module, variants: Sequence[Variant], batches: Iterable[Batch], classes: int, engine: Engine
) -> Iterator[list[Count]]:
    """The counts of every variant so far, after each batch; those of `evaluate` on the same batches.

    `net`, which the variants' links are of, is where the engine placed it; between the yields it is in its own mode.
    Raises DataError as `evaluate` does.
    """
    family = Family(variants)
    n = 0
    sums = torch.zeros(len(variants), 2, dtype=torch.float64)  # wrong, loss
    for batch in batches:
        check_labels(batch.targets, classes)
        with evaluating(net), torch.inference_mode():
            sums += _of_batch(family, engine.move(batch.images), engine.move(batch.targets), classes, engine)
        n += len(batch.targets)
        yield [Count(n, round(wrong), loss / n) for wrong, loss in sums.tolist()]
    if n == 0:
        raise DataError("there are no images to evaluate")


def first(batches: Iterable[Batch], n: int) -> Iterator[Batch]:
    """The batches up to picture `n`; the last one is cut there."""
    for batch in batches:
        yield Batch(batch.images[:n], batch.targets[:n], batch.index[:n])
        n -= len(batch.targets)
        if n <= 0:
            return


def _of_batch(family: Family, images: Tensor, targets: Tensor, classes: int, engine: Engine) -> Tensor:
    """(wrong, sum of losses) of each variant: (V, 2). An image whose loss is not finite counts as wrong."""
    found: list[Tensor] = [torch.empty(0)] * family.n
    with engine.autocast():
        for numbers, logits in family.logits(images):
            best, _, losses = summary(logits.float(), targets, classes)
            wrong = (best[:, 0] != targets) | ~losses.isfinite()
            for number in numbers:
                found[number] = torch.stack((wrong.sum().to(losses.dtype), losses.sum()))
    return torch.stack(found).cpu().double()
