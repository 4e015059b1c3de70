"""Detectors and localizers on their way out: what their files will say, and whether they find the same things."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residua.boxes.found import Found
from residua.boxes.matched import matched
from residua.boxes.view import BoxView, laid
from residua.detect import modelfile as detectors
from residua.detect.detector import Detector
from residua.errors import DataError, UsageError
from residua.export.classifier import CHANNELS, same_classes
from residua.export.exported import Array, Exported
from residua.export.finding import Finding
from residua.export.graphs import ANY, SCALED, Graph
from residua.export.parity import TOLERANCE, Parity, Row
from residua.export.placing import Placing
from residua.export.shown import BATCHES, USUAL, Shown, made, spread
from residua.localize import modelfile as localizers
from residua.localize.counts import TOP
from residua.localize.localizer import Localizer

#: What differences are of.
UNIT = "scores, and edges as shares of a side"


class Boxes(ABC):
    """What a detector and a localizer have in common."""

    path: Path
    header: Any

    @property
    def view(self) -> BoxView:
        """How a picture is seen."""
        view: BoxView = self.header.view
        return view

    def graph(self, to: str, raw: bool) -> Graph:
        """What is exported. Raises UsageError for what is not."""
        if to != "onnx":
            raise UsageError(f"models that find boxes are exported to onnx: torch cannot follow them to {to}")
        if raw:
            raise UsageError("--raw is for classifiers: a net that finds boxes needs what stands behind it")
        return self.made()

    @abstractmethod
    def made(self) -> Graph:
        """The graph."""

    def example(self, n: int) -> Tensor:
        """Pictures of any content."""
        numbers = torch.Generator().manual_seed(0)
        sides = (self.view.short_px, self.view.short_px + 13)
        return torch.randint(0, 256, (n, self.view.channels, *sides), dtype=torch.uint8, generator=numbers)

    def about(self, graph: Graph, task: str, arch: str, before: str) -> dict[str, Any]:
        """What the file says of the model."""
        header = self.header
        into = {
            "name": graph.input, "takes": graph.takes, "dtype": "uint8", "shape": graph.shape,
            "order": "pictures, channels, rows, columns", "channels": CHANNELS[self.view.mode], "before": before,
        }  # fmt: skip
        return {
            "task": task, "arch": arch, "classes": list(header.classes), "view": self.view.to_json(),
            "temperature": None, "input": into, "lineage": header.lineage, "data": dict(header.data),
            "metrics": dict(header.metrics),
        }  # fmt: skip

    def at_hand(self, root: str | None) -> Shown:
        """Pictures to ask about where the user gives none; not of one colour, on which all places are equally good."""
        return made(self.view.channels, self.view.short_px, flat=False)

    def of_data(
        self, data: str, split: str = "test", *, root: str | None = None, limit: int | None = USUAL
    ) -> Shown:  # fmt: skip
        """Pictures of the user's data with boxes; their truth is not asked for."""
        alone = isinstance(self, Placed)
        dataset, name = matched(self.header.classes, self.view.mode, data, split, alone=alone)
        images = dataset.splits[name].images
        n = len(images)
        some = images if limit is None or n <= limit else images.take(spread(n, limit))
        return Shown(f"{len(some):,} of {n:,} {name} pictures of {data}", some)

    def fed(self, takes: str, pictures: Sequence[Tensor]) -> Array:
        """Pictures as a file takes them."""
        if takes == SCALED:
            pictures = [self.view.fitted(p, (p.shape[1], p.shape[2])) for p in pictures]
        return torch.stack([self.view.colours.coloured(p) for p in pictures]).numpy()


@dataclass(frozen=True, eq=False)
class Detected(Boxes):
    """The detector of a file."""

    path: Path
    net: Detector
    header: detectors.DetectorHeader

    def made(self) -> Graph:
        """One picture at a time: what is found in each is of another length."""
        module = Finding(self.net, self.view).eval()
        return Graph(
            module, SCALED, self.example(1), {2: "height", 3: "width"}, ("boxes", "labels", "scores"), loose=True
        )  # fmt: skip

    def words(self, graph: Graph) -> dict[str, Any]:
        """What the file says of itself."""
        view, row = self.view, self.header.row
        before = (
            f"one picture at a time, scaled so that its short side has {view.short_px} pixels, or less where the long "
            f"one would have more than {view.long_px}; bilinear, antialiased as in Pillow; pixels 0 to 255"
        )
        sizes = f"the best {row.detections} with a score above {row.score_threshold}, non-maximum suppression inside"
        outputs = [
            {"name": "boxes", "shape": ["found", 4], "is": f"left, top, right, bottom in pixels of the input; {sizes}"},
            {"name": "labels", "shape": ["found"], "is": "places in the list of classes, from 0"},
            {"name": "scores", "shape": ["found"], "is": "probabilities, the highest first"},
        ]
        return self.about(graph, detectors.TASK, f"{row.net.name}-{row.form}", before) | {"outputs": outputs}

    def parity(self, exported: Exported, shown: Shown, tolerance: float | None = None) -> Parity:
        """Whether both find the same things in every picture; a row for each size of picture."""
        same_classes(self.header.classes, exported)
        rows: dict[tuple[int, int], Row] = {}
        for _, picture in shown.readable():
            pixels = self.fed(SCALED, [picture])
            sides = (pixels.shape[2], pixels.shape[3])
            image = self.view.normalise(laid([torch.from_numpy(pixels[0])], self.view.colours.mean_colour))
            with torch.inference_mode():
                ours = self.net(image, [sides])[0]
            theirs = exported.run(pixels)
            model = Found(ours.boxes.double().numpy(), ours.labels.numpy(), ours.scores.double().numpy())
            other = Found(
                np.asarray(theirs["boxes"], np.float64), np.asarray(theirs["labels"], np.int64),
                np.asarray(theirs["scores"], np.float64),
            )  # fmt: skip
            one = found_row(model, other, sides, self.header.row.detections, self.header.row.score_threshold)
            rows[sides] = joined(rows[sides], one) if sides in rows else one
        return Parity(shown.said, tuple(rows.values()), unit=UNIT)


@dataclass(frozen=True, eq=False)
class Placed(Boxes):
    """The localizer of a file."""

    path: Path
    net: Localizer
    header: localizers.LocalizerHeader

    @property
    def top(self) -> int:
        """How many classes are named."""
        return min(TOP, len(self.header.classes))

    def made(self) -> Graph:
        """Pictures of any size, fitted inside."""
        module = Placing(self.net, self.view, self.top).eval()
        axes = {0: "n", 2: "height", 3: "width"}
        return Graph(module, ANY, self.example(2), axes, ("labels", "scores", "boxes", "overlaps"))

    def words(self, graph: Graph) -> dict[str, Any]:
        """What the file says of itself."""
        before = (
            "nothing: pixels 0 to 255 of any height and width, all pictures of a batch alike; upright, decoded whole"
        )
        top = self.top
        outputs = [
            {"name": "labels", "shape": ["n", top], "is": "the likeliest classes, places in the list of classes"},
            {"name": "scores", "shape": ["n", top], "is": "their probabilities"},
            {"name": "boxes", "shape": ["n", top, 4], "is": "left, top, right, bottom in pixels of the input"},
            {"name": "overlaps", "shape": ["n", top], "is": "how much each box is expected to overlap the thing"},
        ]
        return self.about(graph, localizers.TASK, self.header.row.net.name, before) | {"outputs": outputs}

    def parity(self, exported: Exported, shown: Shown, tolerance: float | None = None) -> Parity:
        """Whether both name and place the same."""
        same_classes(self.header.classes, exported)
        pictures = shown.first(max(BATCHES))
        height, width = (min(p.shape[d] for p in pictures) for d in (1, 2))
        pictures = [p[:, :height, :width] for p in pictures]
        rows = tuple(self.row(exported, pictures[:n], (height, width)) for n in BATCHES)
        return Parity(shown.said, rows, unit=UNIT)

    def row(self, exported: Exported, pictures: Sequence[Tensor], sides: tuple[int, int]) -> Row:
        """One batch."""
        images = self.view.normalise(torch.stack([self.view.fitted(p, sides) for p in pictures]))
        with torch.inference_mode():
            answers = self.net(images)
            scores, which = torch.sort(answers.logits.softmax(1), dim=1, descending=True, stable=True)
            scores, which = scores[:, : self.top], which[:, : self.top]
            boxes, overlaps = self.net.places(answers, which, images)
        theirs = exported.run(self.fed(ANY, pictures))
        shares = np.array([sides[1], sides[0]] * 2)
        alike = np.asarray(which.numpy() == theirs["labels"])
        differences = [
            np.abs(scores.numpy() - theirs["scores"]),
            np.abs(overlaps.numpy() - theirs["overlaps"])[alike],
            np.abs(boxes.numpy() / self.view.short_px - theirs["boxes"] / shares)[alike],
        ]
        largest = float(np.max([d.max(initial=0.0) for d in differences]))
        tied = ~alike & (np.abs(scores.numpy() - theirs["scores"]) <= TOLERANCE)
        return Row(len(pictures), *sides, largest, TOLERANCE, 1.0, int((alike | tied).sum()), alike.size)


def found_row(model: Found, exported: Found, sides: tuple[int, int], most: int, threshold: float) -> Row:
    """What was found in one picture twice: things that are the same, and their largest difference.

    What one of them lacks counts unless its score is within rounding of where things are cut off.
    """
    free, largest, same, lacking = list(range(len(exported.scores))), 0.0, 0, 0
    ends = [f.scores.min() for f in (model, exported) if len(f.scores) >= most]
    limit = max([threshold, *ends]) + TOLERANCE
    for box, label, score in zip(model.boxes, model.labels, model.scores, strict=True):
        best = (np.inf, -1)
        for j in free:
            if exported.labels[j] == label:
                away = float(np.abs(exported.boxes[j] - box).max()) / max(sides)
                best = min(best, (max(away, abs(float(exported.scores[j] - score))), j))
        if best[0] <= TOLERANCE:
            free.remove(best[1])
            largest, same = max(largest, best[0]), same + 1
        else:
            lacking += score > limit
    lacking += sum(exported.scores[j] > limit for j in free)
    return Row(1, *sides, largest, TOLERANCE, 1.0, same, int(same + lacking))


def joined(a: Row, b: Row) -> Row:
    """Two pictures of one size."""
    worst = max(a.difference, b.difference)
    return Row(a.batch, a.height, a.width, worst, a.limit, a.scale, a.same + b.same, a.answers + b.answers)


def load(path: Path, task: str) -> Detected | Placed:
    """The detector or localizer of a file. Raises DataError."""
    if task == detectors.TASK:
        return Detected(path, *detectors.load(path))
    if task == localizers.TASK:
        return Placed(path, *localizers.load(path))
    raise DataError(f"{path} is a model for {task}, which is not exported")
