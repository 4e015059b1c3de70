"""How fast a net trains here: a few real steps on real pictures, timed."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from residua.data.batches import Batches
from residua.engine import Engine
from residua.evaluate import evaluating
from residua.nn.resnet import Net
from residua.training.recipe import Recipe
from residua.training.state import begin
from residua.training.step import take_step

#: Steps before the clock counts, and the least that it counts.
WARM, LEAST = 2, 3


@dataclass(frozen=True)
class Speed:
    """Seconds of one training step (the median of `n`), and of one picture's evaluation."""

    step: float
    picture: float
    n: int = 0


def measure(net: Net, batches: Batches, recipe: Recipe, engine: Engine, *, seconds: float) -> Speed:
    """The speed of a net that nobody needs afterwards, measured for about `seconds`, and at least a few steps."""
    state = begin(engine.place(net), recipe, engine)
    state.net.train()
    times: list[float] = []
    began = last = time.perf_counter()
    for step, batch in enumerate(batches.stream(0, 1_000_000, engine.workers)):
        images = engine.move(batch.images)
        take_step(state, images, engine.move(batch.targets), 0.0, recipe, engine)
        wait(engine)
        now = time.perf_counter()
        times.append(now - last)
        last = now
        if step >= WARM + LEAST - 1 and now - began > seconds:
            break
    state.optimiser.zero_grad(set_to_none=True)
    return Speed(statistics.median(times[WARM:]), _evaluation(net, images, engine), len(times) - WARM)


def _evaluation(net: Net, images: torch.Tensor, engine: Engine) -> float:
    """Seconds of one picture's evaluation: the faster of two passes."""
    times = [time.perf_counter()]
    with evaluating(net), torch.no_grad(), engine.autocast():
        for _ in range(2):
            net(images)
            wait(engine)
            times.append(time.perf_counter())
    return min(b - a for a, b in pairwise(times)) / len(images)


def wait(engine: Engine) -> None:
    """Return when the device has done all that it was asked to."""
    if engine.kind == "cuda":
        torch.cuda.synchronize()
    elif engine.kind == "mps":
        torch.mps.synchronize()


def between(known: Sequence[tuple[int, Speed]], macs: int) -> Speed:
    """The speed of a net of `macs` multiply-adds, from nets of the same family: a line through the nearest two.

    A step is an overhead and a time for each unit, both nearly the same at every depth. One known net gives a
    proportion.
    """
    (m, a), *others = sorted(known, key=lambda k: abs(k[0] - macs))
    if not others or others[0][0] == m:
        return Speed(a.step * macs / m, a.picture * macs / m)
    n, b = others[0]
    part = (macs - m) / (n - m)

    def line(first: float, second: float) -> float:
        return max(first + (second - first) * part, first * min(1.0, macs / m))

    return Speed(line(a.step, b.step), line(a.picture, b.picture))
