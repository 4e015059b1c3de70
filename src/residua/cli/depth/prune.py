"""``residua depth prune MODEL DATA``: whole units leave, those first that matter least."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import (
    DATA_HELP,
    BatchSize,
    Debug,
    Device,
    Json,
    Limit,
    Root,
    Threads,
    Workers,
    choice,
    data_names,
    starting,
)  # fmt: skip
from residua.errors import UsageError

if TYPE_CHECKING:
    from residua.depth.material import Material
    from residua.depth.shrink import Chosen, Goal, Reached, Task, Tuned
    from residua.engine import Engine
    from residua.evaluate import Evaluation
    from residua.nn.resnet import Net

PART = "when to stop"
TIMED = 64  # pictures whose latency is measured


def goal(flag: str, metavar: str, help: str) -> Any:
    """One of the three ways to say when to stop."""
    return typer.Option(flag, metavar=metavar, help=help, rich_help_panel=PART, show_default=False)


def prune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP, autocompletion=starting(data_names))],
    max_drop: Annotated[
        float | None,
        goal("--max-drop", "POINTS", "the most units that cost at most so many percentage points of held-out error"),
    ] = None,
    speed: Annotated[
        float | None, goal("--speed", "RATIO", "until the net is so many times as fast on this machine")
    ] = None,
    units: Annotated[int | None, goal("--units", "K", "so many units leave")] = None,
    finetune: Annotated[
        float,
        typer.Option(
            "--finetune", metavar="EPOCHS", min=0, help="train so long afterwards; 0.5: half the training pictures"
        ),
    ] = 0,
    out: Annotated[
        str,
        typer.Option("--out", metavar="FILE", help="the file to write; a .json and a .png of the same name beside it"),
    ] = "pruned.safetensors",
    limit: Limit = None,
    root: Root = None,
    batch_size: BatchSize = 128,
    device: Device = "auto",
    precision: Annotated[
        str, choice("--precision", "for all but the test, which is counted in fp32", section="machine", shown="auto")
    ] = "auto",
    threads: Threads = None,
    workers: Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Take whole units out of a net, those first that matter least.

    The choice is made on held-out training pictures, one unit after the other, each time the one whose absence costs
    least; norms are recalibrated after each. The result is an ordinary, smaller model file. With --finetune and
    --max-drop, the deepest cut is sought that is good enough after a short training. The test pictures are looked at
    once, at the end.

    Examples:
      residua depth prune runs/cifar10-cifar_resnet56-1 cifar10 --max-drop 0.5 --finetune 1
      residua depth prune resnet56.safetensors cifar10 --speed 1.5 --out faster.safetensors
      residua depth prune runs/digits-cifar_resnet20-1 digits --units 2
    """
    from residua.cli.files import fresh, model_file
    from residua.data.names import check_spec

    if sum(v is not None for v in (max_drop, speed, units)) != 1:
        raise UsageError("say when to stop, by one of --max-drop POINTS, --speed RATIO and --units K")
    path = model_file(model)
    targets = [fresh(str(Path(out).with_suffix(end)), "pruned net") for end in (".safetensors", ".json", ".png")]
    check_spec(data)
    began = time.perf_counter()
    from residua.cli.live import waiting

    with waiting("loading torch, the model and the data"):
        from residua.depth.shrink import Goal

        asked = Goal(None if max_drop is None else max_drop / 100, speed, units)
        found = _material(path, data, root, limit)
        engine = found.test.engine(compile="off", device=device, precision=precision, threads=threads, workers=workers)
        task = _task(found, engine, finetune, batch_size)
    document = _about(path, found, task, asked, finetune)
    chosen = _shrunk(task, asked, document, quiet=json)
    _check(chosen, document, asked)
    _tested(found, task, chosen, document, batch_size)
    document["seconds"] = time.perf_counter() - began
    _write(found, chosen, document, targets)
    _tell(document, json)


def _material(path: Path, data: str, root: str | None, limit: int | None) -> "Material":
    """Model and data. Raises UsageError for a net without units that can leave, before the data are read."""
    from residua.depth.material import material
    from residua.depth.prune import removable
    from residua.nn.modelfile import read_header

    removable(read_header(path).row)
    return material(path, data, root=root, limit=limit)


def _task(found: "Material", engine: "Engine", epochs: float, batch_size: int) -> "Task":
    """What is pruned, on the engine; without `epochs` the recipe says only how pictures are augmented."""
    from residua.depth import material
    from residua.depth.greedy import Whole
    from residua.depth.shrink import Task, Tuning
    from residua.job.plan import resolve

    row: Any = found.test.header.row
    recipe, _ = resolve(material.fine_tune(found.test.header, epochs or 1), found.test.dataset, row)
    pictures = material.pictures(found, recipe, batch_size, engine)
    tuning = Tuning(material.training_batches(found, recipe), recipe, found.held_seen) if epochs else None
    net: Any = engine.place(found.test.net)
    timed = next(iter(pictures.held)).images[:TIMED]
    return Task(Whole(net, row, pictures, engine), timed, tuning)


def _about(path: Path, found: "Material", task: "Task", asked: "Goal", epochs: float) -> dict[str, Any]:
    """The document before anything is measured."""
    from residua.training.recipe import to_json

    plain = [f"{task.whole.row.name} has no shortcuts: a unit that leaves is usually fatal"] * (
        task.whole.row.shortcut == "none"
    )
    return {
        "model": str(path),
        "arch": task.whole.row.name,
        "data": found.test.dataset.name,
        "engine": task.whole.engine.describe(),
        "goal": {k: v for k, v in asdict(asked).items() if v is not None},
        "finetune_epochs": epochs,
        "recipe": to_json(task.tuning.recipe) if task.tuning else None,
        "held_out": len(found.held),
        "held_seen": found.held_seen,
        "batch": len(task.timed),
        "side_px": found.test.view.side_px,
        "depths": list(task.whole.row.depths),
        "notes": [*found.notes, *plain],
        "path": [],
        "tuned": [],
    }


# -- while it goes on -----------------------------------------------------------------------------------------------


def _shrunk(task: "Task", asked: "Goal", document: dict[str, Any], quiet: bool) -> "Chosen":
    """The net to keep; `document` gets a row for every cut and every fine-tune, and stderr a line unless `quiet`."""
    from residua.cli.live import bar
    from residua.cli.terminal import say
    from residua.depth.prune import removable
    from residua.depth.shrink import Chosen, Reached, shrink, to_json
    from residua.training.loop import Step
    from residua.training.schedule import total_steps

    def told(event: "Reached | Tuned") -> None:
        row = to_json(event)
        document["path" if isinstance(event, Reached) else "tuned"].append(row)
        if not quiet:
            say(_line(row))

    events = shrink(task, asked)
    with bar("leaving units out", len(removable(task.whole.row)) + 1) as advance:
        for event in events:
            if not isinstance(event, Reached):
                break
            told(event)
            advance(1)
    steps = total_steps(task.tuning.recipe, task.tuning.batches.steps_per_epoch) if task.tuning else 0
    with bar("fine-tuning", steps) as advance:
        while not isinstance(event, Chosen):
            if isinstance(event, Step):
                advance(1)
            else:
                advance(-steps)
                told(event)
            event = next(events)
    return event


def _line(row: dict[str, Any]) -> str:
    """One cut or fine-tune, while it goes on."""
    from residua.cli.terminal import percent

    what = "fine-tuned" if "within" in row else f"without {row['unit']}" if row["unit"] else "whole"
    enough = {True: ": good enough", False: ": not good enough", None: ""}[row.get("within")]
    return f"{row['units']} units, {what}: held-out error {percent(row['top1_error'])} ({row['wrong']:,}){enough}"


# -- the end --------------------------------------------------------------------------------------------------------


def _check(chosen: "Chosen", document: dict[str, Any], asked: "Goal") -> None:
    """Raise UsageError if every unit is needed."""
    if chosen.cut.removed or asked.max_drop is None:
        return
    first = document["path"][1]
    rise = 100 * (first["top1_error"] - document["path"][0]["top1_error"])
    raise UsageError(
        f"--max-drop {100 * asked.max_drop:g}: no unit of {document['arch']} can leave: without {first['unit']}, which "
        f"costs least, the held-out error rises by {rise:.2f} points" + "; try --finetune 1" * (not document["recipe"])
    )


def _tested(found: "Material", task: "Task", chosen: "Chosen", document: dict[str, Any], batch_size: int) -> None:
    """The test pictures, for the first and only time: both nets in fp32; and how fast the kept net is."""
    from dataclasses import replace

    from residua.cli.live import bar
    from residua.depth.latency import latencies
    from residua.depth.shrink import to_json
    from residua.evaluate import evaluate

    exact = replace(task.whole.engine, precision="fp32")
    results = {}
    with bar("testing", 2 * found.test.n) as advance:

        def counted(net: "Net") -> "Evaluation":
            def passing() -> Any:
                for batch in found.test.batches(batch_size, exact.workers):
                    yield batch
                    advance(len(batch.index))

            return evaluate(exact.place(net), passing(), found.test.classes, exact)

        for word, net in (("before", task.whole.net), ("after", chosen.net)):
            e = counted(net)
            results[word] = {k: getattr(e, k) for k in ("n", "wrong", "top1_error", "top5_error", "loss")}
            results[word]["interval"] = list(e.interval)
    row = document["path"][len(chosen.cut.removed)]
    whole, pruned = latencies([task.whole.net, chosen.net], task.timed, task.whole.engine, repeats=15)
    cut = to_json(chosen.cut) | {k: row[k] for k in ("params", "macs")} | {"seconds": pruned, "speed": whole / pruned}
    document |= {"chosen": cut | {"name": chosen.cut.row.name, "tuned": chosen.tuned}, "base": chosen.base}
    document["test"] = results


def _write(found: "Material", chosen: "Chosen", document: dict[str, Any], targets: list[Path]) -> None:
    """The model file, the document and the picture."""
    from dataclasses import replace

    from residua.cli.depth import write_json
    from residua.nn import modelfile
    from residua.report.pruning import pruning

    model, numbers, picture = targets
    old, cut, test = found.test.header, document["chosen"], document["test"]
    counts = ("n", "wrong", "top1_error")
    entry = {
        "from": document["arch"], "depths": document["depths"], "to": cut["depths"], "removed": cut["removed"],
        "goal": document["goal"], "finetune_epochs": document["finetune_epochs"] if cut["tuned"] else 0,
        "data": document["data"], "test": {word: {k: test[word][k] for k in counts} for word in test},
    }  # fmt: skip
    dataset = found.test.dataset
    header = replace(
        old,
        row=chosen.cut.row,
        classes=found.test.classes,
        metrics={"val": {k: cut[k] for k in counts}, "test": {k: test["after"][k] for k in (*counts, "top5_error")}},
        lineage=[*old.lineage, {"pruned": entry}],
        data=old.data or {"name": dataset.name, "fingerprint": dataset.fingerprint, "seed": 0},
        versions={},
        temperature=None,
    )
    modelfile.save(model, chosen.net, header)
    document["files"] = [str(p) for p in targets]
    write_json(numbers, document)
    pruning(document, picture)


def _tell(document: dict[str, Any], json: bool) -> None:
    if json:
        from residua.cli.terminal import emit

        emit(document)
    else:
        from residua.cli.depth.prune_table import show

        show(document)
