"""A model that answers: pictures in, the most probable classes out, in order and with bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from residua.data.decode import BadPicture
from residua.data.view import View
from residua.engine import Engine, decide
from residua.errors import DataError, UsageError
from residua.evaluate import evaluating
from residua.nn import modelfile
from residua.nn.modelfile import Header
from residua.predict.inputs import Item, Source, decoded, pictures
from residua.predict.result import Failure, Prediction, Result


@dataclass(frozen=True, eq=False)
class Model:
    """A net with all that is needed to use it. `net` is where `engine` placed it."""

    net: nn.Module
    header: Header
    view: View
    engine: Engine

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.header.classes

    def predict(self, inputs: Source | Iterable[Source], *, top: int = 5, batch_size: int = 64) -> list[Result]:
        """The `top` classes of every picture, in the order of the inputs; of a folder, of every picture in it.

        What cannot be read is a Failure in its place and does not stop the rest.
        Raises UsageError for an input that is no picture by its kind.
        """
        return list(self.stream(inputs, top=top, batch_size=batch_size))

    def stream(self, inputs: Source | Iterable[Source], *, top: int = 5, batch_size: int = 64) -> Iterator[Result]:
        """As `predict`, one result after the other: at most three batches of pictures are in memory at a time."""
        if top < 1 or batch_size < 1:
            raise UsageError(f"top and batch_size must be at least 1, got {top} and {batch_size}")
        workers = max(1, self.engine.workers)
        with closing(_ahead(self._read, pictures(inputs), workers, 2 * batch_size)) as found:
            while batch := list(islice(found, batch_size)):
                yield from self._answers(batch, min(top, len(self.classes)))

    def _read(self, item: Item) -> Tensor | Failure:
        """float32 (C, S, S): the tensor that evaluation makes of the same file, bit for bit."""
        if isinstance(item.source, Failure):
            return item.source
        try:
            return self.view.tensor(decoded(item.source, self.view.mode))
        except BadPicture as e:
            return Failure(item.name, e.reason)

    def _answers(self, batch: list[tuple[Item, Tensor | Failure]], top: int) -> Iterator[Result]:
        tensors = [x for _, x in batch if isinstance(x, Tensor)]
        answers: Iterator[tuple[list[int], list[float]]] = iter(())
        if tensors:
            probability, best = self._probabilities(torch.stack(tensors)).topk(top, dim=1)
            answers = iter(zip(best.tolist(), probability.tolist(), strict=True))
        for item, x in batch:
            if isinstance(x, Failure):
                yield x
            else:
                best_classes, values = next(answers)
                yield Prediction(item.name, tuple(self.classes[c] for c in best_classes), tuple(values))

    def _probabilities(self, images: Tensor) -> Tensor:
        """float32 (N, C, S, S) -> (N, K), on the CPU."""
        with evaluating(self.net), torch.inference_mode(), self.engine.autocast():
            logits: Tensor = self.net(self.engine.move(images)).float()
        return (logits / (self.header.temperature or 1.0)).softmax(1).cpu()


def load(path: str | Path, *, device: str = "auto", precision: str = "fp32", threads: int | None = None) -> Model:
    """The model of a file, placed on a device. Raises DataError for a damaged or foreign file."""
    net, header = modelfile.load(path)
    try:
        view = View.from_json(header.view)
    except UsageError as e:
        raise DataError(f"{path} does not say how a picture becomes a tensor: {e}") from e
    engine = decide(device=device, precision=precision, threads=threads, side_px=view.side_px, in_memory=False)
    return Model(engine.place(net), header, view, engine)


def _ahead(
    read: Callable[[Item], Tensor | Failure], items: Iterable[Item], workers: int, window: int
) -> Generator[tuple[Item, Tensor | Failure], None, None]:
    """(item, read(item)) in the order of `items`, up to `window` of them read ahead by threads."""
    pool = ThreadPoolExecutor(workers)
    pending: deque[tuple[Item, Future[Tensor | Failure]]] = deque()
    try:
        for item in items:
            pending.append((item, pool.submit(read, item)))
            if len(pending) > window:
                first, future = pending.popleft()
                yield first, future.result()
        for first, future in pending:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
