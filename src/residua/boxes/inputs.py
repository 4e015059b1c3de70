"""A user's own pictures on their way into a net that finds boxes: named, read, scaled, put into batches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from residua.boxes.batches import BoxBatch
from residua.boxes.dataset import Target
from residua.boxes.view import BoxView, canvas, laid
from residua.data.decode import BadPicture, size_of

NONE = Target(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.bool_))


@dataclass(frozen=True)
class Unread:
    """A picture that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Given:
    """A picture as it was given: its name, its source, its own height and width, and what the net sees of it."""

    name: str
    source: Any
    size: tuple[int, int]
    picture: Tensor

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of what the net sees."""
        return self.picture.shape[1], self.picture.shape[2]


def named(inputs: Any) -> Iterator[tuple[str, Any]]:
    """Names and sources of one picture or several: paths, the bytes of files, or PIL images."""
    one = isinstance(inputs, str | Path | bytes) or hasattr(inputs, "getexif")
    for i, x in enumerate([inputs] if one else inputs):
        yield (str(x) if isinstance(x, str | Path) else f"picture {i}"), x


def batched(
    inputs: Iterable[tuple[str, Any]], view: BoxView, batch_size: int
) -> Iterator[Unread | tuple[list[Given], BoxBatch]]:
    """The pictures in order, those of one canvas that follow each other in batches, and in between what is unread."""
    waiting: list[Given] = []
    for name, source in inputs:
        try:
            size = size_of(source)
            one = Given(name, source, size, view.picture(source, size))
        except BadPicture as e:
            if waiting:
                yield waiting, together(waiting, view)
                waiting = []
            yield Unread(name, e.reason)
            continue
        if waiting and (len(waiting) == batch_size or canvas([waiting[0].sides]) != canvas([one.sides])):
            yield waiting, together(waiting, view)
            waiting = []
        waiting.append(one)
    if waiting:
        yield waiting, together(waiting, view)


def together(some: list[Given], view: BoxView) -> BoxBatch:
    """Pictures as one batch, without boxes."""
    images = view.normalise(laid([s.picture for s in some], view.colours.mean_colour))
    return BoxBatch(images, tuple(s.sides for s in some), (NONE,) * len(some), np.arange(len(some)))
