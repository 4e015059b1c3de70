"""Which learning rate suits: a few steps on a copy of the net, each at a higher rate (Smith 2015, arXiv:1506.01186)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from residua.data.batches import Batches
from residua.engine import Engine
from residua.seeds import key
from residua.training.hold import held, hold
from residua.training.recipe import Recipe
from residua.training.state import State
from residua.training.step import class_weights, take_step

#: The rates go from `LOW` to `HIGH` times the recipe's, in `STEPS` equal factors.
LOW, HIGH, STEPS = 1e-4, 1e2, 100
#: Weight of the newest loss in the running mean; how far above the loss of the first steps is enough.
NEWEST, FIRST, DIVERGED = 0.1, 10, 1.1
#: The suggestion over the rate at which the loss was lowest: there it is about to rise (Smith 2018, arXiv:1803.09820).
BELOW = 1 / 3


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
    """Train a state to be thrown away a few steps, each at a higher rate, until its loss explodes.

    It learns what the first step of the training will: the head alone, where the recipe begins with it. `between` is
    called before each step.
    """
    recipe = replace(recipe, on_nan="stop")  # a loss without an end is what ends the sweep
    hold(state.net, held(recipe, 0, batches.steps_per_epoch))
    weights = class_weights(batches.split.labels, batches.classes) if recipe.balance == "loss" else None
    weights = None if weights is None else engine.move(weights)
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for i, batch in enumerate(batches.stream(0, STEPS, engine.workers)):
        between()
        lr = recipe.lr * LOW * (HIGH / LOW) ** (i / (STEPS - 1))
        torch.manual_seed(key(batches.seed, "step", i))
        moved = engine.move(batch.images), engine.move(batch.targets)
        loss, _, n = take_step(state, *moved, lr, recipe, engine, weights=weights).tolist()
        mean += NEWEST * (loss / n - mean)
        smooth = mean / (1 - (1 - NEWEST) ** (i + 1))
        if not math.isfinite(smooth) or (i >= FIRST and smooth > DIVERGED * max(losses[:FIRST])):
            break
        rates.append(lr)
        losses.append(smooth)
    return Sweep(tuple(rates), tuple(losses), suggestion(rates, losses))


def suggestion(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """A third of the rate at which the loss was lowest; None where it was lowest at the start or at the end."""
    if len(losses) <= FIRST:
        return None
    lowest = min(range(len(losses)), key=losses.__getitem__)
    return BELOW * rates[lowest] if FIRST <= lowest < STEPS - 1 else None
