"""Answers where memory runs out: fewer pictures at a time, the same pictures, from then on."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from residua.engine import out_of_memory

Part = TypeVar("Part")
Answer = TypeVar("Answer")


@dataclass
class Sparing:
    """As many pictures at a time as memory has allowed so far (`most`; None: all). In evaluation pictures do not see
    each other: only the rounding of their answers can depend on how many are asked about together.

    `tell` is called with one line when it becomes fewer.
    """

    tell: Callable[[str], object] = warnings.warn
    most: int | None = None

    def logits(self, net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """What the net says of images (N, C, H, W). Raises MemoryError where one alone is too many."""
        found = [answer for _, answer in self.parts(len(images), images.split, net)]
        return found[0] if len(found) == 1 else torch.cat(found)

    def parts(
        self, n: int, cut: Callable[[int], Iterable[Part]], ask: Callable[[Part], Answer]
    ) -> list[tuple[Part, Answer]]:
        """Each part of a batch of `n` pictures with its answer; ``cut(size)`` gives parts of about `size`."""
        while True:
            try:
                return [(part, ask(part)) for part in cut(min(n, self.most or n))]
            except Exception as e:
                if not out_of_memory(e):
                    raise
            self.halve(n)  # here, where the exception no longer holds the maps

    def halve(self, n: int) -> None:
        """Fewer than these `n` pictures from now on."""
        now = min(n, self.most or n)
        if now == 1:
            raise MemoryError("out of memory with a single picture")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.most = now // 2
        self.tell(f"memory ran out: {self.most} pictures at a time in evaluation, the same ones")
