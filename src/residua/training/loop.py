"""The training loop: a generator that trains and says how it goes; whoever iterates logs, validates, saves, stops."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from residua.engine import Engine
from residua.ranks import Ranks, now
from residua.seeds import key
from residua.training.finite import NotFinite
from residua.training.hold import held, hold
from residua.training.recipe import Recipe
from residua.training.schedule import head_steps, lr_at, remember, total_steps, warming
from residua.training.state import State
from residua.training.step import Learn, classifying, step_of


@dataclass(frozen=True)
class Step:
    """One step done. `step` counts from 1, `epoch` is how far the data have been seen, `error` is this batch's.

    `skipped` steps of this epoch were left out (`on_nan`); of one of them loss and error are NaN, and images 0.
    """

    step: int
    epoch: float
    lr: float
    loss: float
    error: float
    images: int
    skipped: int = 0


@dataclass(frozen=True)
class Epoch:
    """One pass over the data done: means over its images; `seconds` without what listeners took.

    `waiting` is the share of them in which the next batch was not ready yet; `skipped` steps were left out (`on_nan`).
    """

    epoch: int
    step: int
    train_loss: float
    train_error: float
    seconds: float
    images_per_second: float
    waiting: float = 0.0
    skipped: int = 0


class Stream(Protocol):
    """Batches that depend on (seed, step) alone."""

    seed: int
    steps_per_epoch: int

    def stream(self, start: int, stop: int, workers: int = 0, /) -> Iterator[Any]:
        """Those from `start` to `stop` (not included)."""


def fit(
    state: State,
    batches: Stream,
    recipe: Recipe,
    engine: Engine,
    *,
    learn: Learn | None = None,
    stop: int | None = None,
    every: int = 1,
) -> Iterator[Step | Epoch]:
    """Train from `state.step` to the recipe's end, or to `stop`: to classify, unless `learn` says what of a batch.

    Between yields the state is whole: it may be saved, evaluated, or left. The numbers are read from the device at
    every `every`-th step only, and at the end of an epoch. Raises NotFinite, a NumericError, for a loss that is not
    finite where the recipe does not skip such steps, and where every step of an epoch was skipped.
    """
    per_epoch = batches.steps_per_epoch
    steps = total_steps(recipe, per_epoch)
    stop = steps if stop is None else min(stop, steps)
    hold(state.net, held(recipe, state.step, per_epoch))
    ranks = among(state, recipe)
    learn = learn or classifying(batches, recipe, engine)
    losses: list[tuple[float, Tensor]] = []  # since the last reading: learning rate, (loss, wrong, images)
    clock = time.perf_counter()
    for step, batch in enumerate(awaited(state, batches.stream(state.step, stop, engine.workers)), state.step):
        lr = lr_at(recipe, step, steps=steps, steps_per_epoch=per_epoch, memory=state.memory)
        torch.manual_seed(key(batches.seed, "step", step))  # dropout and stochastic depth: functions of (seed, step)
        if step == head_steps(recipe, per_epoch) > 0:
            hold(state.net, recipe.freeze)
            ranks = among(state, recipe)
        sums = ranks.sum(step_of(state, batch, lr, recipe, engine, learn))
        losses.append((lr, sums))
        state.epoch += sums
        state.step = step + 1
        ends = state.step % per_epoch == 0 or state.step == steps
        if not (ends or state.step % every == 0 or state.step == stop or warming(recipe, state.memory)):
            continue
        done = _read(losses, state, state.step / per_epoch)
        losses = []
        state.memory = remember(recipe, state.memory, step=step, train_error=done.error if done.images else None)
        state.seconds += time.perf_counter() - clock
        epoch = _close(state, math.ceil(state.step / per_epoch)) if ends else None
        yield done
        if epoch is not None:
            yield epoch
        clock = time.perf_counter()


def among(state: State, recipe: Recipe) -> Ranks:
    """The processes that train together, and the net made one of them: as the parameters that learn now ask for."""
    ranks = now()
    rest = recipe.drop_depth > 0
    state.parallel = None if ranks.alone else ranks.parallel(state.lessons, parts_may_rest=rest)
    return ranks


def awaited(state: State, batches: Iterator[Any]) -> Iterator[Any]:
    """The batches; the time that each lets wait is added to the epoch's."""
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        state.waited += time.perf_counter() - began
        if batch is None:
            return
        yield batch


def _read(losses: list[tuple[float, Tensor]], state: State, epoch: float) -> Step:
    """The last of these steps; raises NotFinite at the first whose loss is not finite. Skipped ones have none."""
    rows = torch.stack([sums for _, sums in losses]).tolist()
    for back, ((lr, _), (loss, _, n)) in enumerate(zip(losses, rows, strict=True), 1 - len(rows)):
        if not math.isfinite(loss):
            raise NotFinite(
                f"the loss is {loss / n:g} at step {state.step + back} (lr {lr:g}): "
                f"try a lower rate (--set lr={lr / 10:.1g}), --set clip_norm=1, or --precision fp32",
                state.step + back,
            )
    loss, wrong, n = rows[-1]
    means = (loss / n, wrong / n) if n else (math.nan, math.nan)
    lr = losses[-1][0]
    return Step(state.step, epoch, lr, loss=means[0], error=means[1], images=int(n), skipped=state.skipped)


def _close(state: State, epoch: int) -> Epoch:
    """The epoch's means; its sums begin anew. Raises NotFinite where all of it was skipped."""
    loss, wrong, n = state.epoch.tolist()
    if not n:
        line = f"every step of epoch {epoch} was skipped, since no loss or gradient had an end: try a lower --lr"
        raise NotFinite(line, state.step)
    seconds, waited, skipped = state.seconds, state.waited, state.skipped
    state.epoch.zero_()
    state.seconds, state.waited, state.skipped = 0.0, 0.0, 0
    return Epoch(
        epoch=epoch,
        step=state.step,
        train_loss=loss / n,
        train_error=wrong / n,
        seconds=seconds,
        images_per_second=n / max(seconds, 1e-9),
        waiting=min(1.0, waited / max(seconds, 1e-9)),
        skipped=skipped,
    )
