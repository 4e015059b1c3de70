"""Detectors and localizers behind the server: classes with boxes, in the pixels of each picture."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from residua.boxes.found import Found
from residua.boxes.inputs import Given, together
from residua.boxes.view import BoxView, canvas
from residua.data.decode import as_image, size_of
from residua.detect import modelfile as detectors
from residua.detect.predict import Answer as Detected
from residua.detect.predict import DetectorModel
from residua.detect.predict import load as load_detector
from residua.detect.run import detected
from residua.detect.run import returned as detections
from residua.localize import modelfile as localizers
from residua.localize.counts import TOP
from residua.localize.predict import Answer as Placed
from residua.localize.predict import LocalizerModel
from residua.localize.predict import load as load_localizer
from residua.localize.run import answered
from residua.localize.run import returned as places
from residua.predict.inputs import decoded
from residua.serve.answerer import Answerer, TensorKind, Values, Wish, words


class Locating(Answerer):
    """What is common: pictures of one canvas that follow each other go through the net together, as in `predict`."""

    @property
    @abstractmethod
    def view(self) -> BoxView:
        """How a picture becomes a tensor."""

    def read(self, source: Any) -> Given:
        """The picture as the net sees it, with its own size."""
        if isinstance(source, np.ndarray):
            source = as_image(decoded(source, "RGB", None)[0])
        size = size_of(source)
        return Given("picture", None, size, self.view.picture(source, size))

    def answer(self, seen: Sequence[Given]) -> list[Any]:
        """An answer each, in order."""
        return [
            one for _, some in groupby(seen, lambda g: canvas([g.sides])) for one in self.of_canvas(list(some))
        ]  # fmt: skip

    @abstractmethod
    def of_canvas(self, some: list[Given]) -> Iterator[Any]:
        """Answers for pictures of one canvas."""


class DetectorAnswerer(Locating):
    """Says what is where."""

    task = detectors.TASK
    outputs = (
        TensorKind("boxes", "FP32", (-1, 4)), TensorKind("scores", "FP32", (-1,)),
        TensorKind("labels", "BYTES", (-1,)), TensorKind("picture", "INT64", (-1,)),
    )  # fmt: skip

    def __init__(self, model: DetectorModel) -> None:
        """Of a model that is placed."""
        self.model = model

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.model.classes

    @property
    def view(self) -> BoxView:
        """The model's own."""
        return self.model.header.view

    def about(self) -> dict[str, Any]:
        """The net, how it sees a picture, and the score from which detections are given."""
        header = self.model.header
        return {
            "arch": header.row.net.name, "view": header.view.to_json(), "metrics": dict(header.metrics),
            "threshold": self.model.threshold, "explains": False,
        }  # fmt: skip

    def of_canvas(self, some: list[Given]) -> Iterator[Detected]:
        """What is found, in the pixels of each picture."""
        for i, found in detected(self.model.net, [together(some, self.view)], self.model.engine):
            yield Detected(some[i].name, None, some[i].size, detections(found, some[i].size, self.view))

    def to_json(self, answers: Sequence[Detected], wish: Wish) -> list[dict[str, Any]]:
        """Detections of a sufficient score."""
        least = self.model.threshold if wish.threshold is None else wish.threshold
        return [
            {
                "height": one.size[0],
                "width": one.size[1],
                "detections": [
                    {"class": self.classes[k], "score": score, "box": box}
                    for k, score, box in _rows(one.found)
                    if score >= least
                ],
            }
            for one in answers
        ]

    def tensors(self, answers: Sequence[Detected]) -> Mapping[str, Values]:
        """All detections of all pictures one after the other, each with the number of its picture."""
        counts = [len(a.found.labels) for a in answers]
        return {
            "boxes": np.concatenate([a.found.boxes for a in answers]).astype(np.float32).reshape(-1, 4),
            "scores": np.concatenate([a.found.scores for a in answers]).astype(np.float32),
            "labels": words([self.classes[k] for a in answers for k in a.found.labels.tolist()], (sum(counts),)),
            "picture": np.repeat(np.arange(len(answers)), counts).astype(np.int64),
        }


class LocalizerAnswerer(Locating):
    """Says what one thing a picture shows, and where."""

    task = localizers.TASK

    def __init__(self, model: LocalizerModel) -> None:
        """Of a model that is placed."""
        self.model = model
        self.top = min(TOP, len(model.classes))
        self.outputs = (
            TensorKind("probabilities", "FP32", (-1, self.top)), TensorKind("labels", "BYTES", (-1, self.top)),
            TensorKind("boxes", "FP32", (-1, self.top, 4)), TensorKind("overlaps", "FP32", (-1, self.top)),
        )  # fmt: skip

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.model.classes

    @property
    def view(self) -> BoxView:
        """The model's own."""
        return self.model.header.view

    def about(self) -> dict[str, Any]:
        """The net, and how it sees a picture."""
        header = self.model.header
        return {
            "arch": header.row.net.name, "view": header.view.to_json(), "metrics": dict(header.metrics),
            "explains": False,
        }  # fmt: skip

    def of_canvas(self, some: list[Given]) -> Iterator[Placed]:
        """The likeliest classes, each with its place in the pixels of the picture."""
        batch, net, engine = together(some, self.view), self.model.net, self.model.engine
        for _, which, scores, boxes, surety in answered(net, [batch], engine, self.top):
            for i, one in enumerate(some):
                where = places(boxes[i].double().numpy(), one.size, self.view)
                found = Found(where, which[i].numpy(), scores[i].double().numpy())
                yield Placed(one.name, None, one.size, found, surety[i].double().numpy())

    def to_json(self, answers: Sequence[Placed], wish: Wish) -> list[dict[str, Any]]:
        """The likeliest classes, at most as many as the model gives."""
        return [
            {
                "height": one.size[0],
                "width": one.size[1],
                "places": [
                    {"class": self.classes[k], "probability": p, "box": box, "overlap": overlap}
                    for (k, p, box), overlap in zip(_rows(one.found), one.overlaps.tolist(), strict=True)
                ][: wish.top],
            }
            for one in answers
        ]

    def tensors(self, answers: Sequence[Placed]) -> Mapping[str, Values]:
        """The likeliest classes of every picture, with their places."""
        labels = [self.classes[k] for a in answers for k in a.found.labels.tolist()]
        return {
            "probabilities": np.stack([a.found.scores for a in answers]).astype(np.float32),
            "labels": words(labels, (len(answers), self.top)),
            "boxes": np.stack([a.found.boxes for a in answers]).astype(np.float32),
            "overlaps": np.stack([a.overlaps for a in answers]).astype(np.float32),
        }


def _rows(found: Found) -> Iterator[tuple[int, float, list[float]]]:
    return zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)


def load(path: Path, task: str, *, device: str, precision: str, threads: int | None) -> Locating:
    """The detector or localizer of a file, placed. Raises DataError, UsageError."""
    if task == detectors.TASK:
        return DetectorAnswerer(load_detector(path, device=device, precision=precision, threads=threads))
    return LocalizerAnswerer(load_localizer(path, device=device, precision=precision, threads=threads))
