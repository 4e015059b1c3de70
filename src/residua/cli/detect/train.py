"""``residua detect train DATA``: train a detector and write everything about it into a run folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import CacheSize, Debug, Json, Limit, Threads, Workers, archs, choice, starting
from residua.cli.train import DATA, MACHINE, NET, RECIPE, RUN, option

if TYPE_CHECKING:
    from residua.detect.counts import BoxEvaluation
    from residua.job.detection import DetectOptions

BOXES_HELP = (
    "a folder of Pascal VOC, COCO, YOLO or Tiny ImageNet boxes; a COCO .json; "
    "or a .csv table with path, label and four edges"
)
#: Parameters of the command that are no options of a training.
OWN = ("json", "debug", "recipe", "sets", "epochs", "steps", "batch_size", "lr", "freeze")


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
    epochs: Annotated[
        float | None, option("--epochs", "how often to see every picture", RECIPE, metavar="N", shown="the recipe's")
    ] = None,
    steps: Annotated[
        int | None, option("--steps", "how many batches to see, instead of epochs", RECIPE, metavar="N")
    ] = None,
    batch_size: Annotated[
        int | None, option("--batch-size", "pictures to one step", RECIPE, metavar="N", shown="the recipe's")
    ] = None,
    lr: Annotated[
        float | None, option("--lr", "the largest learning rate", RECIPE, metavar="RATE", shown="the recipe's")
    ] = None,
    freeze: Annotated[
        str | None,
        option(
            "--freeze",
            "parts of the net that stay as the weights have them: stem,stages.0",
            RECIPE,
            metavar="PART,PART",
        ),
    ] = None,
    augment: Annotated[
        str | None,
        option(
            "--augment",
            "what is done to pictures and boxes: scale:0.8:1.25, flip, vertical-flip, color:0.2",
            RECIPE,
            metavar="WORD,WORD",
            shown="scale:0.8:1.25,flip",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        option(
            "--set", "set any field of the recipe, such as ema=0.999; may be given again", RECIPE, metavar="FIELD=VALUE"
        ),
    ] = None,
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
    device: Annotated[
        str | None,
        choice("--device", "where to compute", section=MACHINE, shown="auto", also="auto|cpu|cuda|cuda:N|mps"),
    ] = None,
    precision: Annotated[
        str | None, choice("--precision", "numbers of the forward pass", section=MACHINE, shown="auto")
    ] = None,
    memory_format: Annotated[
        str | None, choice("--memory-format", "order of the numbers in memory", section=MACHINE, shown="auto")
    ] = None,
    threads: Threads = None,
    workers: Workers = None,
    cache_size: CacheSize = None,
    seed: Annotated[
        int | None, option("--seed", "what every random choice is drawn from", RUN, metavar="N", shown="0")
    ] = None,
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
    save_every: Annotated[
        float | None, option("--save-every", "how often to save the state", RUN, metavar="SECONDS", min=0, shown="30")
    ] = None,
    resume: Annotated[
        str | None, option("--resume", "go on with a run that was interrupted", RUN, metavar="RUN")
    ] = None,
    accept_changes: Annotated[
        bool, option("--accept-changes", "with --resume: go on although options or data are others than before", RUN)
    ] = False,
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
    from residua.cli.live import waiting

    given = {k: v for k, v in ctx.params.items() if k not in OWN and v is not None and v is not False}
    words = {"epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr}
    if freeze is not None:
        words["freeze"] = tuple(w.strip() for w in freeze.split(",") if w.strip())  # type: ignore[assignment]
    with waiting("loading torch"):
        options = chosen(given, recipe, sets or [], {k: v for k, v in words.items() if v is not None})
    document = _train(options, json)
    if json:
        from residua.cli.terminal import emit

        emit(document)


def chosen(
    given: dict[str, Any], recipe: str | None, sets: list[str], words: dict[str, Any]
) -> "DetectOptions":  # fmt: skip
    """The options that flags give, over those of the run that is resumed. Raises UsageError or DataError.

    What can be checked without torch is checked first.
    """
    from dataclasses import replace
    from pathlib import Path

    from residua.amounts import in_numbers
    from residua.boxes.words import check_words
    from residua.detect.recipes import RECIPES
    from residua.errors import DataError, UsageError
    from residua.training.recipe import from_json, set_words
    from residua.training.recipe import recipe as find

    run = given.pop("resume", None)
    if run is None and "data" not in given:
        raise UsageError("missing argument 'DATA': `residua detect train --help` shows how")
    if run is None and not Path(given["data"]).expanduser().exists():
        raise DataError(f"{given['data']}: no such folder or file")
    given |= in_numbers(given, [])
    if "augment" in given:
        given["augment"] = tuple(w.strip() for w in given["augment"].split(",") if w.strip())
        check_words(w for w in given["augment"] if w != "auto")
    if "out" in given:
        from residua.cli.files import fresh

        if Path(given["out"]).exists() and any(Path(given["out"]).iterdir() if Path(given["out"]).is_dir() else [1]):
            fresh(given["out"], "run")
    if run is None or recipe is not None:
        made = find(recipe or ("finetune" if given.get("weights") else "quick"), sets, known=RECIPES, **words)
    else:
        from residua.cli.settings import run_config

        run_config(run)
    from residua.job.detection.options import DetectOptions, resumed

    if run is None:
        return DetectOptions(recipe=made, **given)
    base = resumed(run)
    changes = set_words(sets) | words
    if recipe is None:
        made = from_json(changes, base.recipe) if changes else base.recipe
    return replace(base, recipe=made, **given)


# -- the training ---------------------------------------------------------------------------------------------------


def _train(options: "DetectOptions", json: bool) -> dict[str, Any]:
    """Train, show it, draw the report; what ``--json`` prints."""
    from residua.cli.live import follow
    from residua.job import Finished, Tested
    from residua.job.detection import train as events
    from residua.report import draw

    test: BoxEvaluation | None = None
    run, seconds, page = Path(), 0.0, Path()
    for event in follow(events(options)):
        if isinstance(event, Tested):
            test = event.evaluation
        if isinstance(event, Finished):
            run, seconds = event.run, event.seconds
            page = draw(run)
    if not json:
        _tell(run, test, seconds, page, options.data)
    return {
        "run": str(run), "test": test.to_json() if test else None, "seconds": seconds,
        "model": str(run / "model.safetensors"), "report": str(page),
    }  # fmt: skip


def _tell(run: Path, test: "BoxEvaluation | None", seconds: float, page: Path, data: str) -> None:
    """How well it ended, where everything is, and what to do next."""
    import shlex

    from residua.cli.detect.shown import show
    from residua.cli.terminal import cell, duration, results

    console = results()
    console.print()
    if test is not None:
        words = f"looked at once, with the weights that were best; trained in {duration(seconds)}"
        console.print(cell("test", "bold"), cell(words, "dim"))
        show(test)
    where = shlex.quote(str(run))
    console.print(cell("run     "), cell(str(run), "bold"))
    console.print(cell("report  "), cell(str(page), "bold"))
    console.print(cell("next    "), cell(f"residua detect predict {where} YOUR_PICTURES", "cyan"))
    console.print(cell("        "), cell(f"residua detect eval {where} {shlex.quote(data)}", "cyan"))
