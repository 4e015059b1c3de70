"""Activation checkpointing: what lies between a few kept maps is computed again in the backward pass.

Weights, running statistics and gradients are bit for bit those of the plain pass; only memory and time differ.
Source: Chen et al. 2016, arXiv:1604.06174.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from residua.nn.blocks import DropBranch

if TYPE_CHECKING:
    from residua.nn.resnet import Net

Statistics = tuple[float | None, Tensor | None]


def chained(net: "Net") -> list[nn.Module]:
    """The modules of all stages one after the other: what `Net.segments` counts."""
    return list(chain.from_iterable(stage.children() for stage in net.stages))


def through(modules: Sequence[nn.Module], x: Tensor, segments: Sequence[int]) -> Tensor:
    """What leaves the last module that x enters. Of each run of ``segments[i]`` modules, from the first on, only the
    input is kept for the backward pass; of the modules behind the last segment everything.
    """  # fmt: skip
    first = 0
    for size in segments:
        part = nn.Sequential(*modules[first : first + size])
        contexts = Contexts(part)
        x = checkpoint(
            part, x, use_reentrant=False, preserve_rng_state=draws(part), context_fn=contexts
        )  # fmt: skip
        first += size
    for module in modules[first:]:
        x = module(x)
    return x


class Contexts:
    """What surrounds a segment's first pass (nothing) and its second (running statistics stand still)."""

    def __init__(self, part: nn.Module) -> None:
        """Take the segment."""
        self.part = part

    def __call__(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Both, as `torch.utils.checkpoint` asks for them."""
        return nullcontext(), settled(self.part)


@contextmanager
def settled(part: nn.Module) -> Iterator[None]:
    """The running statistics of the norms inside stay as they are, whatever passes through."""
    norms = [m for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    before: list[Statistics] = [(m.momentum, m.num_batches_tracked) for m in norms]
    for m in norms:
        m.momentum, m.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for m, (momentum, count) in zip(norms, before, strict=True):
            m.momentum, m.num_batches_tracked = momentum, count


def draws(part: nn.Module) -> bool:
    """Whether a pass takes random numbers, which the second pass must take again."""
    return any(isinstance(m, DropBranch | nn.Dropout) for m in part.modules())
