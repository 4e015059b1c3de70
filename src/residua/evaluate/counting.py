"""A net over batches: what it says of each image, and how often it is wrong. The one path that all evaluations take."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from residua.engine import Engine
from residua.errors import DataError
from residua.evaluate.counts import Evaluation, Ints, evaluation
from residua.evaluate.looks import Look, Shown, once
from residua.evaluate.sparing import Sparing


@dataclass(frozen=True, eq=False)
class Answers:
    """What a net says of N images, in any order: scores (N, K), whose softmax are the probabilities.

    `raw` are the scores without the temperature.
    """

    index: Ints
    labels: Ints
    scores: Tensor
    raw: Tensor


def evaluate(
    net: nn.Module,
    batches: Iterable[Shown],
    classes: Sequence[str],
    engine: Engine,
    *,
    temperature: float | None = None,
    look: Look = once,
    tell: Callable[[str], object] = warnings.warn,
) -> Evaluation:
    """The net's errors over the batches of `data.batches.in_order`; `net` is where the engine placed it.

    `temperature` divides the logits. `look` says what of each batch the net sees (`looks`); probabilities of several
    looks are averaged. `tell` is called with one line where memory ran out, and fewer pictures are looked at at a time.
    Runs in evaluation mode and restores each module's own; nothing is read from the device before
    the end. Raises DataError if there are no images, or labels or logits that are not of these classes.
    """
    return counted(answers(net, batches, len(classes), engine, temperature, look, tell), classes, temperature)


def answers(
    net: nn.Module,
    batches: Iterable[Shown],
    k: int,
    engine: Engine,
    temperature: float | None = None,
    look: Look = once,
    tell: Callable[[str], object] = warnings.warn,
) -> Iterator[Answers]:
    """What the net says, batch for batch. Raises as `evaluate`."""
    sparing = Sparing(tell)
    with evaluating(net), torch.no_grad():
        for batch in batches:
            check_labels(batch.targets, k)
            warm, raw = Averaged(), Averaged()
            for images in look(batch):
                logits = images(lambda x: sparing.logits(net, x), engine)
                if logits.shape[1] != k:
                    raise DataError(f"the net tells {logits.shape[1]} classes apart, the data have {k}")
                warm.add(tempered(logits, temperature))
                raw.add(logits.float())
            targets = batch.targets.cpu().numpy()
            yield Answers(np.asarray(batch.index), targets, warm.scores, raw.scores)


def tempered(logits: Tensor, temperature: float | None) -> Tensor:
    """Scores of logits (N, K): float32, divided by the temperature."""
    return logits.float() if temperature is None else logits.float() / temperature


class Averaged:
    """The mean of probabilities as scores (N, K), kept as a running sum: a single one stays as it is.

    Summed in fp64 (where the device has it), so that the mean is the same however many images are in a batch.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.n, self.sum = 0, torch.empty(0)

    def add(self, scores: Tensor) -> None:
        """One more set of scores (N, K)."""
        if self.n == 0:
            self.sum = scores
        else:
            before = self._wide(self.sum) if self.n == 1 else self.sum
            self.sum = torch.logaddexp(before, self._wide(scores))
        self.n += 1

    @property
    def scores(self) -> Tensor:
        """Scores, float32, whose softmax is the mean."""
        return self.sum if self.n < 2 else (self.sum - math.log(self.n)).float()

    @staticmethod
    def _wide(scores: Tensor) -> Tensor:
        return (scores if scores.device.type == "mps" else scores.double()).log_softmax(1)


def counted(found: Iterable[Answers], classes: Sequence[str], temperature: float | None = None) -> Evaluation:
    """The counts over all answers, each image once. Raises DataError if there are none."""
    index, labels, outputs = [], [], []
    for a in found:
        targets = torch.from_numpy(a.labels).to(a.scores.device)
        index.append(a.index)
        labels.append(a.labels)
        more = (squares(a.scores), raw_numbers(a.raw, targets))
        outputs.append((*summary(a.scores, targets, len(classes)), *more))
    if not outputs:
        raise DataError("there are no images to evaluate")
    top5, probability, losses, square, raw = (torch.cat(p).cpu().numpy() for p in zip(*outputs, strict=True))
    where, labels_of = np.concatenate(index), np.concatenate(labels)
    return evaluation(
        where, labels_of, top5, probability, losses, classes, squares=square, raw=raw, temperature=temperature
    )


def squares(scores: Tensor) -> Tensor:
    """The sum of the squared probabilities of each image: (N,)."""
    return scores.softmax(1).square().sum(1)


def raw_numbers(raw: Tensor, targets: Tensor) -> Tensor:
    """Without the temperature: the largest probability, the cross-entropy, the sum of squares: (N, 3)."""
    losses = functional.cross_entropy(raw, targets, reduction="none")
    return torch.stack([raw.softmax(1).amax(1), losses, squares(raw)], 1)


def logits_of(found: Iterable[Answers]) -> tuple[Tensor, Tensor]:
    """The raw scores (N, K) of all answers and their labels (N,), on the CPU; None of both is an error."""
    rows = [(a.raw.cpu(), torch.from_numpy(a.labels)) for a in found]
    return torch.cat([r for r, _ in rows]), torch.cat([n for _, n in rows])


def ensemble(members: Sequence[Answers], classes: Sequence[str]) -> Evaluation:
    """The mean of the members' probabilities, each with its own temperature, over the same images.

    Raises ValueError where they do not answer for the same images.
    """
    warm, raw = Averaged(), Averaged()
    for m in members:
        if not np.array_equal(m.index, members[0].index) or not np.array_equal(m.labels, members[0].labels):
            raise ValueError("the members of an ensemble answer for the same images")
        warm.add(m.scores)
        raw.add(m.raw)
    return counted([Answers(members[0].index, members[0].labels, warm.scores, raw.scores)], classes)


def together(found: Iterable[Answers], places: Sequence[int]) -> Answers:
    """All answers as one, on the CPU, in the order of `index`, their classes taken from `places`."""
    parts = list(found)
    if not parts:
        raise DataError("there are no images to evaluate")
    index = np.concatenate([a.index for a in parts])
    order, columns = np.argsort(index, kind="stable"), torch.tensor(list(places))
    back = np.full(max(places) + 1, -1)
    back[list(places)] = np.arange(len(places))
    scores, raw = (torch.cat([getattr(a, name).cpu()[:, columns] for a in parts])[order] for name in ("scores", "raw"))
    return Answers(index[order], back[np.concatenate([a.labels for a in parts])[order]], scores, raw)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """The net in evaluation mode; afterwards every module is in the mode it was in."""
    training = [m for m in net.modules() if m.training]
    net.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


def check_labels(targets: Tensor, k: int) -> None:
    """Raise DataError for a label that is none of `k` classes."""
    if targets.ndim != 1 or targets.is_floating_point():
        raise ValueError(f"evaluation needs one class an image, got targets of shape {tuple(targets.shape)}")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < k:
        raise DataError(f"the data have class {int(targets.max())}, the model has classes 0 to {k - 1}")


def summary(logits: Tensor, targets: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """What is kept of logits (N, K): best classes (N, 5), their probabilities (N, 5), cross-entropies (N,)."""
    if logits.shape[1] != k:
        raise DataError(f"the net tells {logits.shape[1]} classes apart, the data have {k}")
    losses = functional.cross_entropy(logits, targets, reduction="none")
    probability, best = logits.softmax(1).topk(min(5, k), dim=1)
    return best, probability, losses
