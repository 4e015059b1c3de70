"""A detector at work: what is found in the pictures of a split, and what a batch teaches it."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from residua.boxes.batches import BoxBatch, Pictures, sliced
from residua.boxes.found import Found
from residua.boxes.view import BoxView, scales
from residua.detect.counts import BoxEvaluation, evaluated
from residua.detect.detector import Detections, Detector, wanted
from residua.engine import Engine
from residua.evaluate import evaluating
from residua.training.loop import Learn, State
from residua.training.recipe import Recipe


def learning(recipe: Recipe, engine: Engine) -> Learn:
    """What a batch of pictures with boxes says to a detector: the gradient of all four losses, slice by slice.

    The error of a step is the share of the drawn regions whose class is wrong.
    """

    def learn(state: State, batch: BoxBatch) -> Tensor:
        net = state.net
        assert isinstance(net, Detector)
        state.optimiser.zero_grad(set_to_none=True)
        sums = torch.zeros_like(state.epoch)
        for part in sliced(batch, recipe.batch_size // state.slices):
            images = engine.move(part.images)
            with engine.autocast():
                losses = net.losses(images, part.sides, wanted(part.targets, engine.device))
            loss, n = losses.total, len(part)
            torch.autograd.backward(state.scaler.scale(loss * (n / len(batch))))
            told = torch.stack([loss.detach() * n, losses.wrong * n, torch.full_like(losses.wrong, n)])
            sums += told.to(sums.dtype)
        return sums

    return learn


def detected(net: Detector, batches: Iterable[BoxBatch], engine: Engine) -> Iterator[tuple[int, Detections]]:
    """What is found in each picture, with its position, in the pixels that the net sees."""
    with evaluating(net):
        for batch in batches:
            with torch.inference_mode(), engine.autocast():
                found = net(engine.move(batch.images), batch.sides)
            for i, one in zip(batch.index.tolist(), found, strict=True):
                yield i, Detections(one.boxes.float().cpu(), one.labels.cpu(), one.scores.float().cpu())


def returned(found: Detections, size: tuple[int, int], view: BoxView) -> Found:
    """What was found, in the pixels of the picture of this height and width."""
    factors = scales(size, view.scaled(*size))
    boxes = found.boxes.double().numpy() / factors
    limits = np.array([size[1], size[0], size[1], size[0]], np.float64)
    return Found(np.clip(boxes, 0, limits), found.labels.numpy(), found.scores.double().numpy())


def evaluate(
    net: Detector, pictures: Pictures, batches: Iterable[BoxBatch], classes: tuple[str, ...], engine: Engine,
    heard: Callable[[int], object] = lambda n: None,
) -> tuple[BoxEvaluation, list[Found]]:  # fmt: skip
    """How good the detections in a split's pictures are, in the pixels of their files; and what they are."""
    split = pictures.split
    found: list[Found | None] = [None] * len(split)
    for i, one in detected(net, batches, engine):
        height, width = split.sizes[i].tolist()
        found[i] = returned(one, (height, width), pictures.view)
        heard(1)
    every = [f for f in found if f is not None]
    return evaluated(split.targets, every, split.sizes, classes), every
