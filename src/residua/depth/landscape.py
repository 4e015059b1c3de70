"""The loss around a net: a plane through its weights along two random directions, filter by filter on their scale.

Source: Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets", arXiv:1712.09913, sec. 4. As there, biases and
the norms' parameters stay where they are (``ignore=biasbn``), and the net is evaluated with its running statistics.
"""

import hashlib
import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from residua import seeds
from residua.data.batches import Batch
from residua.engine import Engine
from residua.errors import NumericError, UsageError
from residua.evaluate import evaluating

Direction = dict[str, Tensor]
Move = Callable[[float, float], None]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """`resolution` x `resolution` points from -`span` to `span` along both directions; `seed` draws the directions.

    The unit of length is the filters' own norm. Raises UsageError unless the net itself is the middle point.
    """

    resolution: int = 21
    span: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.resolution < 3 or self.resolution % 2 == 0:
            near = max(3, self.resolution + 1)
            raise UsageError(
                f"--resolution {self.resolution}: give an odd number, so that the net is the middle point: {near}"
            )
        if not (math.isfinite(self.span) and self.span > 0):
            raise UsageError(f"--span {self.span:g}: give a positive number; 1 is the norm of the filters themselves")

    def at(self, i: int) -> float:
        """The coordinate of row or column `i`; exactly 0 in the middle."""
        return self.span * (2 * i / (self.resolution - 1) - 1)

    def points(self) -> list[tuple[int, int]]:
        """(i, j) of every point, from the middle outwards."""
        middle = self.resolution // 2
        every = [(i, j) for i in range(self.resolution) for j in range(self.resolution)]
        return sorted(every, key=lambda p: (max(abs(p[0] - middle), abs(p[1] - middle)), p))


@dataclass(frozen=True)
class Point:
    """The mean loss of `n` images at ``weights + alpha * first + beta * second``, None where it is not finite.

    `wrong` counts the images that are misclassified or for which the output is not finite.
    """

    i: int
    j: int
    alpha: float
    beta: float
    loss: float | None
    wrong: int
    n: int


def direction(net: nn.Module, *words: int | str) -> Direction:
    """A random direction keyed by `words`: for each convolution and linear layer, normal numbers of its weight's shape,
    every filter scaled to the norm of the net's own.

    Biases and norms are left out: the direction is zero there. Source: Li et al. 2018, sec. 4.
    """  # fmt: skip
    made = {}
    for name, weight in net.named_parameters():
        if weight.ndim < 2:
            continue
        drawn = seeds.generator(*words, name).standard_normal(tuple(weight.shape), dtype=np.float32)
        d, w = torch.from_numpy(drawn), weight.detach().cpu()
        scale = w.flatten(1).norm(dim=1) / d.flatten(1).norm(dim=1)
        d.mul_(scale.view(-1, *(1,) * (d.ndim - 1)))
        made[name] = torch.empty_like(weight.detach()).copy_(d)
    return made


@contextmanager
def plane(net: nn.Module, seed: int) -> Iterator[Move]:
    """A function that moves the net's weights to a point (alpha, beta); on exit they are what they were."""
    weights = {name: p for name, p in net.named_parameters() if p.ndim > 1}
    base = {name: p.detach().clone() for name, p in weights.items()}
    first, second = (direction(net, seed, "landscape", axis) for axis in ("first", "second"))

    @torch.no_grad()
    def move(alpha: float, beta: float) -> None:
        for name, p in weights.items():
            torch.add(base[name], first[name], alpha=alpha, out=p.data).add_(second[name], alpha=beta)

    try:
        yield move
    finally:
        for name, p in weights.items():
            p.data.copy_(base[name])


def check(net: nn.Module) -> None:
    """Raise NumericError if a parameter of the net is not finite: then no point of its surface is."""
    if bad := [name for name, p in net.named_parameters() if not p.isfinite().all()]:
        raise NumericError(f"the surface is NaN everywhere: {bad[0]} of the net is not finite")


def surface(
    net: nn.Module, batches: Iterable[Batch], engine: Engine, grid: Grid, *, done: Container[tuple[int, int]] = ()
) -> Iterator[Point]:
    """The points of the plane, from the middle outwards, each as soon as it is known; those in `done` are left out.

    `net` is where the engine placed it, and is left as it was found, also when the caller stops early. A point depends
    on nothing but the net, the images, the engine and the grid, not on the points before it.
    Raises NumericError if the net's own weights are not finite.
    """
    check(net)
    held = [(engine.move(b.images), engine.move(b.targets)) for b in batches]
    with evaluating(net), plane(net, grid.seed) as move:
        for i, j in grid.points():
            if (i, j) in done:
                continue
            alpha, beta = grid.at(i), grid.at(j)
            move(alpha, beta)
            yield Point(i, j, alpha, beta, *_height(net, held, engine))


@torch.no_grad()
def _height(net: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], engine: Engine) -> tuple[float | None, int, int]:
    """Mean loss, images wrong, images."""
    total, wrong, n = 0.0, 0, 0
    for images, targets in batches:
        with engine.autocast():
            logits = net(images)
        losses = functional.cross_entropy(logits.float(), targets, reduction="none").double()
        total += float(losses.sum())
        wrong += int(((logits.argmax(1) != targets) | ~losses.isfinite()).sum())
        n += len(targets)
    loss = total / n
    return loss if math.isfinite(loss) else None, wrong, n


def fingerprint(net: nn.Module) -> str:
    """32 hex digits over every name, shape and number of a net on the CPU."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in net.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
