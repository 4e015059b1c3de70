"""From options to everything that the training of a detector needs; each decision said."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residua.boxes.augment import BoxAugment
from residua.boxes.batches import opened
from residua.boxes.dataset import BoxDataset
from residua.boxes.sources import open_boxes
from residua.boxes.view import BoxView, view_for
from residua.data import cache as caches
from residua.detect.anchors import fitted, mean_overlap
from residua.detect.detector import Detector, build
from residua.detect.row import DetectorRow, detector_row
from residua.engine import Decision, Engine, decide
from residua.errors import UsageError
from residua.job.boxes.plan import USUAL, BoxPlan, augmentations, check_learned, data_decisions, written
from residua.job.detection.options import DetectOptions
from residua.job.detection.start import BODY, TrainedDetector, starting
from residua.job.weights import Trained
from residua.nn import names
from residua.nn.arch import Arch
from residua.nn.resnet import Net
from residua.nn.zoo import build as build_net
from residua.nn.zoo import find
from residua.seeds import key

#: Pictures of a short side up to this many pixels are small: half the pyramid, a quarter of the regions.
SMALL_PX = 512
#: What a machine without a GPU is given to see: the short side is halved until it is no larger.
CPU_PX = 320


@dataclass(frozen=True, kw_only=True)
class Plan(BoxPlan):
    """Everything that the training of a detector needs."""

    options: DetectOptions
    row: DetectorRow
    start: Mapping[str, Tensor] | None = None  # weights of the net to start from, under our names
    whole: TrainedDetector | None = None  # a whole detector to start from

    prefix = BODY

    @property
    def arch(self) -> Arch:
        """The residual net."""
        return self.row.net

    def norms(self) -> tuple[Decision, ...]:
        """Whose pictures they look at, where they look at any."""
        if self.row.norm != "batch":
            return ()
        why = "each process's own pictures, as `batch` does; sync looks at those of all"
        return (Decision("norm", "batch", why, "--norm sync"),)

    def net(self) -> Detector:
        """The detector before the first step, on the CPU: a function of the seed, or on weights to start from."""
        torch.manual_seed(key(self.options.seed, "init"))
        if self.whole is not None:
            made = build(self.row)
            made.load_state_dict(self.whole.for_classes(self.row, self.dataset.classes))
            return made
        net = build_net(self.row.net)
        assert isinstance(net, Net)
        if self.start is not None:
            net.load_state_dict(names.adapt(self.start, self.row.net))
        return build(self.row, net)


def prepare(options: DetectOptions) -> Plan:
    """The plan of a new training. Raises UsageError or DataError for whatever does not fit."""
    trained = starting(options) if options.weights else None
    if trained is None:
        check_learned(options.recipe)
        if options.norm == "frozen":
            raise UsageError(
                "--norm frozen keeps what a net has learned, and random weights have learned nothing: give --weights"
            )
    dataset, engine = data_of(options), engine_of(options)
    whole = trained if isinstance(trained, TrainedDetector) else None
    view, why = seen(dataset, options, engine, whole)
    told = [*data_decisions(dataset), Decision("image_size", f"{view.short_px} px", why, "--image-size")]
    theirs: Mapping[str, Any] | None = None
    if isinstance(trained, TrainedDetector):
        theirs = trained.view.to_json()
    elif trained is not None:
        theirs = trained.view
    if theirs is not None and len(theirs["mean"]) == len(view.mean):
        view = replace(view, mean=tuple(theirs["mean"]), std=tuple(theirs["std"]))
        told.append(Decision("normalise", f"mean {view.mean[0]:.3g}, ...", "as the weights were trained", ""))
    row, chosen = row_for(options, dataset, view, trained)
    if "auto" in options.augment:
        chosen += (Decision("augment", ",".join(USUAL), "suits photos", "--augment"),)
    plan = complete(options, dataset, view, row, engine)
    if plan.pictures["train"].kept:
        told.append(Decision("pictures", f"{view.short_px} px", "all scaled pictures are held in memory", ""))
    decided = tuple(d for d in engine.decisions if d.what != "compile")
    return replace(
        plan, decisions=(*told, *chosen, *decided), lineage=trained.lineage if trained else [],
        start=trained.state if isinstance(trained, Trained) else None, whole=whole,
    )  # fmt: skip


def complete(options: DetectOptions, dataset: BoxDataset, view: BoxView, row: DetectorRow, engine: Engine) -> Plan:
    """The plan of a known detector on known data, with its pictures."""
    words = augmentations(options.augment)
    cache = caches.opened(options.cache_size)
    dataset, pictures = opened(dataset, view, cache)
    done = replace(
        options, arch=row.net.name, norm=row.norm, size="small" if row.pyramid_width < 256 else "large",
        augment=written(words),
        image_size=view.short_px, device=engine.device, precision=engine.precision,
        memory_format=engine.memory_format,
    )  # fmt: skip
    return Plan(
        options=done, dataset=dataset, pictures=pictures, view=view, row=row, recipe=options.recipe, engine=engine,
        augment=BoxAugment(view, words), cache=cache,
    )  # fmt: skip


def data_of(options: DetectOptions) -> BoxDataset:
    """The pictures and boxes, divided."""
    return open_boxes(options.data, seed=options.seed, val_fraction=options.recipe.val_fraction, limit=options.limit)


def engine_of(options: DetectOptions) -> Engine:
    """Where and how to compute; detectors are not compiled, since every picture has other proposals."""
    return decide(
        device=options.device, precision=options.precision, memory_format=options.memory_format, compile="off",
        threads=options.threads, workers=options.workers, side_px=options.image_size or 224, in_memory=False,
    )  # fmt: skip


def seen(
    dataset: BoxDataset, options: DetectOptions, engine: Engine, whole: TrainedDetector | None
) -> tuple[BoxView, str]:  # fmt: skip
    """The view, and why."""
    view = view_for(dataset, short_px=options.image_size)
    if options.image_size is not None:
        return view, "asked for"
    if whole is not None:
        theirs = whole.view
        return view_for(dataset, short_px=theirs.short_px, long_px=theirs.long_px), "what the weights were trained on"
    if engine.kind != "cpu" or view.short_px <= CPU_PX:
        return view, "the median short side of the pictures, at most 800"
    short = view.short_px
    while short > CPU_PX:
        short //= 2
    return view_for(dataset, short_px=short), f"a part of {view.short_px} px that a CPU can learn from in minutes"


def row_for(
    options: DetectOptions, dataset: BoxDataset, view: BoxView, trained: Trained | TrainedDetector | None
) -> tuple[DetectorRow, tuple[Decision, ...]]:
    """The detector to train, and what was decided about it. Raises UsageError."""
    told = []
    if isinstance(trained, TrainedDetector):
        return row_of(options, dataset, view, trained)
    if trained is not None:
        net = trained.row
        told.append(Decision("arch", net.name, f"the net of {options.weights}", "--arch"))
    elif options.arch == "auto":
        net = find("resnet18")
        told.append(Decision("arch", "resnet18", "the smallest of the paper's nets for photos", "--arch"))
    else:
        net = find(options.arch)
    if not isinstance(net, Arch):
        raise UsageError(f"{net.name} is no residual net: a detector stands on one")
    net = replace(net, channels=view.channels)
    norm = options.norm
    if norm == "auto":
        norm, why = ("frozen", "as the weights have them") if trained else ("batch", "random weights have none to keep")
        told.append(Decision("norm", norm, why, "--norm"))
    small = options.size == "small" or (options.size == "auto" and view.short_px <= SMALL_PX)
    if options.size == "auto":
        why = f"pictures of {view.short_px} px"
        told.append(Decision("size", "small" if small else "large", why, "--size"))
    row = detector_row(net, len(dataset.classes), form=options.form, norm=norm, small=small)
    least = row.strides[max(row.stages)] * (2 if row.form == "fpn" else 1)
    if view.short_px < least:
        raise UsageError(
            f"{net.name} leaves nothing of {view.short_px} px: its last map is {least} times coarser; "
            f"try --image-size {2 * least}, or a net with fewer stages"
        )
    if options.anchors == "fit":
        row, why = with_anchors(row, dataset, view)
        told.append(Decision("anchors", shown(row), why, "--anchors"))
    return row, tuple(told)


def row_of(
    options: DetectOptions, dataset: BoxDataset, view: BoxView, trained: TrainedDetector
) -> tuple[DetectorRow, tuple[Decision, ...]]:
    """The row of a detector that was trained before, for these classes. Raises UsageError for what it cannot be."""
    row = trained.row
    asked = {"form": (options.form, "fpn", row.form), "norm": (options.norm, "auto", row.norm),
             "anchors": (options.anchors, "auto", ""), "size": (options.size, "auto", ""),
             "arch": (options.arch, "auto", row.net.name)}  # fmt: skip
    for name, (value, usual, own) in asked.items():
        if value not in (usual, own):
            raise UsageError(f"--{name} {value}: {options.weights} is a whole detector, and brings its own")
    if row.net.channels != view.channels:
        raise UsageError(f"{options.weights} sees {row.net.channels} channels, the pictures have {view.channels}")
    known = [c for c in dataset.classes if c in trained.classes]
    why = f"the detector of {options.weights}: {len(known)} of {len(dataset.classes)} classes are known to it"
    return replace(row, classes=len(dataset.classes)), (
        Decision("arch", f"{row.net.name} {row.form}", why, "--weights"),
    )


def with_anchors(row: DetectorRow, dataset: BoxDataset, view: BoxView) -> tuple[DetectorRow, str]:
    """The row with anchors that fit the boxes of train, and how well they do."""
    train = dataset.splits["train"]
    sides = []
    for size, target in zip(train.sizes.tolist(), train.targets, strict=True):
        h, w = view.scaled(*size)
        sides.append((target.boxes[:, 2:] - target.boxes[:, :2]) * np.array([w / size[1], h / size[0]]))
    boxes = np.concatenate(sides).astype(np.float64)
    made = fitted(row, boxes)
    before, after = mean_overlap(row, boxes), mean_overlap(made, boxes)
    if after <= before:
        return row, f"the usual ones overlap the boxes better (mean best overlap {before:.2f} against {after:.2f})"
    return made, f"fitted to {len(boxes):,} boxes: mean best overlap {after:.2f}, {before:.2f} of the usual ones"


def shown(row: DetectorRow) -> str:
    """Anchor sizes and ratios in words."""
    sizes = "/".join(",".join(f"{s:.0f}" for s in of) for of in row.anchor_sizes)
    return f"{sizes} px, ratios {', '.join(f'{r:.2g}' for r in row.anchor_ratios)}"
