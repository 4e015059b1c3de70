"""A model that answers: pictures in, the most probable classes out, in order and with bounded memory."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from residua.data.decode import BadPicture
from residua.data.view import View
from residua.engine import Engine, decide
from residua.errors import UsageError
from residua.evaluate import Averaged, Sparing, evaluating, tempered
from residua.nn import modelfile
from residua.nn.modelfile import Header
from residua.pair import view_of
from residua.predict.inputs import Item, Source, decoded, pictures
from residua.predict.jury import places, same_classes
from residua.predict.result import Failure, Prediction, Result

#: What each net sees of one picture.
Seen: TypeAlias = tuple[Tensor, ...]


class Answering(ABC):
    """What answers for pictures: one model, or several."""

    engine: Engine

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""

    @property
    @abstractmethod
    def views(self) -> tuple[View, ...]:
        """How each net sees a picture."""

    @abstractmethod
    def probabilities(self, images: Sequence[Tensor]) -> Tensor:
        """For each net float32 (N, C, S, S) -> (N, K), on the CPU."""

    def predict(self, inputs: Source | Iterable[Source], *, top: int = 5, batch_size: int = 64) -> list[Result]:
        """The `top` classes of every picture, in the order of the inputs; of a folder, of every picture in it.

        What cannot be read is a Failure in its place and does not stop the rest.
        Raises UsageError for an input that is no picture by its kind.
        """
        return list(self.stream(inputs, top=top, batch_size=batch_size))

    def stream(self, inputs: Source | Iterable[Source], *, top: int = 5, batch_size: int = 64) -> Iterator[Result]:
        """As `predict`, one result after the other: at most three batches of pictures are in memory at a time."""
        return self.answered(pictures(inputs), top=top, batch_size=batch_size)

    def answered(self, items: Iterable[Item], *, top: int = 5, batch_size: int = 64) -> Iterator[Result]:
        """As `stream`, of pictures that have their names already."""
        if top < 1 or batch_size < 1:
            raise UsageError(f"top and batch_size must be at least 1, got {top} and {batch_size}")
        workers = max(1, self.engine.workers)
        with closing(_ahead(self._read, items, workers, 2 * batch_size)) as found:
            while batch := list(islice(found, batch_size)):
                yield from self._answers(batch, min(top, len(self.classes)))

    def _read(self, item: Item) -> Seen | Failure:
        """For each net float32 (C, S, S): the tensor that evaluation makes of the same file, bit for bit."""
        if isinstance(item.source, Failure):
            return item.source
        try:
            needs = dict.fromkeys((v.mode, v.least_px) for v in self.views)
            upright = {need: decoded(item.source, *need) for need in needs}
            return tuple(v.tensor(*upright[v.mode, v.least_px]) for v in self.views)
        except BadPicture as e:
            return Failure(item.name, e.reason)

    def _answers(self, batch: list[tuple[Item, Seen | Failure]], top: int) -> Iterator[Result]:
        seen = [x for _, x in batch if not isinstance(x, Failure)]
        answers: Iterator[tuple[list[int], list[float]]] = iter(())
        if seen:
            probability, best = self.probabilities([batch_of(x) for x in zip(*seen, strict=True)]).topk(top, dim=1)
            answers = iter(zip(best.tolist(), probability.tolist(), strict=True))
        for item, x in batch:
            if isinstance(x, Failure):
                yield x
            else:
                best_classes, values = next(answers)
                yield Prediction(item.name, tuple(self.classes[c] for c in best_classes), tuple(values))


@dataclass(frozen=True, eq=False)
class Model(Answering):
    """A net with all that is needed to use it. `net` is where `engine` placed it.

    `run` computes logits (N, K) of float32 (N, C, S, S) in place of the net, where another runtime was prepared.
    """

    net: nn.Module
    header: Header
    view: View
    engine: Engine
    sparing: Sparing = field(default_factory=Sparing)
    run: Callable[[Tensor], Tensor] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.header.classes

    @property
    def views(self) -> tuple[View, ...]:
        """The model's own."""
        return (self.view,)

    def scores(self, images: Tensor) -> Tensor:
        """float32 (N, C, S, S) -> (N, K), whose softmax are the probabilities; the net's as `evaluate` makes them."""
        if self.run is not None:
            return tempered(self.run(images), self.header.temperature)
        with evaluating(self.net), torch.inference_mode(), self.engine.autocast():
            logits = self.sparing.logits(self.net, self.engine.move(images))
        return tempered(logits, self.header.temperature)

    def probabilities(self, images: Sequence[Tensor]) -> Tensor:
        """One float32 (N, C, S, S) -> (N, K), on the CPU."""
        return self.scores(images[0]).softmax(1).cpu()


@dataclass(frozen=True, eq=False)
class Ensemble(Answering):
    """Several models of the same classes, matched by name: the mean of their probabilities, each by its temperature."""

    models: tuple[Model, ...]

    @property
    def engine(self) -> Engine:  # type: ignore[override]
        """The first model's."""
        return self.models[0].engine

    @property
    def classes(self) -> tuple[str, ...]:
        """The first model's, in its order."""
        return self.models[0].classes

    @property
    def views(self) -> tuple[View, ...]:
        """Every model's own."""
        return tuple(m.view for m in self.models)

    def probabilities(self, images: Sequence[Tensor]) -> Tensor:
        """For each model float32 (N, C, S, S) -> (N, K), on the CPU."""
        mean = Averaged()
        for model, x in zip(self.models, images, strict=True):
            mean.add(model.scores(x).cpu()[:, places(self.classes, model.classes)])
        return mean.scores.softmax(1)


def together(models: Sequence[Model]) -> Model | Ensemble:
    """One model as it is, several as an ensemble. Raises DataError for models of other classes."""
    for model in models[1:]:
        same_classes(models[0].classes, model.classes)
    return models[0] if len(models) == 1 else Ensemble(tuple(models))


def load(
    path: str | Path,
    *,
    device: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    readers: int | None = None,
) -> Model:
    """The model of a file, placed on a device; `readers` pictures are read at a time (None: one for each core).

    Raises DataError for a damaged or foreign file.
    """
    net, header = modelfile.load(path)
    view = view_of(header, path)
    engine = decide(
        device=device, precision=precision, threads=threads, workers=readers, side_px=view.side_px, in_memory=False
    )
    return Model(engine.place(net), header, view, engine)


def batch_of(pictures: Sequence[Tensor]) -> Tensor:
    """(C, S, S) each -> (N, C, S, S). One alone is not copied: that would wake up torch's threads, which then turn for
    milliseconds on the cores that another runtime's need.
    """
    return pictures[0][None] if len(pictures) == 1 else torch.stack(list(pictures))


def _ahead(
    read: Callable[[Item], Seen | Failure], items: Iterable[Item], workers: int, window: int
) -> Generator[tuple[Item, Seen | Failure], None, None]:
    """(item, read(item)) in the order of `items`, up to `window` of them read ahead by threads; one alone by none."""
    items = iter(items)
    begun = list(islice(items, 2))
    if len(begun) == 1:
        yield begun[0], read(begun[0])
        return
    pool = ThreadPoolExecutor(workers)
    pending: deque[tuple[Item, Future[Seen | Failure]]] = deque()
    try:
        for item in chain(begun, items):
            pending.append((item, pool.submit(read, item)))
            if len(pending) > window:
                first, future = pending.popleft()
                yield first, future.result()
        for first, future in pending:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
