"""``residua detect train DATA``: train a detector and write everything about it into a run folder."""

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
    Verify,
    option,
)

if TYPE_CHECKING:
    from residua.job.detection import DetectOptions


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
            shown="resnet18",
            autocompletion=starting(archs),
        ),
    ] = None,
    weights: Annotated[
        str | None,
        option(
            "--weights",
            "stand on a trained classifier, or go on from a detector: a model file, a run folder, a checkpoint with "
            "--arch, or a published name: imagenet, torchvision/fasterrcnn_resnet50_fpn",
            NET,
            metavar="FILE|NAME",
        ),
    ] = None,
    form: Annotated[
        str | None,
        choice(
            "--form", "a pyramid of all stages, or the paper's: conv5 works on each region", section=NET, shown="fpn"
        ),
    ] = None,
    norm: Annotated[
        str | None,
        choice(
            "--norm", "frozen as the weights have them, batch, group, or sync over processes", section=NET, shown="auto"
        ),
    ] = None,
    size: Annotated[
        str | None,
        choice(
            "--size",
            "numbers for small pictures (to 512 px) or torchvision's for large ones",
            section=NET,
            shown="auto",
        ),
    ] = None,
    anchors: Annotated[
        str | None, choice("--anchors", "fit sizes and ratios to the boxes of train", section=NET, shown="auto")
    ] = None,
    recipe: Annotated[
        str | None,
        option(
            "--recipe",
            "how to train: quick, finetune, lin2017, or a FILE.toml",
            RECIPE,
            metavar="NAME",
            shown="quick; finetune with --weights",
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
            "short side of the picture that the net sees",
            DATA,
            metavar="PX",
            min=32,
            shown="the pictures' own to 800; on a CPU to 320",
        ),
    ] = None,
    device: Compute = None,
    precision: Precision = None,
    memory_format: MemoryFormat = None,
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
            shown="runs/DATA-NET-FORM-N",
        ),
    ] = None,
    save_every: SaveEvery = None,
    resume: Resume = None,
    accept_changes: AcceptChanges = False,
    verify: Verify = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train Faster R-CNN on pictures with boxes and write a run folder.

    What is not said is decided from the data and the machine; each decision is printed with the flag that changes it.
    The test pictures are looked at once, at the end. Ctrl-C saves; --resume goes on.

    Examples:
      residua detect train ./cells
      residua detect train ./cells --arch resnet34 --form c4
      residua detect train ./street --weights imagenet --arch resnet50 --freeze stem,stages.0
      residua detect train annotations.json --anchors fit --augment scale:0.5:2,flip,color
      residua detect train --resume runs/cells
    """
    if verify:
        from residua.cli.verified import prove

        prove(resume, json)
        return
    from residua.cli.live import waiting
    from residua.detect.recipes import RECIPES as known

    with waiting("loading torch"):
        options = chosen("detect", _options, known, ctx, recipe, sets, _usual)
    from residua.cli.detect.shown import show
    from residua.job.detection import train as events

    followed(events, options, show, json)


def _options() -> "type[DetectOptions]":
    from residua.job.detection import DetectOptions

    return DetectOptions


def _usual(options: dict[str, Any]) -> str:
    return "finetune" if "weights" in options else "quick"
