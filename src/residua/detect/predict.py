"""Answers of a trained detector for a user's pictures: from files, bytes or PIL images to boxes in their own pixels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residua.boxes.found import Found
from residua.boxes.inputs import Unread, batched, named
from residua.detect.detector import Detector
from residua.detect.modelfile import DetectorHeader
from residua.detect.modelfile import load as load_file
from residua.detect.run import detected, returned
from residua.engine import Engine, decide
from residua.errors import UsageError
from residua.nn.modelfile import model_path


@dataclass(frozen=True, eq=False)
class Answer:
    """What was found in a picture, its name, its source as it was given, and its own height and width."""

    name: str
    source: Any
    size: tuple[int, int]
    found: Found


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
        return list(self.stream(named(inputs), batch_size=batch_size))

    def stream(self, inputs: Iterable[tuple[str, Any]], *, batch_size: int = 8) -> Iterator[Answer | Unread]:
        """An answer for each (name, picture), in order; pictures of one canvas that follow each other go together.

        A picture is a path, the bytes of a file, or a PIL image. What cannot be read is no error but an `Unread`.
        """
        view = self.header.view
        for some in batched(inputs, view, batch_size):
            if isinstance(some, Unread):
                yield some
                continue
            given, batch = some
            for i, found in detected(self.net, [batch], self.engine):
                one = given[i]
                yield Answer(one.name, one.source, one.size, returned(found, one.size, view))


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
