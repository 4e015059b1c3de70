"""From options to everything a training needs: data, view, net, engine, recipe; each decision said."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from residua import heap
from residua.amounts import gigabytes
from residua.data.batches import Batches
from residua.data.cache import Cache, Decoding, opened
from residua.data.dataset import ArrayImages, Dataset
from residua.data.sources import open_data
from residua.data.splits import Fold
from residua.data.view import SMALL_SIDE_PX, View, view_for
from residua.engine import Decision, Engine, decide
from residua.errors import UsageError
from residua.job.course import Course
from residua.job.options import TrainOptions
from residua.job.weights import Trained, read_weights, view_of
from residua.nn import names
from residua.nn.arch import Arch, Row
from residua.nn.resnet import Net, initialise
from residua.nn.zoo import build, find, stem_for, with_depths
from residua.ranks import now, together
from residua.seeds import key
from residua.training.recipe import Recipe

#: Sets whose classes a mirror image would change.
WRITTEN = ("digits", "mnist", "svhn")
#: The smallest share of a photo that training crops under augment = auto. (0.08, the ImageNet habit, needs long runs.)
CROP_SHARE = 0.25
#: A batch that is chosen by the number of pictures has at least so many, or half of it where there are but a FEW.
SMALLEST, FEW = 16, 200


@dataclass(frozen=True)
class Plan:
    """Everything that a training needs; `options` and `recipe` are resolved: nothing in them is "auto"."""

    options: TrainOptions
    dataset: Dataset
    view: View
    row: Row
    recipe: Recipe
    engine: Engine
    lineage: list[Any]
    decisions: tuple[Decision, ...]
    start: Mapping[str, Tensor] | None  # weights to start from, under our names
    carried: Mapping[str, Tensor] = field(default_factory=dict)  # what training went on with when they were kept
    segments: tuple[int, ...] = ()  # units to recompute, for want of memory
    limit: float = math.inf  # bytes that training may take
    cache: Decoding = field(default_factory=Decoding)  # where pictures in files come from
    course: Course | None = None  # how long it takes, where that was measured
    forecast_seconds: float | None = None

    def net(self) -> Net:
        """The net before the first step, on the CPU: a function of the seed, or the weights to start from."""
        torch.manual_seed(key(self.options.seed, "init"))
        net = build(self.row)
        if self.start is not None:
            net.load_state_dict(names.adapt(self.start, self.row))
        elif self.recipe.zero_init:
            initialise(net, zero_last=True)
        return self.thrifty(net)

    def thrifty(self, net: Net) -> Net:
        """The net with the units to recompute; on a CPU the process then keeps house as their forecast assumes."""
        net.segments = self.segments
        if self.segments and self.engine.kind == "cpu":
            heap.give_back()
        return net

    def batches(self) -> Batches:
        """Training's batches."""
        return Batches(
            self.dataset.splits["train"],
            self.view,
            batch_size=self.recipe.batch_size,
            seed=self.options.seed,
            classes=len(self.dataset.classes),
            augment=self.recipe.augment,
            balanced=self.recipe.balance == "sampler",
            rank=now().rank,
            world=now().world,
            cache=self.cache,
            device=self.device,
        )

    @property
    def device(self) -> str:
        """Where pictures are finished."""
        return self.engine.device if self.engine.kind == "cuda" else "cpu"

    def placed(self, tell: Callable[[str], None]) -> nn.Module:
        """The net before the first step, where the engine puts it; of many processes its norms look at all pictures."""
        net = self.net()
        if not now().alone and self.options.sync_norm != "off":
            together(net)
        return self.engine.place(net, tell)


def prepare(options: TrainOptions) -> Plan:
    """The plan of a new training. Raises UsageError or DataError for whatever does not fit."""
    trained = read_weights(options) if options.weights else None
    if trained is None and (options.recipe.freeze or options.recipe.head_epochs):
        what = "--freeze" if options.recipe.freeze else f"recipe {options.recipe.name} (head_epochs)"
        raise UsageError(
            f"{what} keeps what a net has learned, and random weights have learned nothing: give --weights"
        )
    dataset, view = open_view(options)
    told: tuple[Decision, ...] = ()
    if trained is not None:
        view, told = view_of(trained, view, options)
    sized = any(d.what == "image_size" for d in told)
    decisions = data_decisions(dataset, view, replace(options, image_size=view.side_px) if sized else options) + told
    row, chosen = row_for(options, dataset, view, trained)
    return complete(options, dataset, view, row, decisions=decisions + chosen, trained=trained)


def open_view(options: TrainOptions) -> tuple[Dataset, View]:
    """The data and how a picture becomes a tensor."""
    dataset = open_data(
        options.data,
        root=options.root,
        seed=options.seed,
        val_fraction=options.recipe.val_fraction,
        limit=options.limit,
        groups=options.groups,
        fold=None if options.fold is None or options.folds is None else Fold(options.fold, options.folds),
    )
    return dataset, view_for(dataset, image_size=options.image_size, fit=options.fit)


def complete(
    options: TrainOptions,
    dataset: Dataset,
    view: View,
    row: Row,
    *,
    decisions: tuple[Decision, ...] = (),
    trained: Trained | None = None,
) -> Plan:
    """The plan of a known net on known data: the engine decided, the recipe resolved."""
    in_memory = isinstance(dataset.splits["train"].images, ArrayImages)
    engine = decide(
        device=options.device,
        precision=options.precision,
        memory_format=options.memory_format,
        compile=options.compile,
        threads=options.threads,
        workers=options.workers,
        side_px=view.side_px,
        in_memory=in_memory,
    )
    cache = Decoding() if in_memory else opened(options.cache_size)
    recipe, resolved = resolve(options.recipe, dataset, row)
    if recipe.drop_depth:
        if not isinstance(row, Arch):
            raise UsageError(f"{row.name} has no units to drop: drop_depth is for residual nets")
        row = replace(row, drop_depth=recipe.drop_depth)
    stem = row.stem if isinstance(row, Arch) else "auto"
    done = replace(
        options, recipe=recipe, arch=row.name, stem=stem, shortcut=None, depths=None,
        device=engine.device, precision=engine.precision, memory_format=engine.memory_format,
        compile="on" if engine.compile else "off",
    )  # fmt: skip
    return Plan(
        options=done, dataset=dataset, view=view, row=row, recipe=recipe, engine=engine,
        lineage=trained.lineage if trained else [],
        decisions=decisions + resolved + engine.decisions + (() if in_memory else cache_decisions(cache)),
        start=trained.state if trained else None,
        carried=trained.carried if trained else {},
        cache=cache,
    )  # fmt: skip


# -- data -----------------------------------------------------------------------------------------------------------


def data_decisions(dataset: Dataset, view: View, options: TrainOptions) -> tuple[Decision, ...]:
    """What was decided about the data and the view."""
    told = [Decision("data", dataset.name, note, "") for note in dataset.notes]
    if dataset.skipped:
        why = f"they cannot be used: {dataset.skipped[0].reason}, ..."
        told.append(Decision("skipped", f"{len(dataset.skipped)} files", why, ""))
    if "val" not in dataset.splits:
        why = "no image is held out (val_fraction 0), so no epoch can be chosen by its validation error"
        told.append(Decision("keep", "the last epoch", why, "--set val_fraction=0.1"))
    if options.image_size is None:
        kept = dataset.same_size and view.side_px == dataset.side_px
        why = "the images' own size" if kept else f"suits images of {dataset.side_px} px"
        told.append(Decision("image_size", str(view.side_px), why, "--image-size"))
    return tuple(told)


def cache_decisions(cache: Decoding) -> tuple[Decision, ...]:
    """Where decoded pictures are kept, and how many."""
    if not isinstance(cache, Cache):
        return (Decision("cache", "off", "asked for: every epoch decodes every picture", "--cache-size"),)
    if cache.told:
        return (Decision("cache", "off", "; ".join(cache.told.values()), "--cache-size, or RESIDUA_CACHE=FOLDER"),)
    why = f"decoded pictures are kept in {cache.folder}: later epochs and runs do not decode them again"
    return (Decision("cache", gigabytes(cache.limit), why, "--cache-size"),)


# -- the net --------------------------------------------------------------------------------------------------------

#: The net of images for which a stem is right, and what they are called. Of 64 px the wide ten layers learn more in the
#: same time than deeper or wider ones (docs/log.md).
USUAL = {"3x3": ("cifar_resnet20", "small"), "5x5": ("wrn10_2", "middling"), "7x7": ("resnet18", "large")}


def row_for(
    options: TrainOptions, dataset: Dataset, view: View, trained: Trained | None
) -> tuple[Row, tuple[Decision, ...]]:
    """The net to train, with the data's classes and channels, and what was decided about it."""
    told = []
    if trained is not None:
        row = trained.row
        told.append(Decision("arch", row.name, f"the net of {options.weights}", "--arch"))
    elif options.arch == "auto":
        stem = stem_for(view.side_px)
        row = shaped(find(USUAL[stem][0]), options)
        told.append(Decision("arch", row.name, f"images of {view.side_px} px are {USUAL[stem][1]}", "--arch"))
        if isinstance(row, Arch) and stem != row.stem:
            row = replace(row, stem=stem)
            if options.stem == "auto":
                told.append(Decision("stem", stem, "a quarter of the work, and more epochs are worth more", "--stem"))
    else:
        row = shaped(find(options.arch), options)
    if isinstance(row, Arch) and trained is None:
        row, stems = stemmed(row, options, view)
        told += stems
    elif options.stem != "auto" and trained is None:
        raise UsageError(f"{row.name} has no stem to choose: leave --stem out")
    return replace(row, classes=len(dataset.classes), channels=view.channels), tuple(told)


def shaped(row: Row, options: TrainOptions) -> Row:
    """The row with the shortcuts and depths asked for, under a name that says so."""
    if options.shortcut:
        if options.shortcut == "none":
            row = find(f"plain_{row.name}") if isinstance(row, Arch) and row.shortcut != "none" else row
        else:
            base, colon, depths = row.name.partition(":")
            row = find(f"{base}_{options.shortcut}{colon}{depths}")
    return with_depths(row, options.depths) if options.depths else row


def stemmed(row: Arch, options: TrainOptions, view: View) -> tuple[Arch, list[Decision]]:
    """The row with the stem asked for, or the one that suits the images."""
    if options.stem != "auto":
        return replace(row, stem=options.stem), []
    if row.stem == "3x3" or stem_for(view.side_px) == row.stem:
        return row, []
    stem = stem_for(view.side_px)
    why = f"{row.name}'s {row.stem} stem would leave little of images of {view.side_px} px"
    return replace(row, stem=stem), [Decision("stem", stem, why, "--stem")]


# -- the recipe -----------------------------------------------------------------------------------------------------


def resolve(recipe: Recipe, dataset: Dataset, row: Row) -> tuple[Recipe, tuple[Decision, ...]]:
    """The recipe with what it leaves to the data and the net, and what was decided. Raises UsageError."""
    recipe, told = sized(recipe, len(dataset.splits["train"]))
    if "auto" in recipe.augment:
        words, why = augment_for(dataset)
        augment = tuple(w for word in recipe.augment for w in (words if word == "auto" else (word,)))
        recipe = replace(recipe, augment=augment)
        told.append(Decision("augment", ",".join(augment), why, f"--set augment={','.join(augment)}"))
    if recipe.warmup_until_error is not None and row.layers < recipe.warmup_from_layers:
        why = f"{row.name} has {row.layers} layers; from {recipe.warmup_from_layers} on they need it"
        told.append(Decision("warm-up", "none", why, "--set warmup_from_layers=0"))
        recipe = replace(recipe, warmup_until_error=None)
    deep = recipe.zero_init_from_layers
    if deep is not None and isinstance(row, Arch) and row.shortcut != "none" and row.layers >= deep:
        why = f"nets of {deep} layers or more begin as the identity: this rate would drive them apart"
        told.append(Decision("zero_init", "true", why, "--set zero_init_from_layers=none"))
        recipe = replace(recipe, zero_init=True)
    if recipe.schedule == "plateau" and "val" not in dataset.splits:
        raise UsageError(f"recipe {recipe.name}: a plateau is seen on held-out images: --set val_fraction=0.1")
    return recipe, tuple(told)


def sized(recipe: Recipe, pictures: int) -> tuple[Recipe, list[Decision]]:
    """The recipe with the batch size that suits so many training pictures, where it leaves that to them."""
    done = replace(recipe, min_epoch_steps=0, lr_with_batch="none")
    size, least = recipe.batch_size, max(2 * recipe.accumulate, SMALLEST if pictures >= FEW else SMALLEST // 2)
    while recipe.steps is None and pictures // size < recipe.min_epoch_steps and size // 2 >= least:
        size //= 2
    if size == recipe.batch_size:
        return done, []
    lr = recipe.lr * (size / recipe.batch_size) ** {"none": 0, "sqrt": 0.5, "linear": 1}[recipe.lr_with_batch]
    before = max(1, pictures // recipe.batch_size)
    why = f"{pictures:,} pictures would be {before} step{'s' * (before > 1)} of {recipe.batch_size} an epoch"
    words = [Decision("batch_size", str(size), why, f"--batch-size {recipe.batch_size}")]
    if lr != recipe.lr:
        why = f"{recipe.lr:g} is for batches of {recipe.batch_size}: smaller ones take smaller steps"
        words.append(Decision("lr", f"{lr:.3g}", why, f"--lr {recipe.lr:g}"))
    return replace(done, batch_size=size, lr=float(f"{lr:.3g}")), words


def augment_for(dataset: Dataset) -> tuple[tuple[str, ...], str]:
    """The augmentations that suit a data set, and why."""
    if not dataset.same_size or dataset.side_px > SMALL_SIDE_PX:
        return (f"random-resized-crop:{CROP_SHARE}", "alternate-flip"), "suits photos"
    crop = f"pad-crop:{max(1, round(dataset.side_px / 10))}"
    if dataset.name in WRITTEN:
        return (crop,), f"a tenth of {dataset.side_px} px; no flip: a mirrored digit is another sign"
    return (crop, "alternate-flip"), f"a tenth of {dataset.side_px} px, and mirror images"
