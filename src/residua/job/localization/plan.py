"""From options to everything that the training of a localizer needs; each decision said."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from residua.boxes.anchors import Floats, overlaps, shapes
from residua.boxes.augment import BoxAugment
from residua.boxes.batches import opened
from residua.boxes.dataset import BoxDataset
from residua.boxes.one_class import mean_boxes
from residua.boxes.sources import open_boxes
from residua.boxes.view import BoxView, square_view
from residua.data import cache as caches
from residua.engine import Decision, Engine, decide
from residua.errors import UsageError
from residua.job import processes
from residua.job.boxes.plan import USUAL, BoxPlan, augmentations, check_learned, data_decisions, written
from residua.job.localization.options import LocalizeOptions
from residua.job.localization.start import TrainedLocalizer, starting
from residua.job.plan import USUAL as NETS
from residua.job.plan import sized
from residua.job.weights import Trained
from residua.localize.localizer import Localizer, build, second
from residua.localize.row import LocalizerRow
from residua.nn import names
from residua.nn.arch import Arch
from residua.nn.resnet import Net
from residua.nn.zoo import build as build_net
from residua.nn.zoo import find, stem_for
from residua.ranks import now, together
from residua.seeds import key
from residua.training.recipe import Recipe

#: Anchors at each place of the map, as the region proposal network has (Ren et al. 2015).
ANCHORS = 9
#: How the residual net is called within a localizer.
BODY = "net."


@dataclass(frozen=True, kw_only=True)
class Plan(BoxPlan):
    """Everything that the training of a localizer needs; `mean_boxes` (K, 4) are what it must be better than."""

    options: LocalizeOptions
    row: LocalizerRow
    mean_boxes: Floats
    start: Mapping[str, Tensor] | None = None  # weights of the net to start from, under our names
    whole: TrainedLocalizer | None = None  # a whole localizer to start from

    prefix = BODY

    @property
    def arch(self) -> Arch:
        """The residual net."""
        return self.row.net

    def norms(self) -> tuple[Decision, ...]:
        """Whose pictures they look at."""
        return (processes.norm_decision(self.options.sync_norm),)

    def among(self, net: nn.Module) -> nn.Module:
        """The localizer, its norms as ``--sync-norm`` asks for."""
        return net if now().alone or self.options.sync_norm == "off" else together(net)

    def held(self) -> Recipe:
        """The recipe, its parts named as within a localizer; of a second look nothing else learns."""
        if self.row.refined:
            return replace(self.recipe, freeze=("net", "region"))
        return super().held()

    def net(self) -> Localizer:
        """The localizer before the first step, on the CPU: a function of the seed, or on weights to start from."""
        torch.manual_seed(key(self.options.seed, "init"))
        if self.whole is not None:
            made = build(self.row)
            made.load_state_dict(self.whole.for_classes(self.row, self.dataset.classes))
            if made.refiner is not None and not self.whole.row.refined:
                made.refiner = begun_as(made.net, self.row)
            return made
        net = build_net(self.row.net)
        assert isinstance(net, Net)
        if self.start is not None:
            net.load_state_dict(names.adapt(self.start, self.row.net))
        return build(self.row, net)


def begun_as(net: Net, row: LocalizerRow) -> Net:
    """The net of a second look that begins as the classifier: it takes a thing for what that would."""
    made = second(row)
    state = made.state_dict()
    for name, value in net.state_dict().items():
        if state[name].shape == value.shape:
            state[name] = value
        else:  # the last layer: its first rows say how sure it is of each class
            state[name][: row.classes] = value
    made.load_state_dict(state)
    return made


def prepare(options: LocalizeOptions) -> Plan:
    """The plan of a new training. Raises UsageError or DataError for whatever does not fit."""
    trained = starting(options) if options.weights else None
    if trained is None:
        check_learned(options.recipe)
    whole = trained if isinstance(trained, TrainedLocalizer) else None
    if options.refine and whole is None:
        raise UsageError(f"--refine looks again at what a localizer finds, and {options.weights} is none")
    dataset = data_of(options)
    view, why = seen(dataset, options, trained)
    engine = engine_of(options, view)
    told = [*data_decisions(dataset), Decision("image_size", f"{view.short_px} px, square", why, "--image-size")]
    row, chosen = row_for(options, dataset, view, trained)
    if "auto" in options.augment:
        chosen = (*chosen, Decision("augment", ",".join(USUAL), "suits photos", "--augment"))
    recipe, words = sized(options.recipe, len(dataset.splits["train"]))
    plan = complete(replace(options, recipe=recipe), dataset, view, row, engine)
    if plan.pictures["train"].kept:
        told.append(Decision("pictures", f"{view.short_px} px", "all scaled pictures are held in memory", ""))
    decided = tuple(d for d in engine.decisions if d.what != "compile")
    return replace(
        plan, decisions=(*told, *chosen, *words, *decided), lineage=trained.lineage if trained else [],
        start=trained.state if isinstance(trained, Trained) else None, whole=whole,
    )  # fmt: skip


def complete(
    options: LocalizeOptions, dataset: BoxDataset, view: BoxView, row: LocalizerRow, engine: Engine
) -> Plan:  # fmt: skip
    """The plan of a known localizer on known data, with its pictures."""
    words = augmentations(options.augment)
    cache = caches.opened(options.cache_size)
    dataset, pictures = opened(dataset, view, cache)
    done = replace(
        options, arch=row.net.name, stem=row.net.stem if options.weights is None else "auto",
        augment=written(words), image_size=view.short_px, device=engine.device, precision=engine.precision,
        memory_format=engine.memory_format,
    )  # fmt: skip
    return Plan(
        options=done, dataset=dataset, pictures=pictures, view=view, row=row, recipe=options.recipe, engine=engine,
        augment=BoxAugment(view, words), cache=cache,
        mean_boxes=mean_boxes(dataset.splits["train"], len(dataset.classes)),
    )  # fmt: skip


def data_of(options: LocalizeOptions) -> BoxDataset:
    """The pictures that show things of one class, and their boxes, divided."""
    return open_boxes(
        options.data, seed=options.seed, val_fraction=options.recipe.val_fraction, limit=options.limit, alone=True
    )


def engine_of(options: LocalizeOptions, view: BoxView) -> Engine:
    """Where and how to compute."""
    return decide(
        device=options.device, precision=options.precision, memory_format=options.memory_format, compile="off",
        threads=options.threads, workers=options.workers, side_px=view.short_px, in_memory=False,
    )  # fmt: skip


def seen(
    dataset: BoxDataset, options: LocalizeOptions, trained: Trained | TrainedLocalizer | None
) -> tuple[BoxView, str]:  # fmt: skip
    """The view, and why."""
    side, why = options.image_size, "asked for"
    theirs: Mapping[str, Any] = {}
    if isinstance(trained, TrainedLocalizer):
        theirs = trained.view.to_json()
        if side is None:
            side, why = trained.view.short_px, "what the weights were trained on"
    elif trained is not None:
        theirs = trained.view
        if side is None and theirs.get("side_px"):
            side, why = int(theirs["side_px"]), "what the weights were trained on"
    elif side is None:
        why = "suits the pictures' median short side"
    view = square_view(dataset, side_px=side)
    if len(theirs.get("mean", ())) == view.channels:
        view = replace(view, mean=tuple(theirs["mean"]), std=tuple(theirs["std"]))
    return view, why


def row_for(
    options: LocalizeOptions, dataset: BoxDataset, view: BoxView, trained: Trained | TrainedLocalizer | None
) -> tuple[LocalizerRow, tuple[Decision, ...]]:
    """The localizer to train, and what was decided about it. Raises UsageError."""
    if isinstance(trained, TrainedLocalizer):
        return row_of(options, dataset, view, trained)
    told = []
    if trained is not None:
        net = trained.row
        told.append(Decision("arch", net.name, f"the net of {options.weights}", "--arch"))
    else:
        suits = stem_for(view.short_px)
        name, kind = NETS[suits]
        net = find(name if options.arch == "auto" else options.arch)
        if options.arch == "auto":
            told.append(Decision("arch", name, f"pictures of {view.short_px} px are {kind}", "--arch"))
        if isinstance(net, Arch) and options.stem != "auto":
            net = replace(net, stem=options.stem)
        elif isinstance(net, Arch) and net.stem != suits and (options.arch == "auto" or net.stem != "3x3"):
            net = replace(net, stem=suits)
            told.append(Decision("stem", suits, f"suits pictures of {view.short_px} px", "--stem"))
    if not isinstance(net, Arch):
        raise UsageError(f"{net.name} is no residual net: a localizer stands on one")
    net = replace(net, classes=len(dataset.classes), channels=view.channels)
    if view.short_px < 2 * net.strides[-1]:
        raise UsageError(
            f"{net.name} leaves nothing of {view.short_px} px: its last map is {net.strides[-1]} times coarser; "
            f"try --image-size {4 * net.strides[-1]}, or a net with fewer stages"
        )
    anchors, decision = fitted(dataset, view)
    return LocalizerRow(net=net, anchors=anchors), (*told, decision)


def row_of(
    options: LocalizeOptions, dataset: BoxDataset, view: BoxView, trained: TrainedLocalizer
) -> tuple[LocalizerRow, tuple[Decision, ...]]:
    """The row of a localizer that was trained before, for these classes. Raises UsageError for what it cannot be."""
    row = trained.row
    if options.arch not in ("auto", row.net.name):
        raise UsageError(f"--arch {options.arch}: {options.weights} is a whole localizer, and brings its own")
    if row.net.channels != view.channels:
        raise UsageError(f"{options.weights} sees {row.net.channels} channels, the pictures have {view.channels}")
    if options.refine and dataset.classes != trained.classes:
        raise UsageError(f"--refine needs the classes of {options.weights}: {', '.join(trained.classes[:4])}, ...")
    if options.refine and view.short_px != trained.view.short_px:
        raise UsageError(f"--image-size {view.short_px}: {options.weights} sees {trained.view.short_px} px")
    known = [c for c in dataset.classes if c in trained.classes]
    why = f"the localizer of {options.weights}: {len(known)} of {len(dataset.classes)} classes are known to it"
    told = [Decision("arch", row.net.name, why, "--weights")]
    if options.refine:
        told.append(Decision("refine", "on", "a second net looks again at the surest places; the first is kept", ""))
    net = replace(row.net, classes=len(dataset.classes))
    return replace(row, net=net, refined=options.refine), tuple(told)


def fitted(dataset: BoxDataset, view: BoxView) -> tuple[tuple[tuple[float, float], ...], Decision]:
    """Anchors that suit the boxes of train as the net sees them, and how well they do."""
    train = dataset.splits["train"]
    sides = np.concatenate([
        (t.boxes[:, 2:] - t.boxes[:, :2]).astype(np.float64) * view.short_px / np.array([size[1], size[0]])
        for size, t in zip(train.sizes.tolist(), train.targets, strict=True)
    ])  # fmt: skip
    found = shapes(sides, min(ANCHORS, len(sides)))
    anchors = tuple((round(float(w), 1), round(float(h), 1)) for w, h in found)
    mean = float(overlaps(sides, found).max(1).mean())
    shown = ", ".join(f"{w:.0f}x{h:.0f}" for w, h in anchors)
    return anchors, Decision("anchors", f"{shown} px", f"fitted to {len(sides):,} boxes: mean overlap {mean:.2f}", "")
