"""Weights that a localizer starts from: a classifier's, or another localizer's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from residua.boxes.view import BoxView
from residua.job.localization.options import LocalizeOptions
from residua.job.options import TrainOptions
from residua.job.weights import Trained, read_weights
from residua.localize import modelfile
from residua.localize.localizer import build
from residua.localize.row import LocalizerRow
from residua.nn.modelfile import model_path, task_of


@dataclass(frozen=True)
class TrainedLocalizer:
    """A whole localizer to start from: its row, weights, view, the names of its classes, and origin."""

    row: LocalizerRow
    state: Mapping[str, Tensor]
    view: BoxView
    classes: tuple[str, ...]
    lineage: list[Any]

    def for_classes(self, row: LocalizerRow, classes: tuple[str, ...]) -> dict[str, Tensor]:
        """The weights for a localizer of other classes, by its `row`: what is known of a class by its name is kept, and
        the rest is new. The second look is left out where the row has none, or its classes are others."""
        fresh = build(row).state_dict()
        same = classes == self.classes
        kept = {k: v for k, v in self.state.items() if k in fresh and (same or not k.startswith("refiner."))}
        made = fresh | kept
        if same:
            return made
        places = [(i, self.classes.index(c)) for i, c in enumerate(classes) if c in self.classes]
        for key, groups, each in self.heads():
            new, old = (
                state[key].unflatten(0, (groups, n, each)).clone()
                for state, n in ((fresh, len(classes)), (self.state, len(self.classes)))
            )
            for mine, theirs in places:
                new[:, mine] = old[:, theirs]
            made[key] = new.flatten(0, 2)
        return made

    def heads(self) -> Iterator[tuple[str, int, int]]:
        """The parameters that have rows for each class: a name, how many groups of classes, how many rows a class."""
        for kind in ("weight", "bias"):
            yield f"net.head.fc.{kind}", 1, 1
            yield f"region.surety.{kind}", len(self.row.anchors), 1
            yield f"region.numbers.{kind}", len(self.row.anchors), 4


def starting(options: LocalizeOptions) -> Trained | TrainedLocalizer:
    """What `options.weights` name. Raises UsageError or DataError."""
    assert options.weights
    path = model_path(options.weights)
    if path.is_file() and task_of(path) == modelfile.TASK:
        net, header = modelfile.load(path)
        lineage = [*header.lineage, {"from": path.name, "data": dict(header.data)}]
        return TrainedLocalizer(header.row, net.state_dict(), header.view, header.classes, lineage)
    return read_weights(TrainOptions(arch=options.arch, weights=options.weights))
