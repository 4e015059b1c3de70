"""The learning rate as a pure function of the step, and what a schedule must remember. No torch."""

import math
from dataclasses import dataclass, replace

from residua.training.recipe import Recipe

#: Weight of the newest batch in the running training error that ends an error-bound warm-up (about 20 batches).
ERROR_WEIGHT = 0.05


@dataclass(frozen=True)
class Memory:
    """What a plateau and an error-bound warm-up must remember between steps."""

    train_error: float = 1.0  # running mean over about 20 batches
    warm_since: int | None = None  # the step from which the error-bound warm-up is over
    best_error: float = math.inf
    bad_epochs: int = 0
    drops: int = 0


def total_steps(r: Recipe, steps_per_epoch: int) -> int:
    """How many steps the recipe takes; at least one."""
    if r.steps is not None:
        return r.steps
    assert r.epochs is not None
    return max(1, round(r.epochs * steps_per_epoch))


def warming(r: Recipe, memory: Memory) -> bool:
    """Whether an error-bound warm-up is still on."""
    return r.warmup_until_error is not None and memory.warm_since is None


def head_steps(r: Recipe, steps_per_epoch: int) -> int:
    """For how many steps the head learns alone: at most a third of the run."""
    return min(round(r.head_epochs * steps_per_epoch), total_steps(r, steps_per_epoch) // 3)


def lr_at(r: Recipe, step: int, *, steps: int, steps_per_epoch: int, memory: Memory = Memory()) -> float:
    """The learning rate of `step` (from 0) of `steps`. While the head learns alone it rises to `lr`; then the schedule
    begins, over the steps that are left.
    """  # fmt: skip
    if alone := head_steps(r, steps_per_epoch):
        if step < alone:
            return r.lr * _cosine(r.start_factor, 1.0, (step + 1) / alone)
        step, steps = step - alone, max(1, steps - alone)
    if warming(r, memory):
        return r.warmup_lr
    warm = r.warmup_steps or round(r.warmup_epochs * steps_per_epoch)
    if step < warm:
        return r.warmup_lr + (r.lr - r.warmup_lr) * step / warm if r.warmup == "linear" else r.warmup_lr
    if r.schedule == "one-cycle":
        return r.lr * _one_cycle(r, step - warm, steps - warm)
    if r.schedule == "cosine":
        return r.lr * _cosine(1.0, r.final_factor, (step - warm) / max(1, steps - warm))
    if r.schedule == "step":
        return r.lr * r.drop_factor ** sum(step >= round(d * steps) for d in r.drops)
    if r.schedule == "plateau":
        return r.lr * r.drop_factor**memory.drops
    return r.lr


def _cosine(first: float, last: float, part: float) -> float:
    """Half a cosine from `first` at 0 to `last` at 1."""
    return last + (first - last) * (1 + math.cos(math.pi * min(1.0, part))) / 2


def _one_cycle(r: Recipe, step: int, steps: int) -> float:
    """The factor of lr: up until `peak_at`, then down to `final_factor` at the last step."""
    peak = max(r.peak_at * steps - 1, 0.0)
    if step <= peak:
        return _cosine(r.start_factor, 1.0, step / peak if peak else 1.0)
    return _cosine(1.0, r.final_factor, (step - peak) / max(1e-9, steps - 1 - peak))


def remember(
    r: Recipe, memory: Memory, *, step: int, val_error: float | None = None, train_error: float | None = None
) -> Memory:
    """The memory after `step`, given the error of its batch or of the validation that followed it."""
    if train_error is not None and warming(r, memory):
        assert r.warmup_until_error is not None
        mean = memory.train_error + ERROR_WEIGHT * (train_error - memory.train_error)
        warm = step + 1 if mean < r.warmup_until_error else None
        memory = replace(memory, train_error=mean, warm_since=warm)
    if val_error is not None and r.schedule == "plateau":
        if val_error < memory.best_error:
            return replace(memory, best_error=val_error, bad_epochs=0)
        bad = memory.bad_epochs + 1
        if bad >= r.patience_epochs:
            return replace(memory, bad_epochs=0, drops=memory.drops + 1)
        memory = replace(memory, bad_epochs=bad)
    return memory
