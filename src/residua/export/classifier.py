"""A classifier on its way out: what its file will say, and whether that file answers as it does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residua.data.view import View
from residua.errors import DataError
from residua.evaluate import tempered
from residua.export.exported import Array, Exported
from residua.export.graphs import ANY, RAW, SQUARE, Graph, graph
from residua.export.parity import Accuracy, Floats, Parity, Row, accuracy, row
from residua.export.shown import BATCHES, Shown, nearest_at_hand, of_data
from residua.nn import modelfile
from residua.nn.modelfile import Header
from residua.nn.resnet import Net
from residua.pair import view_of

#: Labelled pictures are asked about so many at a time.
TOGETHER = 32


@dataclass(frozen=True, eq=False)
class Classifier:
    """The model of a file: its net in evaluation mode, and its view."""

    path: Path
    net: Net
    header: Header
    view: View

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.header.classes

    def graph(self, to: str, raw: bool) -> Graph:
        """What is exported to a format. OpenVINO computes in fp32 at most, so its pictures are fitted outside."""
        takes = RAW if raw else SQUARE if to == "openvino" else ANY
        return graph(self.net, self.view, self.header.temperature, takes)

    def words(self, made: Graph) -> dict[str, Any]:
        """What the file says of the model."""
        header = self.header
        outputs = [{"name": n, "shape": ["n", len(header.classes)], "is": OUTPUTS[n]} for n in made.outputs]
        return {
            "task": modelfile.CLASSIFICATION, "arch": header.row.name, "classes": list(header.classes),
            "view": self.view.to_json(), "temperature": header.temperature, "input": self.input(made),
            "outputs": outputs, "lineage": header.lineage, "data": dict(header.data), "metrics": dict(header.metrics),
        }  # fmt: skip

    def input(self, made: Graph) -> dict[str, Any]:
        """What the file takes, in words for whoever uses it without us."""
        dtype = "float32" if made.takes == RAW else "uint8"
        return {
            "name": made.input, "takes": made.takes, "dtype": dtype, "shape": made.shape,
            "order": "pictures, channels, rows, columns", "channels": CHANNELS[self.view.mode],
            "before": before(self.view, made.takes),
        }  # fmt: skip

    def at_hand(self, root: str | None) -> Shown:
        """Pictures to ask about where the user gives none."""
        view = self.view
        return nearest_at_hand(
            self.path, self.header.data, channels=view.channels, side_px=view.resize_px, root=root
        )  # fmt: skip

    def of_data(self, data: str, split: str = "test", *, root: str | None = None, limit: int | None = None) -> Shown:
        """Pictures of the user's data, whose labels count in the model's classes."""
        return of_data(self.path, data, split, root=root, limit=limit)

    # -- asking both ------------------------------------------------------------------------------------------------

    def parity(self, exported: Exported, shown: Shown, tolerance: float | None = None) -> Parity:
        """What both say of the pictures. `tolerance`: the points of accuracy that an int8 file may lose; None: fp32,
        in which everything must be the same to rounding."""
        same_classes(self.classes, exported)
        sizes = BATCHES if exported.batch is None else (exported.batch,)
        pictures = shown.first(max(sizes))
        rows = tuple(self.row(exported, pictures[:n], tolerance is None) for n in sizes)
        found = self.accuracy(exported, shown, tolerance) if shown.labels is not None else None
        return Parity(shown.said, rows, found)

    def row(self, exported: Exported, pictures: Sequence[Tensor], exact: bool) -> Row:
        """One batch, cut to the size that all of its pictures have, where it takes any size."""
        if exported.takes == ANY:
            height, width = (min(p.shape[d] for p in pictures) for d in (1, 2))
            pictures = [p[:, :height, :width] for p in pictures]
        ours, found = self.logits(pictures), exported.run(self.fed(exported.takes, pictures))
        sides = (pictures[0].shape[1], pictures[0].shape[2]) if exported.takes == ANY else (self.view.side_px,) * 2
        made = row(ours, np.asarray(found["logits"]), sides, exact=exact)
        if not exact or "probabilities" not in found:
            return made
        temperature = self.header.temperature or 1.0
        wanted = tempered(torch.from_numpy(ours), self.header.temperature).softmax(1).numpy()
        apart = float(np.abs(wanted - found["probabilities"]).max(initial=0.0))
        assert made.limit is not None
        return replace(made, probability=apart, probability_limit=made.limit / min(1.0, temperature))

    def accuracy(self, exported: Exported, shown: Shown, tolerance: float | None) -> Accuracy:
        """How often both are right about labelled pictures."""
        assert shown.labels is not None
        ours, theirs, labels = [], [], []
        for positions, pictures in together(shown, exported):
            ours.append(self.logits(pictures))
            theirs.append(answers(exported, self.fed(exported.takes, pictures)))
            labels.append(shown.labels[positions])
        if not labels:
            raise DataError(f"{shown.said}: none of the pictures can be decoded")
        return accuracy(ours, theirs, np.concatenate(labels), tolerance)

    def logits(self, pictures: Sequence[Tensor]) -> Floats:
        """What the model says of pictures, before the temperature: (N, K)."""
        with torch.inference_mode():
            logits: Tensor = self.net(torch.stack([self.view.tensor(p) for p in pictures]))
        return logits.numpy()

    def fed(self, takes: str, pictures: Sequence[Tensor]) -> Array:
        """Pictures as a file takes them."""
        if takes == RAW:
            return torch.stack([self.view.tensor(p) for p in pictures]).numpy()
        if takes == SQUARE:
            return torch.stack([self.view.picture(p) for p in pictures]).numpy()
        return torch.stack([self.view.coloured(p) for p in pictures]).numpy()


OUTPUTS = {
    "probabilities": "of each class, in the order of the classes: the softmax of logits / temperature",
    "logits": "of each class, before the temperature",
}
CHANNELS = {"RGB": ["red", "green", "blue"], "L": ["grey"]}


def load(path: Path) -> Classifier:
    """The classifier of a model file. Raises DataError."""
    net, header = modelfile.load(path)
    return Classifier(path, net, header, view_of(header, path))


def before(view: View, takes: str) -> str:
    """What has to be done to a picture before it goes into the file."""
    if takes == ANY:
        return "nothing: pixels 0 to 255 of any height and width, all pictures of a batch alike; upright, decoded whole"
    fits = {
        "crop": f"scale the short side to {view.resize_px}, take the middle {view.side_px} x {view.side_px}",
        "pad": f"scale the long side to {view.side_px}, in the middle of a square filled with {list(view.mean_colour)}",
        "squash": f"scale both sides to {view.side_px}",
    }
    scaled = f"{fits[view.fit]}; {view.interpolation}, antialiased as in Pillow; pixels 0 to 255"
    return scaled if takes == SQUARE else f"{scaled}; then (x / 255 - mean) / std as in view"


def answers(exported: Exported, x: Array) -> Floats:
    """The logits of a file."""
    return np.asarray(exported.run(x)["logits"])


def together(shown: Shown, exported: Exported) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Positions and pictures, those of one size that follow each other together where the file takes any size."""
    most = exported.batch or TOGETHER
    positions: list[int] = []
    pictures: list[Tensor] = []
    for i, picture in shown.readable():
        unlike = exported.takes == ANY and pictures and picture.shape != pictures[0].shape
        if pictures and (unlike or len(pictures) == most):
            yield positions, pictures
            positions, pictures = [], []
        positions.append(i)
        pictures.append(picture)
    if pictures:
        yield positions, pictures


def same_classes(classes: Sequence[str], exported: Exported) -> None:
    """Raise DataError for a file of other classes."""
    if list(classes) != list(exported.words["classes"]):
        raise DataError(
            f"{exported.path} was exported from another model: "
            f"it has {len(exported.words['classes'])} classes, and not these {len(classes)}"
        )
