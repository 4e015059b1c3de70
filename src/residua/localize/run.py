"""A localizer at work: what is where on the pictures of a split."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from residua.boxes.batches import BoxBatch, Pictures, sliced
from residua.boxes.one_class import labels
from residua.boxes.view import BoxView, scales
from residua.data.dataset import Indices
from residua.engine import Engine
from residua.evaluate import Sparing, evaluating
from residua.localize.counts import TOP, Floats, LocalizationEvaluation, Places, evaluated
from residua.localize.localizer import Localizer
from residua.ranks import now


def answered(
    net: Localizer,
    batches: Iterable[BoxBatch],
    engine: Engine,
    top: int,
    true: Tensor | None = None,
    tell: Callable[[str], object] = warnings.warn,
) -> Iterator[tuple[BoxBatch, Tensor, Tensor, Tensor, Tensor]]:
    """Of each batch the likeliest classes (N, C), their scores (N, C), boxes (N, C, 4) in the pixels that the net sees
    and expected overlaps (N, C); with the `true` classes of all pictures, theirs come last (N, C + 1). `tell`: see
    `evaluate`."""

    def ask(part: BoxBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        with torch.inference_mode():
            images = engine.move(part.images)
            with engine.autocast():
                answers = net(images)
            scores, which = torch.sort(answers.logits.float().softmax(1), dim=1, descending=True, stable=True)
            scores, which = scores[:, :top], which[:, :top]
            asked = which
            if true is not None:
                asked = torch.cat([which, true[torch.from_numpy(part.index)][:, None].to(which.device)], 1)
            with engine.autocast():
                boxes, surety = net.places(answers, asked, images)
        return which.cpu(), scores.cpu(), boxes.float().cpu(), surety.float().cpu()

    sparing = Sparing(tell)
    with evaluating(net):
        for batch in batches:
            for part, found in sparing.parts(len(batch), partial(sliced, batch), ask):
                yield part, *found


def returned(boxes: Floats, size: tuple[int, int], view: BoxView) -> Floats:
    """Boxes (..., 4) as the net gives them, in the pixels of the picture of this height and width."""
    limits = np.array([size[1], size[0], size[1], size[0]], np.float64)
    return np.clip(boxes / scales(size, view.scaled(*size)), 0, limits)


def evaluate(
    net: Localizer, pictures: Pictures, batches: Iterable[BoxBatch], mean_boxes: Floats, classes: tuple[str, ...],
    engine: Engine, heard: Callable[[int], object] = lambda n: None,
    tell: Callable[[str], object] = warnings.warn,
) -> tuple[LocalizationEvaluation, Places]:  # fmt: skip
    """How good the answers to a split's pictures are, in the pixels of their files; and what they are.

    Of many processes each brings some of the batches, and all know the whole. `tell` is called with one line where
    memory ran out, and fewer pictures are looked at at a time.
    """
    split, top = pictures.split, min(TOP, len(classes))
    n = len(split)
    found = Places(
        np.zeros((n, top), np.int64), np.zeros((n, top)), np.zeros((n, top, 4)), np.zeros((n, top)), np.zeros((n, 4))
    )
    assert found.given is not None
    true = torch.from_numpy(labels(split))
    seen: list[Indices] = []
    now().align(net)
    for batch, which, scores, boxes, surety in answered(net, batches, engine, top, true, tell):
        at = batch.index
        found.labels[at], found.scores[at] = which.numpy(), scores.double().numpy()
        found.overlaps[at] = surety.double().numpy()[:, :top]
        for i, own in zip(at.tolist(), boxes.double().numpy(), strict=True):
            height, width = split.sizes[i].tolist()
            every = returned(own, (height, width), pictures.view)
            found.boxes[i], found.given[i] = every[:top], every[top]
        seen.append(at)
        heard(len(batch))
    if not now().alone:
        mine = np.concatenate([np.zeros(0, np.int64), *seen])
        for at, some in now().gather((mine, {k: v[mine] for k, v in vars(found).items()})):
            for k, values in some.items():
                getattr(found, k)[at] = values
    return evaluated(split.targets, split.sizes, found, mean_boxes, classes), found
