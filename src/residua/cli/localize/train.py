"""``residua localize train DATA``: train a localizer and write everything about it into a run folder."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.boxes_training import BOXES_HELP, chosen, followed
from residua.cli.options import CacheSize, Debug, Json, Limit, Threads, Workers, archs, choice, starting
from residua.cli.training_options import (
    DATA,
    NET,
    RECIPE,
    RUN,
    AcceptChanges,
    BoxAugmentations,
    Compute,
    Epochs,
    Freeze,
    Lr,
    MemoryFormat,
    OnNan,
    Precision,
    Resume,
    SaveEvery,
    Seed,
    Sets,
    Steps,
    StepSize,
    SyncNorm,
    Verify,
    option,
)

if TYPE_CHECKING:
    from residua.job.localization import LocalizeOptions


def train(
    ctx: typer.Context,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=BOXES_HELP, show_default=False)] = None,
    arch: Annotated[
        str | None,
        option(
            "--arch",
            "the residual net, see `residua archs`",
            NET,
            metavar="NAME",
            shown="what suits the pictures",
            autocompletion=starting(archs),
        ),
    ] = None,
    stem: Annotated[
        str | None,
        choice(
            "--stem",
            "first layers: 3x3 for small pictures, 5x5 to 112 px, 7x7 for large ones",
            section=NET,
            shown="auto",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        option(
            "--weights",
            "stand on a trained classifier, or go on from a localizer: a model file, a run folder, a checkpoint with "
            "--arch, or a published name: imagenet, torchvision/resnet50",
            NET,
            metavar="FILE|NAME",
        ),
    ] = None,
    refine: Annotated[
        bool,
        option(
            "--refine",
            "keep the localizer of --weights, and train a second net that looks again at the places it finds",
            NET,
        ),
    ] = False,
    recipe: Annotated[
        str | None,
        option(
            "--recipe",
            "how to train: quick, finetune, refine, or a FILE.toml",
            RECIPE,
            metavar="NAME",
            shown="quick; finetune with --weights; refine with --refine",
        ),
    ] = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch_size: StepSize = None,
    lr: Lr = None,
    freeze: Freeze = None,
    on_nan: OnNan = None,
    augment: BoxAugmentations = None,
    sets: Sets = None,
    limit: Limit = None,
    image_size: Annotated[
        int | None,
        option(
            "--image-size",
            "side of the square that the net sees of a picture",
            DATA,
            metavar="PX",
            min=32,
            shown="the pictures' own to 96 px; of photos 224",
        ),
    ] = None,
    device: Compute = None,
    precision: Precision = None,
    memory_format: MemoryFormat = None,
    sync_norm: SyncNorm = None,
    threads: Threads = None,
    workers: Workers = None,
    cache_size: CacheSize = None,
    seed: Seed = None,
    out: Annotated[
        str | None,
        option(
            "--out",
            "the run folder; one that exists is never overwritten",
            RUN,
            metavar="FOLDER",
            shown="runs/DATA-NET-places-N",
        ),
    ] = None,
    save_every: SaveEvery = None,
    resume: Resume = None,
    accept_changes: AcceptChanges = False,
    verify: Verify = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a net that says what a picture shows and where, and write a run folder.

    A picture with things of several classes, or with none, is left out. What is not said is decided from the data and
    the machine; each decision is printed with the flag that changes it. The test pictures are looked at once, at the
    end. Ctrl-C saves; --resume goes on.

    Examples:
      residua localize train ./birds
      residua localize train tiny-imagenet-200 --epochs 60
      residua localize train ./birds --weights imagenet --arch resnet50
      residua localize train ./birds --weights runs/birds-resnet18-places-1 --refine
      residua localize train --resume runs/birds
    """
    if verify:
        from residua.cli.verified import prove

        prove(resume, json)
        return
    from residua.cli.live import waiting
    from residua.localize.recipes import RECIPES as known

    with waiting("loading torch"):
        options = chosen("localize", _options, known, ctx, recipe, sets, _usual)
    from residua.cli.localize.shown import show
    from residua.job.localization import train as events

    followed(events, options, show, json)


def _options() -> "type[LocalizeOptions]":
    from residua.job.localization import LocalizeOptions

    return LocalizeOptions


def _usual(options: dict[str, Any]) -> str:
    return "refine" if "refine" in options else "finetune" if "weights" in options else "quick"
