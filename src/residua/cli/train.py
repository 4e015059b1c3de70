"""``residua train [DATA]``: train a net and write everything about it into a run folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import (
    DATA_HELP,
    RECIPE_HELP,
    Budget,
    CacheSize,
    Debug,
    Grow,
    Json,
    Limit,
    Memory,
    Root,
    Threads,
    Workers,
    archs,
    choice,
    data_names,
    recipes,
    starting,
)  # fmt: skip
from residua.cli.training_options import (
    DATA,
    MACHINE,
    NET,
    RECIPE,
    RUN,
    AcceptChanges,
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
    from residua.evaluate import Evaluation
    from residua.job import TrainOptions

#: Parameters of the command that are no options of a training.
OWN = ("config", "print_config", "json", "debug", "recipe", "sets", "verify")


def train(
    ctx: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help=DATA_HELP, show_default="digits", autocompletion=starting(data_names)),
    ] = None,
    arch: Annotated[
        str | None,
        option(
            "--arch",
            "the net, see `residua archs`",
            NET,
            metavar="NAME",
            shown="what suits the pictures",
            autocompletion=starting(archs),
        ),
    ] = None,
    weights: Annotated[
        str | None,
        option(
            "--weights",
            "start from these weights: a model file, a run folder, a checkpoint with --arch, or a published name: "
            "imagenet, torchvision/resnet50, timm/resnet50.a1_in1k",
            NET,
            metavar="FILE|NAME",
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
    shortcut: Annotated[
        str | None,
        choice(
            "--shortcut",
            "A pads with zeros, B projects where shapes change, C projects everywhere, none is a plain net",
            section=NET,
        ),
    ] = None,
    depths: Annotated[
        str | None, option("--depths", "units of each stage", NET, metavar="N,N,N", shown="the net's own")
    ] = None,
    grow: Grow = None,
    budget: Budget = None,
    recipe: Annotated[
        str | None,
        option(
            "--recipe",
            RECIPE_HELP,
            RECIPE,
            metavar="NAME",
            shown="quick; finetune with --weights",
            autocompletion=starting(recipes),
        ),
    ] = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch_size: StepSize = None,
    lr: Lr = None,
    freeze: Freeze = None,
    on_nan: OnNan = None,
    balance: Annotated[
        str | None,
        choice(
            "--balance",
            "classes of different size: weight rare ones in the loss, or show them more often",
            section=RECIPE,
            shown="none",
        ),
    ] = None,
    best_by: Annotated[
        str | None,
        choice("--best-by", "what of the held-out pictures chooses the epoch to keep", section=RECIPE, shown="error"),
    ] = None,
    early_stop_epochs: Annotated[
        int | None,
        option("--early-stop", "end after so many epochs without a better one", RECIPE, metavar="EPOCHS", min=1),
    ] = None,
    find_lr: Annotated[
        bool,
        option(
            "--find-lr", "try learning rates on a copy first and draw what they do; training stays as it is", RECIPE
        ),
    ] = False,
    sets: Sets = None,
    root: Root = None,
    limit: Limit = None,
    image_size: Annotated[
        int | None,
        option(
            "--image-size",
            "side of the picture that the net sees",
            DATA,
            metavar="PX",
            min=1,
            shown="what suits the pictures",
        ),
    ] = None,
    fit: Annotated[
        str | None,
        choice(
            "--fit",
            "what happens to the parts that do not fit: cut off, padded to a square, or squashed",
            section=DATA,
            shown="crop",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        option(
            "--groups",
            "pictures that belong together are never parted: by the folder below the class folder, or by what a "
            "regular expression fits in their names",
            DATA,
            metavar="folder|REGEX|none",
            shown="the table's column group",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        option("--folds", "train so many nets, each tested on another part of the data", DATA, metavar="K", min=2),
    ] = None,
    device: Compute = None,
    precision: Precision = None,
    memory_format: MemoryFormat = None,
    compile: Annotated[
        str | None, choice("--compile", "whether to compile the net", section=MACHINE, shown="auto")
    ] = None,
    sync_norm: SyncNorm = None,
    threads: Threads = None,
    workers: Workers = None,
    memory: Memory = None,
    cache_size: CacheSize = None,
    seed: Seed = None,
    out: Annotated[
        str | None,
        option(
            "--out",
            "the run folder; one that exists is never overwritten",
            RUN,
            metavar="FOLDER",
            shown="runs/DATA-NET-N",
        ),
    ] = None,
    save_every: SaveEvery = None,
    watch_units: Annotated[
        bool,
        option("--watch-units", "write now and then what each unit does to its input, into units.jsonl", RUN),
    ] = False,
    track: Annotated[
        str | None,
        option(
            "--track",
            "send the metrics there too; metrics.jsonl and metrics.csv are always written",
            RUN,
            metavar="tensorboard|mlflow|wandb",
        ),
    ] = None,
    resume: Resume = None,
    accept_changes: AcceptChanges = False,
    verify: Verify = False,
    config: Annotated[
        str | None,
        option(
            "--config",
            "take options from a file such as a run's config.toml; flags go before it",
            RUN,
            metavar="FILE.toml",
        ),
    ] = None,
    print_config: Annotated[bool, option("--print-config", "print the options as such a file and end", RUN)] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a net on pictures and write a run folder.

    Without arguments: a small residual net on handwritten digits, in half a minute. What is not said is decided from
    the data and the machine; each decision is printed with the flag that changes it. The test pictures are looked at
    once, at the end. Ctrl-C saves; --resume goes on.

    Examples:
      residua train
      residua train ./photos --epochs 30 --out runs/photos
      residua train cifar10 --arch cifar_resnet56 --recipe he2015-cifar --seed 1
      residua train cifar10 --budget 10m
      residua train ./photos --weights imagenet --arch resnet50
      residua train ./photos --folds 5 --groups 'patient_(\\d+)'
      residua train --resume runs/photos
    """
    if verify:
        from residua.cli.verified import prove

        prove(resume, json)
        return
    from residua.cli.live import waiting
    from residua.cli.settings import options as read

    given = {k: v for k, v in ctx.params.items() if k not in OWN and v is not None and v is not False}
    with waiting("loading torch"):
        options = read(given, recipe=recipe, sets=sets or [], config=config)
    if print_config:
        _print_config(options, json)
        return
    if options.folds is not None and options.fold is None:
        from residua.cli.folds import cross_validate

        document = cross_validate(options, json)
    else:
        document = _train(options, json)
    from residua.cli.terminal import emit, first

    if json and first():
        emit(document)


def _print_config(options: "TrainOptions", json: bool) -> None:
    from residua.cli.terminal import emit
    from residua.job.options import to_config
    from residua.training.run import to_toml

    if json:
        emit(to_config(options))
    else:
        print(to_toml(to_config(options)), end="")


# -- the training ---------------------------------------------------------------------------------------------------


def _train(options: "TrainOptions", json: bool) -> dict[str, Any]:
    """Train, show it, draw the report; what ``--json`` prints."""
    from residua.cli.live import follow
    from residua.cli.terminal import first
    from residua.job import Finished, Tested
    from residua.job import train as events
    from residua.job.course import age

    test: Evaluation | None = None
    run, seconds, page = Path(), 0.0, Path()
    happening = events(options, spent=age())
    for event in follow(happening) if first() else happening:
        if isinstance(event, Tested):
            test = event.evaluation
        if isinstance(event, Finished):
            run, seconds = event.run, event.seconds
            from residua.report import draw  # here: its plotting takes a second to import

            page = draw(run) if first() else page  # here, where those who follow the run can still be sent the pictures
    if not json and first():
        _tell(run, test, seconds, page, options.data)
    return {
        "run": str(run),
        "test": test.to_json() if test else None,
        "seconds": seconds,
        "model": str(run / "model.safetensors"),
        "report": str(page),
    }


def _tell(run: Path, test: "Evaluation | None", seconds: float, page: Path, data: str) -> None:
    """How well it ended, where everything is, and what to do next."""
    import shlex

    from residua.cli.results import confused_table, error_lines
    from residua.cli.terminal import cell, duration, results

    console = results()
    console.print()
    if test is not None:
        console.print(
            cell("test", "bold"),
            cell(f"looked at once, with the weights that were best; trained in {duration(seconds)}", "dim"),
        )
        console.print(error_lines(test))
        if (table := confused_table(test)) is not None:
            console.print(table)
    model = shlex.quote(str(run / "model.safetensors"))
    console.print(cell("run     "), cell(str(run), "bold"))
    console.print(cell("report  "), cell(str(page), "bold"))
    console.print(cell("next    "), cell(f"residua predict {model} YOUR_PICTURES", "cyan"))
    console.print(cell("        "), cell(f"residua eval {model} {shlex.quote(data)}", "cyan"))
