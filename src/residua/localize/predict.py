"""Answers of a trained localizer for a user's pictures: what each shows, and where, in its own pixels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residua.boxes.found import Floats, Found
from residua.boxes.inputs import Unread, batched, named
from residua.engine import Engine, decide
from residua.errors import UsageError
from residua.localize.counts import TOP
from residua.localize.localizer import Localizer
from residua.localize.modelfile import LocalizerHeader
from residua.localize.modelfile import load as load_file
from residua.localize.run import answered, returned
from residua.nn.modelfile import model_path


@dataclass(frozen=True, eq=False)
class Answer:
    """What a picture shows: its name, its source as it was given, its height and width; the likeliest classes with
    their probabilities, each with its box, and the `overlaps` (n,) that the net expects the boxes to have."""

    name: str
    source: Any
    size: tuple[int, int]
    found: Found
    overlaps: Floats


@dataclass(frozen=True, eq=False)
class LocalizerModel:
    """A localizer with all that is needed to use it; `load` makes one."""

    net: Localizer
    header: LocalizerHeader
    engine: Engine

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.header.classes

    def predict(self, inputs: Any, *, top: int = TOP, batch_size: int = 32) -> list[Answer | Unread]:
        """An answer for each picture, in order: a path, the bytes of a file or a PIL image, or several of them."""
        return list(self.stream(named(inputs), top=top, batch_size=batch_size))

    def stream(
        self, inputs: Iterable[tuple[str, Any]], *, top: int = TOP, batch_size: int = 32
    ) -> Iterator[Answer | Unread]:
        """An answer with `top` classes for each (name, picture), in order.

        A picture is a path, the bytes of a file, or a PIL image. What cannot be read is no error but an `Unread`.
        """
        view, top = self.header.view, min(top, len(self.classes))
        for some in batched(inputs, view, batch_size):
            if isinstance(some, Unread):
                yield some
                continue
            for part, which, scores, boxes, surety in answered(self.net, [some[1]], self.engine, top):
                for i, one in enumerate(some[0][n] for n in part.index.tolist()):
                    places = returned(boxes[i].double().numpy(), one.size, view)
                    found = Found(places, which[i].numpy(), scores[i].double().numpy())
                    yield Answer(one.name, one.source, one.size, found, surety[i].double().numpy())


def load(
    path: str | Path, *, device: str = "auto", precision: str = "fp32", threads: int | None = None
) -> LocalizerModel:  # fmt: skip
    """The localizer of a model file or run folder. Raises DataError for anything else, UsageError for a bad device."""
    net, header = load_file(model_path(path))
    engine = decide(
        device=device, precision=precision, memory_format="auto", compile="off", threads=threads, workers=0,
        side_px=header.view.short_px, in_memory=True,
    )  # fmt: skip
    placed = engine.place(net, lambda line: None)
    if not isinstance(placed, Localizer):
        raise UsageError("a localizer is not compiled")
    return LocalizerModel(placed.eval(), header, engine)
