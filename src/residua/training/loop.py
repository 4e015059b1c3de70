"""The training loop: a generator that trains and says how it goes; whoever iterates logs, validates, saves, stops."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from residua.data.batches import Batch
from residua.engine import Engine
from residua.ranks import Ranks, now
from residua.seeds import key
from residua.training.finite import NotFinite, buffers, finite, undo
from residua.training.hold import held, hold
from residua.training.optimise import Ema, optimiser, set_lr
from residua.training.recipe import Recipe
from residua.training.schedule import Memory, head_steps, lr_at, remember, total_steps, warming

#: Weights of GoogLeNet's losses: the net's own, its auxiliary heads' (Szegedy et al. 2014, sec. 5).
HEADS = (1.0, 0.3, 0.3)
#: Binary cross-entropy takes a class as present where mixing left it more than this (timm's A3: bce_target_thresh).
PRESENT = 0.2
#: How torch says that memory ran out where it has no exception of its own for it: on a CPU, and in cuDNN.
NO_MEMORY = ("not enough memory", "allocate memory", "CUDNN_STATUS_ALLOC_FAILED")


@dataclass
class State:
    """All that training changes. `ema.net` is what to evaluate and keep: the net itself unless weights are averaged.

    `epoch` holds the sums of the unfinished epoch: loss, wrong, images; `seconds` its time, `waited` the part of it
    that was spent waiting for data, `skipped` how many of its steps were left out since their loss had no end.
    """

    net: nn.Module
    optimiser: Optimizer
    ema: Ema
    scaler: torch.amp.GradScaler
    epoch: Tensor
    step: int = 0
    memory: Memory = field(default_factory=Memory)
    seconds: float = 0.0
    waited: float = 0.0
    skipped: int = 0
    slices: int = 1  # that a batch is cut into: the recipe's number, or more where memory ran out
    lesson: nn.Module | None = None  # the net with its losses, where a forward pass in training is not the net's own
    parallel: nn.Module | None = None  # either among those of other processes, while they train together

    @property
    def model(self) -> nn.Module:
        """What a forward pass in training goes through."""
        return self.parallel or self.lesson or self.net

    def state_dict(self) -> dict[str, Any]:
        """Tensors, words and numbers: loads with ``weights_only=True``."""
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "memory": asdict(self.memory),
            "seconds": self.seconds,
            "waited": self.waited,
            "skipped": self.skipped,
            "slices": self.slices,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave, in this net's memory format."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        for p, kept in self.optimiser.state.items():  # fused kernels need the layout of the parameter
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.shape == p.shape:
                    kept[name] = torch.empty_like(p, dtype=value.dtype).copy_(value)
        self.ema.load_state_dict(state["ema"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch.copy_(state["epoch"])
        self.step, self.seconds, self.waited = state["step"], state["seconds"], state.get("waited", 0.0)
        self.skipped = state.get("skipped", 0)
        self.memory = Memory(**state["memory"])
        self.slices = max(self.slices, state.get("slices", 1))


def begin(net: nn.Module, recipe: Recipe, engine: Engine) -> State:
    """The state before the first step, of a net that the engine has placed."""
    sums = torch.zeros(3, dtype=torch.float32 if engine.kind == "mps" else torch.float64, device=engine.device)
    hold(net, recipe.freeze)
    return State(net, optimiser(net, recipe), Ema(net, recipe.ema), engine.scaler(), sums, slices=recipe.accumulate)


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


#: Put the gradient of a batch into the parameters, in `state.slices` slices; gives (loss * N, wrong, N).
Learn = Callable[[State, Any], Tensor]


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
    state.parallel = None if ranks.alone else ranks.parallel(state.lesson or state.net, parts_may_rest=rest)
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


def take_step(
    state: State,
    images: Tensor,
    targets: Tensor,
    lr: float,
    recipe: Recipe,
    engine: Engine,
    *,
    weights: Tensor | None = None,
) -> Tensor:
    """One step of the optimiser on a batch (N, C, S, S) to classify; gives (loss * N, wrong, N)."""
    batch = images, targets
    return step_of(state, batch, lr, recipe, engine, lambda s, b: gradients(s, b[0], b[1], recipe, engine, weights))


def classifying(batches: Any, recipe: Recipe, engine: Engine) -> Learn:
    """What a batch of pictures and classes says to a net that classifies."""
    weights = class_weights(batches.split.labels, batches.classes) if recipe.balance == "loss" else None
    weights = None if weights is None else engine.move(weights)

    def learn(state: State, batch: Batch) -> Tensor:
        return gradients(state, engine.move(batch.images), engine.move(batch.targets), recipe, engine, weights)

    return learn


def step_of(state: State, batch: Any, lr: float, recipe: Recipe, engine: Engine, learn: Learn) -> Tensor:
    """One step of the optimiser on a batch, slice by slice; gives (loss * N, wrong, N).

    Where memory runs out the batch is cut into twice as many slices, from now on: the same batch to the optimiser, but
    norms see one slice. (Running statistics may then have seen some pictures of this batch twice.) Raises MemoryError
    where slices of two pictures are still too large.
    """
    set_lr(state.optimiser, lr)
    before = buffers(state.net) if recipe.on_nan == "skip" else None
    while True:
        try:
            sums = learn(state, batch)
            break
        except Exception as e:
            if not out_of_memory(e) or state.parallel is not None:  # the others would not do the batch again
                raise
        thinner(state, recipe, engine)  # here, where the exception no longer holds the maps
    if before is not None and now().any(not finite(state, sums)):  # in many processes all or none
        return undo(state, before)
    if recipe.clip_norm is not None:
        state.scaler.unscale_(state.optimiser)
        nn.utils.clip_grad_norm_(state.net.parameters(), recipe.clip_norm)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    state.ema.update(state.net)
    return sums


def gradients(
    state: State, images: Tensor, targets: Tensor, recipe: Recipe, engine: Engine, weights: Tensor | None
) -> Tensor:
    """The gradient of a batch in the parameters; gives (loss * N, wrong, N)."""
    sums = torch.zeros_like(state.epoch)
    state.optimiser.zero_grad(set_to_none=True)
    parts = list(slices(images, targets, recipe.batch_size // state.slices))
    for i, (x, y) in enumerate(parts, 1):
        with travelling(state, i == len(parts)):
            with engine.autocast():
                outputs = state.model(x)
            loss = loss_of(outputs, y, recipe, weights)
            torch.autograd.backward(state.scaler.scale(loss * (len(x) / len(images))))
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        truth = y if y.ndim == 1 else y.argmax(1)
        wrong = (logits.detach().argmax(1) != truth).sum()
        sums += torch.stack([loss.detach() * len(x), wrong, torch.full_like(wrong, len(x))]).to(sums.dtype)
    return sums


def travelling(state: State, last: bool) -> AbstractContextManager[Any]:
    """Gradients travel between processes with the `last` slice of a batch only."""
    together = state.parallel
    return nullcontext() if last or not isinstance(together, DistributedDataParallel) else together.no_sync()


def out_of_memory(error: Exception) -> bool:
    """Whether this is torch's or Python's word for memory that ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in NO_MEMORY)


def thinner(state: State, recipe: Recipe, engine: Engine) -> None:
    """Cut batches into twice as many slices. Raises MemoryError where they would hold fewer than two pictures."""
    state.optimiser.zero_grad(set_to_none=True)
    if engine.kind == "cuda":
        torch.cuda.empty_cache()
    if recipe.batch_size // (2 * state.slices) < 2:
        raise MemoryError(f"out of memory with slices of {recipe.batch_size // state.slices} pictures")
    state.slices *= 2


def slices(images: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batch in slices of `size` pictures, or a few more: none smaller than those of a full batch."""
    n = max(1, len(images) // size)
    return zip(images.tensor_split(n), targets.tensor_split(n), strict=True)


def class_weights(labels: npt.NDArray[np.int64], classes: int) -> Tensor:
    """What the pictures of each class (K,) count: together as much as those of any other, 1 on average."""
    n = np.bincount(labels, minlength=classes)
    return torch.from_numpy(len(labels) / (np.count_nonzero(n) * np.maximum(n, 1))).float()


def loss_of(
    outputs: Tensor | tuple[Tensor, ...], targets: Tensor, recipe: Recipe, weights: Tensor | None = None
) -> Tensor:
    """The loss in fp32: logits (N, K), or a tuple with those of auxiliary heads behind; targets (N,) or (N, K);
    `weights` (K,) of the classes.
    """  # fmt: skip
    if isinstance(outputs, tuple):
        parts = [w * loss_of(o, targets, recipe, weights) for w, o in zip(HEADS, outputs, strict=True)]
        return torch.stack(parts).sum()
    logits = outputs.float()
    if recipe.loss == "cross-entropy":
        return functional.cross_entropy(logits, targets, weights, label_smoothing=recipe.label_smoothing)
    if targets.ndim == 1:
        targets = functional.one_hot(targets, logits.shape[1])
    smooth = recipe.label_smoothing
    present = (targets > PRESENT).to(logits.dtype) * (1 - smooth) + smooth / logits.shape[1]
    return functional.binary_cross_entropy_with_logits(logits, present, weights)


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
