"""One safetensors file that is a whole detector: weights, and a header with all that is needed to use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from residua.boxes.view import BoxView
from residua.detect.detector import Detector, build
from residua.detect.row import DetectorRow, row_from_json, row_to_json
from residua.errors import DataError, UsageError
from residua.nn import modelfile
from residua.nn.cost import on_meta

TASK = "detection"


@dataclass(frozen=True, kw_only=True)
class DetectorHeader:
    """What the file of a detector says beside its weights. `classes` are named in the order of the labels, from 0."""

    row: DetectorRow
    classes: tuple[str, ...]
    view: BoxView
    recipe: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    lineage: list[Any] = field(default_factory=list)
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that there is one name for each class."""
        if len(self.classes) != self.row.classes:
            raise UsageError(f"{self.row.net.name} has {self.row.classes} classes, but {len(self.classes)} have names")


def save(path: str | Path, net: nn.Module, header: DetectorHeader, *, overwrite: bool = False) -> None:
    """Write a detector and its header as one file, whole or not at all. Raises DataError."""
    words = {
        "task": TASK, "detector": row_to_json(header.row), "classes": list(header.classes),
        "view": header.view.to_json(), "recipe": header.recipe, "metrics": dict(header.metrics),
        "lineage": header.lineage, "data": dict(header.data), "versions": modelfile.versions(), "format": 2,
    }  # fmt: skip
    modelfile.seal(path, words, net.state_dict(), overwrite=overwrite)


def load(path: str | Path) -> tuple[Detector, DetectorHeader]:
    """The detector, in evaluation mode on the CPU, and its header. Raises DataError for anything but such a file."""
    words, tensors = modelfile.unseal(modelfile.model_path(path))
    if words.get("task") != TASK:
        raise DataError(f"{path} is no detector: {modelfile.taker(words)} takes it")
    try:
        header = DetectorHeader(
            row=row_from_json(words["detector"]), classes=tuple(map(str, words["classes"])),
            view=BoxView.from_json(words["view"]), recipe=words.get("recipe"), metrics=words.get("metrics") or {},
            lineage=words.get("lineage") or [], data=words.get("data") or {},
        )  # fmt: skip
        with on_meta():
            net = build(header.row)
        net.load_state_dict(tensors, assign=True)
    except (UsageError, KeyError, TypeError, ValueError, RuntimeError) as e:
        raise DataError(f"{path} is damaged: its header describes no detector ({str(e).splitlines()[0]})") from e
    return net.eval(), header
