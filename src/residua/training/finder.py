"""Which learning rate suits: a few steps on a copy of the net, each at a higher rate (Smith 2015, arXiv:1506.01186)."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from residua.data.batches import Batches
from residua.engine import Engine
from residua.seeds import key
from residua.training.hold import held, hold
from residua.training.loop import State, take_step
from residua.training.recipe import Recipe

#: The rates go from `LOW` to `HIGH` times the recipe's, in `STEPS` equal factors.
LOW, HIGH, STEPS = 1e-4, 1e2, 100
#: Weight of the newest loss in the running mean, and how many times the lowest a loss may be before it is enough.
NEWEST, DIVERGED = 0.1, 4.0


@dataclass(frozen=True)
class Sweep:
    """Learning rates, rising, the smoothed loss after a step at each, and the rate that they suggest."""

    lr: tuple[float, ...]
    loss: tuple[float, ...]
    suggestion: float | None

    def to_json(self) -> dict[str, Any]:
        """As plain lists and numbers."""
        return {"lr": list(self.lr), "loss": list(self.loss), "suggestion": self.suggestion}


def sweep(
    state: State, batches: Batches, recipe: Recipe, engine: Engine, between: Callable[[], None] = lambda: None
) -> Sweep:
    """Train a copy of the state a few steps, each at a higher rate, until its loss explodes; the state stays as it is.

    `between` is called before each step. The copy learns what the first step of the training will: the head alone,
    where the recipe begins with it.
    """
    spare = copy.deepcopy(state)
    hold(spare.net, held(recipe, spare.step, batches.steps_per_epoch))
    rates, losses, mean, lowest = [], [], 0.0, math.inf
    for i, batch in enumerate(batches.stream(0, STEPS, engine.workers)):
        between()
        lr = recipe.lr * LOW * (HIGH / LOW) ** (i / (STEPS - 1))
        torch.manual_seed(key(batches.seed, "step", i))
        sums = take_step(spare, engine.move(batch.images), engine.move(batch.targets), lr, recipe, engine)
        loss, _, n = sums.tolist()
        mean += NEWEST * (loss / n - mean)
        smooth = mean / (1 - (1 - NEWEST) ** (i + 1))
        if not math.isfinite(smooth) or (i > STEPS // 10 and smooth > DIVERGED * lowest):
            break
        lowest = min(lowest, smooth)
        rates.append(lr)
        losses.append(smooth)
    return Sweep(tuple(rates), tuple(losses), valley(rates, losses))


def valley(rates: list[float], losses: list[float]) -> float | None:
    """The rate two thirds down the longest run of falling losses, where learning is fast and not yet rough; None for
    losses that never fall.

    Source: ESRI's "valley", as fast.ai's ``lr_find`` suggests it.
    """  # fmt: skip
    n = len(losses)
    longest, end = [1] * n, 0
    for i in range(1, n):
        longest[i] = 1 + max((longest[j] for j in range(i) if losses[j] > losses[i]), default=0)
        if longest[i] > longest[end]:
            end = i
    if not n or longest[end] < max(3, n // 10):
        return None
    start = end - longest[end]
    section = (end - start) / 3
    return rates[int(start + section + section / 2)]


def for_finding(recipe: Recipe) -> Recipe:
    """The recipe without what belongs to a whole run: its averages."""
    return replace(recipe, ema=None)
