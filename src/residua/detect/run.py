"""A detector at work: what is found in the pictures of a split, and what a batch teaches it."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from residua.boxes.batches import BoxBatch, Pictures, sliced
from residua.boxes.found import Found
from residua.boxes.view import BoxView, scales
from residua.detect.counts import BoxEvaluation, evaluated
from residua.detect.detector import Detections, Detector, Sides, wanted
from residua.engine import Engine
from residua.evaluate import Sparing, evaluating
from residua.ranks import now
from residua.training.recipe import Recipe
from residua.training.state import State
from residua.training.step import Asked, Learn, in_parts


class Lesson(nn.Module):
    """A detector with what its answers cost: images, their sides, targets as of `wanted` -> the whole loss, and the
    share of the drawn regions whose class is wrong, times the pictures."""

    def __init__(self, net: Detector) -> None:
        """Of a detector, whose parameters learn."""
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, sides: Sides, targets: Sequence[Mapping[str, Tensor]]) -> tuple[Tensor, Tensor]:
        """The loss and the error."""
        losses = self.net.losses(images, sides, targets)
        return losses.total, losses.wrong * len(sides)


def learning(recipe: Recipe, engine: Engine) -> Learn:
    """What a batch of pictures with boxes says to a `Lesson`: the gradient of all four losses, slice by slice."""

    def learn(state: State, batch: BoxBatch) -> Tensor:
        def ask(part: BoxBatch) -> Asked:
            targets = wanted(part.targets, engine.device)
            with engine.autocast():
                return *state.model(engine.move(part.images), part.sides, targets), len(part)

        return in_parts(state, list(sliced(batch, recipe.batch_size // state.slices)), ask, pictures=len(batch))

    return learn


def detected(
    net: Detector, batches: Iterable[BoxBatch], engine: Engine, tell: Callable[[str], object] = warnings.warn
) -> Iterator[tuple[int, Detections]]:
    """What is found in each picture, with its position, in the pixels that the net sees; `tell`: see `evaluate`."""

    def ask(part: BoxBatch) -> list[Detections]:
        with torch.inference_mode(), engine.autocast():
            found = net(engine.move(part.images), part.sides)
        return [Detections(one.boxes.float().cpu(), one.labels.cpu(), one.scores.float().cpu()) for one in found]

    sparing = Sparing(tell)
    with evaluating(net):
        for batch in batches:
            for part, found in sparing.parts(len(batch), partial(sliced, batch), ask):
                yield from zip(part.index.tolist(), found, strict=True)


def returned(found: Detections, size: tuple[int, int], view: BoxView) -> Found:
    """What was found, in the pixels of the picture of this height and width."""
    factors = scales(size, view.scaled(*size))
    boxes = found.boxes.double().numpy() / factors
    limits = np.array([size[1], size[0], size[1], size[0]], np.float64)
    return Found(np.clip(boxes, 0, limits), found.labels.numpy(), found.scores.double().numpy())


def evaluate(
    net: Detector, pictures: Pictures, batches: Iterable[BoxBatch], classes: tuple[str, ...], engine: Engine,
    heard: Callable[[int], object] = lambda n: None, tell: Callable[[str], object] = warnings.warn,
) -> tuple[BoxEvaluation, list[Found]]:  # fmt: skip
    """How good the detections in a split's pictures are, in the pixels of their files; and what they are.

    Of many processes each brings some of the batches, and all know the whole. `tell` is called with one line where
    memory ran out, and fewer pictures are looked at at a time.
    """
    split = pictures.split
    mine: dict[int, Found] = {}
    now().align(net)
    for i, one in detected(net, batches, engine, tell):
        height, width = split.sizes[i].tolist()
        mine[i] = returned(one, (height, width), pictures.view)
        heard(1)
    found = {i: f for some in now().gather(mine) for i, f in some.items()}
    every = [found[i] for i in sorted(found)]
    return evaluated(split.targets, every, split.sizes, classes), every
