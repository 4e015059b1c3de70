"""Activation checkpointing: what lies between a few kept maps is computed again in the backward pass.

Weights, running statistics and gradients are bit for bit those of the plain pass; only memory and time differ.
Source: Chen et al. 2016, arXiv:1604.06174. Built on torch's hooks for saved tensors rather than on
`torch.utils.checkpoint`, which imports the compiler (seconds, and 200 MB) wherever it is called.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from residua.nn.blocks import DropBranch

if TYPE_CHECKING:
    from residua.nn.resnet import Net

Statistics = tuple[float | None, Tensor | None]
Casts = Callable[[], AbstractContextManager[Any]]


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
        again = Again(part, x)
        with saved_tensors_hooks(again.pack, again.unpack):
            x = part(x)
        first += size
    for module in modules[first:]:
        x = module(x)
    return x


class Again:
    """One pass through a segment: nothing that autograd would keep of it is kept, but a number in its place.

    The first number that the backward pass asks for makes the segment run again, and what it keeps then is handed out,
    each once: both passes are the same operations in the same order.
    """

    def __init__(self, part: nn.Module, x: Tensor) -> None:
        """Take the segment, and x (N, C, H, W), which enters it."""
        self.part, self.x = part, x
        self.count = 0
        self.kept: dict[int, Tensor] = {}
        self.casts = casting(x.device.type)
        self.random = torch.get_rng_state() if draws(part) else None
        self.random_there = torch.cuda.get_rng_state(x.device) if self.random is not None and x.is_cuda else None

    def pack(self, tensor: Tensor) -> int:
        """The number that stands for a tensor."""
        self.count += 1
        return self.count - 1

    def unpack(self, number: int) -> Tensor:
        """The tensor that a number stands for. Raises RuntimeError where the second pass was another."""
        if number not in self.kept:
            self.run()
        return self.kept.pop(number)

    def run(self) -> None:
        """The second pass: fill `kept`, and stop where the last tensor is known."""
        self.kept = {}
        x = self.x.detach().requires_grad_(self.x.requires_grad)
        with torch.enable_grad(), self.casts(), self.drawing(), settled(self.part):
            try:
                with saved_tensors_hooks(self.keep, unasked):
                    self.part(x)
            except Complete:
                return
        raise RuntimeError(f"a segment kept {self.count} maps first and {len(self.kept)} when it ran again")

    def keep(self, tensor: Tensor) -> None:
        """Take a tensor of the second pass. Raises Complete behind the last."""
        self.kept[len(self.kept)] = tensor.detach()
        if len(self.kept) == self.count:
            raise Complete

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """The random numbers of the first pass; outside they go on as if none had been taken."""
        if self.random is None:
            yield
            return
        with torch.random.fork_rng([self.x.device] if self.random_there is not None else []):
            torch.set_rng_state(self.random)
            if self.random_there is not None:
                torch.cuda.set_rng_state(self.random_there, self.x.device)
            yield


class Complete(Exception):
    """All that the first pass kept is there again."""


def unasked(kept: None) -> Tensor:
    """The second pass is only there for what it keeps: nobody goes back through it."""
    raise RuntimeError("a segment that runs again has no backward pass")


def casting(kind: str) -> Casts:
    """Autocast on a kind of device as it is now, to be entered again later."""
    if not torch.is_autocast_enabled(kind):
        return lambda: nullcontext()
    dtype, cache = torch.get_autocast_dtype(kind), torch.is_autocast_cache_enabled()
    return lambda: torch.autocast(kind, dtype, cache_enabled=cache)


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
