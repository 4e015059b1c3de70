"""Weights that a detector starts from: a classifier's, another detector's of ours, or torchvision's of COCO."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from residua.boxes.view import LARGE, BoxView
from residua.data.view import STATISTICS
from residua.detect import modelfile
from residua.detect.detector import build
from residua.detect.names import from_torchvision
from residua.detect.row import DetectorRow, detector_row
from residua.errors import DataError, UsageError
from residua.job.detection.options import DetectOptions
from residua.job.options import TrainOptions
from residua.job.weights import Trained, read_weights
from residua.nn import hub
from residua.nn.arch import Arch
from residua.nn.checkpoint import read_checkpoint
from residua.nn.cost import on_meta
from residua.nn.modelfile import model_path, task_of
from residua.nn.zoo import find

#: torchvision's detectors that are those of Lin et al. 2017; its others have further layers.
PUBLISHED = {"fasterrcnn_resnet50_fpn": "resnet50"}
#: What makes a checkpoint a detector's.
BODY = "backbone.body."


@dataclass(frozen=True)
class TrainedDetector:
    """A whole detector to start from: its row, weights under our names, view, the names of its classes, and origin."""

    row: DetectorRow
    state: Mapping[str, Tensor]
    view: BoxView
    classes: tuple[str, ...]
    lineage: list[Any]

    def for_classes(self, row: DetectorRow, classes: tuple[str, ...]) -> dict[str, Tensor]:
        """The weights for a detector of other classes: what is known of a class by its name is kept, the rest is new.

        `row` is that detector's. The answers for a class and the edges of its boxes are rows of two matrices.
        """
        fresh = build(row).state_dict()
        place = {name: i + 1 for i, name in enumerate(self.classes)}
        rows = [(0, 0), *((i, place[name]) for i, name in enumerate(classes, 1) if name in place)]
        made = dict(self.state)
        for part, each in (("cls_score", 1), ("bbox_pred", 4)):
            for kind in ("weight", "bias"):
                key = f"roi_heads.box_predictor.{part}.{kind}"
                new, old = fresh[key].clone(), self.state[key]
                for mine, theirs in rows:
                    new[mine * each : (mine + 1) * each] = old[theirs * each : (theirs + 1) * each]
                made[key] = new
        return made


def starting(options: DetectOptions) -> Trained | TrainedDetector:
    """What `options.weights` name. Raises UsageError or DataError."""
    assert options.weights
    name = options.weights.removeprefix("torchvision/").partition(":")[0]
    if options.weights.startswith("torchvision/fasterrcnn") or (name in PUBLISHED and hub.published(options.weights)):
        return published(options.weights.removeprefix("torchvision/"))
    path = model_path(options.weights)
    if path.is_file() and task_of(path) == modelfile.TASK:
        net, header = modelfile.load(path)
        lineage = [*header.lineage, {"from": path.name, "data": dict(header.data)}]
        return TrainedDetector(header.row, net.state_dict(), header.view, header.classes, lineage)
    if path.is_file() and path.suffix in (".pth", ".pt") and any(k.startswith(BODY) for k in read_checkpoint(path)):
        if options.arch == "auto":
            raise UsageError(f"{path} is a detector's checkpoint: name its net by --arch, such as resnet50")
        return theirs(path, options.arch, path.name)
    return read_weights(TrainOptions(arch=options.arch, weights=options.weights))


def published(name: str) -> TrainedDetector:
    """torchvision's weights of a detector, downloaded once. Raises UsageError for one that is not known here."""
    net, _, weights = name.partition(":")
    if net not in PUBLISHED:
        raise UsageError(f"torchvision/{net}: of torchvision's detectors, those known here are {', '.join(PUBLISHED)}")
    entry = hub.entry_of(net, weights or "DEFAULT")
    made = theirs(hub.downloaded(str(entry.url), net), PUBLISHED[net], f"torchvision/{net}:{entry.name}")
    names = tuple(str(c) for c in entry.meta["categories"][1:])
    return replace(made, classes=tuple(f"{c} {i}" if c == "N/A" else c for i, c in enumerate(names)))


def theirs(path: Path, arch: str, source: str) -> TrainedDetector:
    """A checkpoint of torchvision's Faster R-CNN with a pyramid on `arch`. Raises DataError where it is another's."""
    net = find(arch)
    if not isinstance(net, Arch):
        raise UsageError(f"{net.name} is no residual net: a detector stands on one")
    state = read_checkpoint(path)
    score = state.get("roi_heads.box_predictor.cls_score.weight")
    if score is None:
        raise DataError(f"{path} holds no weights of a Faster R-CNN")
    row = detector_row(net, len(score) - 1, norm="frozen")
    with on_meta():
        made = build(row)
    some = STATISTICS["imagenet"]
    try:
        made.to_empty(device="cpu").load_state_dict(from_torchvision(state, list(made.state_dict()), row))
    except RuntimeError as e:
        raise DataError(f"{path} is no Faster R-CNN with a pyramid on {arch}: {str(e).splitlines()[1].strip()}") from e
    classes = tuple(f"class {i}" for i in range(1, len(score)))
    return TrainedDetector(
        row, made.state_dict(), BoxView(*LARGE, "RGB", some.mean, some.std), classes, [{"from": source}]
    )
