"""One safetensors file that is a whole localizer: weights, and a header with all that is needed to use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from residua.boxes.view import BoxView
from residua.errors import DataError, UsageError
from residua.localize.counts import Floats
from residua.localize.localizer import Localizer, build
from residua.localize.row import LocalizerRow, row_from_json, row_to_json
from residua.nn import modelfile
from residua.nn.cost import on_meta

TASK = "localization"


@dataclass(frozen=True, kw_only=True)
class LocalizerHeader:
    """What the file of a localizer says beside its weights. `classes` are named in the order of the labels, from 0;
    `mean_boxes` (K, 4) are the training boxes' means, as shares of the pictures' sides: what it must be better than."""

    row: LocalizerRow
    classes: tuple[str, ...]
    view: BoxView
    mean_boxes: Floats
    recipe: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    lineage: list[Any] = field(default_factory=list)
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that there is one name and one mean box for each class."""
        if len(self.classes) != self.row.classes:
            raise UsageError(f"{self.row.net.name} has {self.row.classes} classes, but {len(self.classes)} have names")
        if self.mean_boxes.shape != (self.row.classes, 4) or not np.isfinite(self.mean_boxes).all():
            raise UsageError(f"{self.row.classes} classes need as many mean boxes")


def save(path: str | Path, net: nn.Module, header: LocalizerHeader, *, overwrite: bool = False) -> None:
    """Write a localizer and its header as one file, whole or not at all. Raises DataError."""
    words = {
        "task": TASK, "localizer": row_to_json(header.row), "classes": list(header.classes),
        "view": header.view.to_json(), "mean_boxes": header.mean_boxes.round(6).tolist(), "recipe": header.recipe,
        "metrics": dict(header.metrics), "lineage": header.lineage, "data": dict(header.data),
        "versions": modelfile.versions(), "format": 2,
    }  # fmt: skip
    modelfile.seal(path, words, net.state_dict(), overwrite=overwrite)


def load(path: str | Path) -> tuple[Localizer, LocalizerHeader]:
    """The localizer, in evaluation mode on the CPU, and its header. Raises DataError for anything but such a file."""
    words, tensors = modelfile.unseal(modelfile.model_path(path))
    if words.get("task") != TASK:
        raise DataError(f"{path} is no localizer: {modelfile.taker(words)} takes it")
    try:
        header = LocalizerHeader(
            row=row_from_json(words["localizer"]), classes=tuple(map(str, words["classes"])),
            view=BoxView.from_json(words["view"]), mean_boxes=np.array(words["mean_boxes"], np.float64),
            recipe=words.get("recipe"), metrics=words.get("metrics") or {}, lineage=words.get("lineage") or [],
            data=words.get("data") or {},
        )  # fmt: skip
        with on_meta():
            net = build(header.row)
        net.load_state_dict(tensors, assign=True)
    except (UsageError, KeyError, TypeError, ValueError, RuntimeError) as e:
        raise DataError(f"{path} is damaged: its header describes no localizer ({str(e).splitlines()[0]})") from e
    return net.eval(), header
