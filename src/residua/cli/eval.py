"""``residua eval MODEL DATA``: how often is the model wrong, with counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.amounts import size_or_off
from residua.cli.options import (
    DATA_HELP,
    BatchSize,
    CacheSize,
    Debug,
    Device,
    Exact,
    Json,
    Limit,
    Root,
    Threads,
    With,
    Workers,
    choice,
    data_names,
    starting,
)  # fmt: skip
from residua.errors import DataError, UsageError
from residua.files import write

if TYPE_CHECKING:
    from residua.evaluate import Evaluation
    from residua.predict.jury import Juror


SKIPPED = 5  # unusable files that are named; --json names all
MAX_SCALE_PX = 4096


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP, autocompletion=starting(data_names))],
    split: Annotated[
        str, choice("--split", "which split; all is everything that the data hold", section="data", shown="test")
    ] = "test",
    also: With = None,
    views: Annotated[
        str,
        choice(
            "--views",
            "one is the model's own view; ten-crop is four corners, the middle and their mirrors; "
            "multi-scale is the net over whole pictures at several sizes",
            shown="one",
        ),
    ] = "one",
    scales: Annotated[
        str | None,
        typer.Option(
            "--scales",
            metavar="PX,...",
            help="short sides for --views multi-scale",
            show_default="224,256,384,480,640 in proportion to the view",
        ),
    ] = None,
    worst: Annotated[
        int, typer.Option("--worst", metavar="N", min=0, help="pictures with the highest loss to list")
    ] = 5,
    limit: Limit = None,
    root: Root = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            show_default="the training's",
            rich_help_panel="data",
            help="what the test split is drawn by, where the data do not say which it is",
        ),
    ] = None,
    batch_size: BatchSize = 256,
    device: Device = "auto",
    precision: Exact = "fp32",
    threads: Threads = None,
    workers: Workers = None,
    cache_size: CacheSize = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="write evaluation.json, per_class.csv, predictions.csv, confusion.png and reliability.png "
            "into a new folder",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Count a model's errors on a data set.

    Top-1 and top-5 error with counts and a 95 % interval, each class, and which classes are taken for which.
    Probabilities are those of `residua predict`: divided by the temperature that the training fitted, where it did.
    The calibration error says how far confidence and accuracy are apart; intervals of means are by bootstrap.

    The classes of the data are found among the model's by name. A model whose classes have no names takes those of the
    data, by position.

    Examples:
      residua eval runs/digits-cifar_resnet20-1/model.safetensors digits
      residua eval model.safetensors ./photos --split all --out mistakes
      residua eval model.safetensors cifar10 --precision bf16 --json
      residua eval first.safetensors cifar10 --with second.safetensors
      residua eval resnet50.safetensors ./photos --views multi-scale
    """  # fmt: skip
    from residua.cli.files import fresh, model_file
    from residua.data.names import check_spec

    room = None if cache_size is None else size_or_off(cache_size, "--cache-size")
    paths = [model_file(m) for m in (model, *(also or ()))]
    check_spec(data)
    sides = _scales(scales, views)
    folder = fresh(out, "results") if out else None
    from residua.cli.live import bar, waiting

    with waiting("loading torch, the model and the data"):
        from residua.pair import pair
        from residua.predict.jury import juror, verdict

        tasks = [pair(p, data, split=split, root=root, seed=seed, limit=limit, cache_size=room) for p in paths]
        asked = {"device": device, "precision": precision, "threads": threads, "workers": workers}
        jurors = [juror(t, t.engine(**asked), views, sides) for t in tasks]
    with bar("evaluating", sum(t.n for t in tasks)) as advance:
        found, members = verdict(jurors, batch_size, advance)
    task = tasks[0]
    about = {
        "model": str(paths[0]),
        "arch": " + ".join(t.header.row.name for t in tasks),
        "data": task.dataset.name,
        "split": split,
        "views": views,
        "engine": jurors[0].engine.describe(),
        "notes": _notes(jurors),
        "skipped": [{"path": s.path, "reason": s.reason} for s in task.dataset.skipped],
        "members": [_member(p, j, e) for p, j, e in zip(paths, jurors, members, strict=bool(members))],
        "worst": _worst(found, task.names, worst),
    }
    with waiting("means, calibration, intervals"):
        document = found.to_json()
    about["files"] = _write(folder, found, task.names, about) if folder else []
    from residua.cli.terminal import emit

    if json:
        emit(document | about)
    else:
        _show(found, about)


def _scales(text: str | None, views: str) -> tuple[int, ...]:
    """The numbers of ``--scales``. Raises UsageError."""
    if text is None:
        return ()
    if views != "multi-scale":
        raise UsageError(f"--scales {text}: scales need --views multi-scale")
    parts = [p.strip() for p in text.split(",")]
    if not all(p.isascii() and p.isdigit() and 1 <= int(p) <= MAX_SCALE_PX for p in parts):
        raise UsageError(f"--scales {text}: give short sides in pixels, 1 to {MAX_SCALE_PX}, as 224,256,384")
    return tuple(dict.fromkeys(map(int, parts)))


def _notes(jurors: "Sequence[Juror]") -> list[str]:
    """What was decided, once each."""
    said = [[*j.task.notes, j.views.said, *j.task.cache.told.values()] for j in jurors]
    return list(dict.fromkeys(note for notes in said for note in notes if note))


def _member(path: Path, juror: "Juror", found: "Evaluation") -> dict[str, Any]:
    """One model of an ensemble, alone."""
    return {
        "model": str(path),
        "arch": juror.task.header.row.name,
        "n": found.n,
        "wrong": found.wrong,
        "top1_error": found.top1_error,
        "top5_error": found.top5_error,
        "loss": found.loss,
        "interval": list(found.interval),
        "temperature": found.temperature,
    }


def _worst(found: "Evaluation", names: Sequence[str], n: int) -> list[dict[str, Any]]:
    """The pictures with the highest loss."""
    return [
        {
            "path": names[int(found.index[i])],
            "truth": found.classes[int(found.labels[i])],
            "prediction": found.classes[int(found.predictions[i])],
            "probability": float(found.top5_probability[i, 0]),
            "loss": float(found.losses[i]),
        }
        for i in found.worst(n)
    ]


# -- the answer -----------------------------------------------------------------------------------------------------


def _write(folder: Path, found: "Evaluation", names: Sequence[str], about: dict[str, Any]) -> list[str]:
    """The files of ``--out``."""
    from residua.cli.terminal import as_json
    from residua.evaluate import per_class_csv, predictions_csv
    from residua.report import confusion, reliability

    try:
        folder.mkdir(parents=True)
    except OSError as e:
        raise DataError(f"cannot write {folder}: {e.strerror or e}") from e
    kept = ("model", "arch", "data", "split", "views", "members")
    numbers = found.to_json() | {k: about[k] for k in kept}
    write(folder / "evaluation.json", as_json(numbers).encode())
    per_class_csv(found, folder / "per_class.csv")
    predictions_csv(found, names, folder / "predictions.csv")
    confusion(folder, folder / "confusion.png")
    reliability(folder, folder / "reliability.png")
    return [str(p) for p in sorted(folder.iterdir())]


def _show(found: "Evaluation", about: dict[str, Any]) -> None:
    from residua.cli.results import class_table, confused_table, error_lines, mean_lines, member_table, worst_table
    from residua.cli.terminal import cell, counted, results

    console = results()
    console.print(cell(f"{about['arch']} on {about['data']}, {about['split']}: {counted(found.n, 'picture')}", "bold"))
    console.print(cell(about["engine"], "dim"))
    for note in about["notes"]:
        console.print(cell(f"note: {note}", "yellow"))
    console.print()
    console.print(error_lines(found))
    console.print(mean_lines(found))
    if about["members"]:
        console.print(member_table(about["members"], found))
    console.print(class_table(found))
    if (table := confused_table(found)) is not None:
        console.print(table)
    if about["worst"]:
        console.print(worst_table(about["worst"]))
    for skipped in about["skipped"][:SKIPPED]:
        console.print(cell(f"left out: {skipped['path']}: {skipped['reason']}", "yellow"))
    if (more := len(about["skipped"]) - SKIPPED) > 0:
        console.print(cell(f"left out: {more:,} more", "yellow"))
    for path in about["files"]:
        console.print(cell(f"wrote {path}", "dim"))
