"""What every kind of model does behind the server: a picture is read on one thread, a batch is answered on another."""

import base64
import io
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from residua.serve.limits import Refused
from residua.serve.stack import Stack

#: The numbers of a tensor, or the byte strings of one: (N, ...).
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Wish:
    """What a client wants to know of its pictures beside the answer.

    `top` classes; detections from the score `threshold` on (None: the model's own); with `explain` where the net
    looked and which depth decided, by `method`, for the class `target` (None: the one that the net names).
    """

    top: int = 5
    threshold: float | None = None
    explain: bool = False
    method: str = "grad-cam"
    target: str | None = None


@dataclass(frozen=True)
class TensorKind:
    """A tensor of the Open Inference Protocol: its name, datatype, and shape with -1 for what is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As the protocol's metadata have it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


#: Raw files; and pixels as (N, H, W, C) with 1, 3 or 4 channels.
IMAGE, PIXELS = TensorKind("image", "BYTES", (-1,)), TensorKind("pixels", "UINT8", (-1, -1, -1, -1))


class Answerer(ABC):
    """A model at work. `read`, `answer` and reasons are called on threads of their own, one `answer` at a time."""

    task: str
    inputs: tuple[TensorKind, ...] = (IMAGE, PIXELS)
    outputs: tuple[TensorKind, ...]

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""

    @abstractmethod
    def read(self, source: Any) -> Any:
        """What the net sees of the bytes of a file, of uint8 (H, W, C) or of a tensor. Raises BadPicture."""

    @abstractmethod
    def answer(self, seen: Sequence[Any]) -> list[Any]:
        """What the net says of pictures that were read, of all in one go."""

    @abstractmethod
    def to_json(self, answers: Sequence[Any], wish: Wish) -> list[dict[str, Any]]:
        """Answers as words and numbers."""

    @abstractmethod
    def tensors(self, answers: Sequence[Any]) -> Mapping[str, Values]:
        """Answers as the tensors of `outputs`."""

    def about(self) -> dict[str, Any]:
        """What a client may want to know of the model."""
        return {}

    def check(self, wish: Wish) -> None:
        """Raise Refused (400) for reasons that this model cannot give."""
        raise Refused(400, f"reasons are given by models for classification, this one is for {self.task}")

    def explain(self, sources: Sequence[Any], wish: Wish) -> list[dict[str, Any]]:
        """The reasons for answers, for a wish that `check` let pass."""
        raise NotImplementedError

    def check_units(self) -> None:
        """Raise Refused (400) for a model whose net is not shown by its units."""
        raise Refused(400, f"units are shown of models for classification, this one is for {self.task}")

    @property
    def stack(self) -> Stack:
        """The net taken apart, for a model that `check_units` let pass; for the thread that finds reasons."""
        raise NotImplementedError

    def given_up(self, gone: threading.Event) -> AbstractContextManager[Any]:
        """Work within the block ends by an exception soon after nobody waits for it any more, where it is long."""
        return nullcontext()

    def prove(self) -> None:
        """Answer for a grey picture: what cannot, fails here and not at a client's first request."""
        self.answer([self.read(np.full((64, 64, 3), 128, np.uint8))])


def png(image: Image.Image) -> str:
    """A picture as base64 of a PNG file."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def words(labels: Sequence[str], shape: tuple[int, ...]) -> Values:
    """Names as byte strings of this shape."""
    made = np.empty(len(labels), np.object_)
    made[:] = [label.encode("utf-8", "surrogateescape") for label in labels]
    return made.reshape(shape)


def stacked(rows: Sequence[Tensor]) -> Values:
    """Rows (K,) as (N, K)."""
    return np.stack([row.numpy() for row in rows])
