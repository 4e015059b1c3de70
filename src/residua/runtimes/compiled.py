"""torch's compiler: the net with folded norms and weights laid out for the processor once."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from residua.engine import FORMATS, PRECISIONS, Engine
from residua.export.folding import folded
from residua.export.to_pt2 import quiet


def prepared(net: nn.Module, engine: Engine) -> Callable[[Tensor], Tensor]:
    """The net compiled: float32 (N, C, S, S) -> (N, K) on the device. At a first batch it raises whatever compilers do.

    One program answers for every batch from two on; a single picture alone has a program of its own, unless there is
    that of batches already, which takes it twice.
    """
    kind = PRECISIONS[engine.precision]
    own = folded(net).to(engine.device, kind).to(memory_format=FORMATS[engine.memory_format])
    for weight in own.parameters():
        weight.requires_grad_(False)
    return _Compiled(own, engine, kind)


class _Compiled:
    """Programs for one picture and for many."""

    def __init__(self, net: nn.Module, engine: Engine, kind: torch.dtype) -> None:
        self.engine, self.kind = engine, kind
        # A whole graph or none: pieces with Python between would be slow without a word.
        self.program: dict[bool, Callable[[Tensor], Tensor]] = {
            several: torch.compile(net, fullgraph=True, dynamic=several, options={"freezing": True})
            for several in (False, True)
        }
        self.made: set[bool] = set()

    def __call__(self, x: Tensor) -> Tensor:
        n = len(x)
        several = n > 1 or True in self.made
        images = self.engine.move(x if n > 1 or not several else x.expand(2, -1, -1, -1)).to(self.kind)
        with torch.no_grad(), nullcontext() if several in self.made else quiet():
            logits = self.program[several](images)
        self.made.add(several)
        return logits[:n].float()
