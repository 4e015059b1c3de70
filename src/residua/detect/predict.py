"""Answers of a trained detector for a user's pictures: from files, bytes or PIL images to boxes in their own pixels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from residua.boxes.batches import BoxBatch
from residua.boxes.dataset import Target
from residua.boxes.found import Found
from residua.boxes.view import canvas, laid
from residua.data.decode import BadPicture, size_of
from residua.detect.detector import Detector
from residua.detect.modelfile import DetectorHeader, model_path
from residua.detect.modelfile import load as load_file
from residua.detect.run import detected, returned
from residua.engine import Engine, decide
from residua.errors import UsageError

NONE = Target(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.bool_))


@dataclass(frozen=True, eq=False)
class Answer:
    """What was found in a picture, its name, its source as it was given, and its own height and width."""

    name: str
    source: Any
    size: tuple[int, int]
    found: Found


@dataclass(frozen=True)
class Unread:
    """A picture that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class DetectorModel:
    """A detector with all that is needed to use it; `load` makes one."""

    net: Detector
    header: DetectorHeader
    engine: Engine

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.header.classes

    @property
    def threshold(self) -> float:
        """The score with the best F1 on the test pictures; 0.5 where there were none."""
        return float(self.header.metrics.get("test", {}).get("threshold", 0.5))

    def predict(self, inputs: Any, *, batch_size: int = 8) -> list[Answer | Unread]:
        """An answer for each picture, in order: a path, the bytes of a file or a PIL image, or several of them."""
        one = isinstance(inputs, str | Path | bytes) or hasattr(inputs, "getexif")
        every = [inputs] if one else list(inputs)
        named = ((str(x) if isinstance(x, str | Path) else f"picture {i}", x) for i, x in enumerate(every))
        return list(self.stream(named, batch_size=batch_size))

    def stream(self, inputs: Iterable[tuple[str, Any]], *, batch_size: int = 8) -> Iterator[Answer | Unread]:
        """An answer for each (name, picture), in order; pictures of one canvas that follow each other go together.

        A picture is a path, the bytes of a file, or a PIL image. What cannot be read is no error but an `Unread`.
        """
        waiting: list[tuple[str, Any, tuple[int, int], Tensor]] = []
        for name, source in inputs:
            try:
                size = size_of(source)
                picture = self.header.view.picture(source, size)
            except BadPicture as e:
                yield from self._answers(waiting)
                waiting = []
                yield Unread(name, e.reason)
                continue
            place = canvas([(picture.shape[1], picture.shape[2])])
            if waiting and (len(waiting) == batch_size or canvas([_sides(waiting[0][3])]) != place):
                yield from self._answers(waiting)
                waiting = []
            waiting.append((name, source, size, picture))
        yield from self._answers(waiting)

    def _answers(self, some: list[tuple[str, Any, tuple[int, int], Tensor]]) -> Iterator[Answer]:
        if not some:
            return
        view = self.header.view
        images = view.normalise(laid([s[3] for s in some], view.colours.mean_colour))
        sides = tuple(_sides(s[3]) for s in some)
        batch = BoxBatch(images, sides, (NONE,) * len(some), np.arange(len(some)))
        for i, found in detected(self.net, [batch], self.engine):
            name, source, size, _ = some[i]
            yield Answer(name, source, size, returned(found, size, view))


def _sides(picture: Tensor) -> tuple[int, int]:
    return picture.shape[1], picture.shape[2]


def load(
    path: str | Path, *, device: str = "auto", precision: str = "fp32", threads: int | None = None
) -> DetectorModel:  # fmt: skip
    """The detector of a model file or run folder. Raises DataError for anything else, UsageError for a bad device."""
    file = model_path(path)
    net, header = load_file(file)
    engine = decide(
        device=device, precision=precision, memory_format="auto", compile="off", threads=threads, workers=0,
        side_px=header.view.short_px, in_memory=True,
    )  # fmt: skip
    placed = engine.place(net, lambda line: None)
    if not isinstance(placed, Detector):
        raise UsageError("a detector is not compiled")
    return DetectorModel(placed.eval(), header, engine)
