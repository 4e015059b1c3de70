"""What a step does: a batch, in parts where it has to be, becomes gradients, and they a step of the optimiser."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from residua.data.batches import Batch
from residua.engine import Engine, out_of_memory
from residua.ranks import now
from residua.training.finite import buffers, finite, undo
from residua.training.optimise import set_lr
from residua.training.recipe import Recipe
from residua.training.state import State

#: Weights of GoogLeNet's losses: the net's own, its auxiliary heads' (Szegedy et al. 2014, sec. 5).
HEADS = (1.0, 0.3, 0.3)
#: Binary cross-entropy takes a class as present where mixing left it more than this (timm's A3: bce_target_thresh).
PRESENT = 0.2

#: Put the gradient of a batch into the parameters, in `state.slices` slices; gives (loss * N, wrong, N).
Learn = Callable[[State, Any], Tensor]

#: What a part of a batch comes to: its mean loss, how many answers are wrong, and how many pictures it has.
Asked: TypeAlias = tuple[Tensor, Tensor, int]
Part = TypeVar("Part")


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
    """The gradient of a batch to classify in the parameters; gives (loss * N, wrong, N)."""

    def ask(part: tuple[Tensor, Tensor]) -> Asked:
        x, y = part
        with engine.autocast():
            outputs = state.model(x)
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        truth = y if y.ndim == 1 else y.argmax(1)
        return loss_of(outputs, y, recipe, weights), (logits.detach().argmax(1) != truth).sum(), len(x)

    parts = list(slices(images, targets, recipe.batch_size // state.slices))
    return in_parts(state, parts, ask, pictures=len(images))


def in_parts(state: State, parts: Sequence[Part], ask: Callable[[Part], Asked], *, pictures: int) -> Tensor:
    """The gradient of a batch of so many `pictures` that goes through the net part by part; (loss * N, wrong, N)."""
    sums = torch.zeros_like(state.epoch)
    state.optimiser.zero_grad(set_to_none=True)
    for i, part in enumerate(parts, 1):
        with travelling(state, i == len(parts)):
            loss, wrong, n = ask(part)
            torch.autograd.backward(state.scaler.scale(loss * (n / pictures)))
        sums += torch.stack([loss.detach() * n, wrong, torch.full_like(wrong, n)]).to(sums.dtype)
    return sums


def travelling(state: State, last: bool) -> AbstractContextManager[Any]:
    """Gradients travel between processes with the `last` slice of a batch only."""
    together = state.parallel
    return nullcontext() if last or not isinstance(together, DistributedDataParallel) else together.no_sync()


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
