"""``residua eval MODEL DATA``: how often is the model wrong, with counts."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import (
    DATA_HELP,
    BatchSize,
    Debug,
    Device,
    Exact,
    Json,
    Limit,
    Root,
    Threads,
    Workers,
    choice,
    data_names,
    starting,
)  # fmt: skip
from residua.errors import DataError
from residua.files import write

if TYPE_CHECKING:
    from residua.data.batches import Batch
    from residua.evaluate import Evaluation


SKIPPED = 5  # unusable files that are named; --json names all


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP, autocompletion=starting(data_names))],
    split: Annotated[
        str, choice("--split", "which split; all is everything that the data hold", section="data", shown="test")
    ] = "test",
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
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="write evaluation.json, per_class.csv, predictions.csv and confusion.png into a new folder",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Count a model's errors on a data set.

    Top-1 and top-5 error with counts and a 95 % interval, each class, and which classes are taken for which.
    The classes of the data are found among the model's by name. A model whose classes have no names takes those of the
    data, by position.

    Examples:
      residua eval runs/digits-cifar_resnet20-1/model.safetensors digits
      residua eval model.safetensors ./photos --split all --out mistakes
      residua eval model.safetensors cifar10 --precision bf16 --json
    """  # fmt: skip
    from residua.cli.files import fresh, model_file
    from residua.data.names import check_spec

    path = model_file(model)
    check_spec(data)
    folder = fresh(out, "results") if out else None
    from residua.cli.live import waiting

    with waiting("loading torch, the model and the data"):
        from residua.evaluate import evaluate as count
        from residua.pair import pair

        task = pair(path, data, split=split, root=root, seed=seed, limit=limit)
        engine = task.engine(device=device, precision=precision, threads=threads, workers=workers)

        net = engine.place(task.net)
    found = count(net, _followed(task.batches(batch_size, engine.workers), task.n), task.classes, engine)
    written = _write(folder, found, task.names) if folder else []
    about = {
        "model": str(path),
        "arch": task.header.row.name,
        "data": task.dataset.name,
        "split": split,
        "engine": engine.describe(),
        "notes": task.notes,
        "skipped": [{"path": s.path, "reason": s.reason} for s in task.dataset.skipped],
        "files": written,
    }
    from residua.cli.terminal import emit

    if json:
        emit(found.to_json() | about)
    else:
        _show(found, about)


def _followed(batches: "Iterator[Batch]", total: int) -> "Iterator[Batch]":
    """The batches, with a bar on a terminal while they pass."""
    from residua.cli.live import bar

    with bar("evaluating", total) as advance:
        for batch in batches:
            yield batch
            advance(len(batch.index))


# -- the answer -----------------------------------------------------------------------------------------------------


def _write(folder: Path, found: "Evaluation", names: Sequence[str]) -> list[str]:
    """The files of ``--out``."""
    import json

    from residua.evaluate import per_class_csv, predictions_csv
    from residua.report import confusion

    try:
        folder.mkdir(parents=True)
    except OSError as e:
        raise DataError(f"cannot write {folder}: {e.strerror or e}") from e
    numbers = found.to_json() | {"confusion": found.confusion.tolist()}
    write(folder / "evaluation.json", json.dumps(numbers, indent=2, ensure_ascii=False).encode())
    per_class_csv(found, folder / "per_class.csv")
    predictions_csv(found, names, folder / "predictions.csv")
    confusion(folder, folder / "confusion.png")
    return [str(p) for p in sorted(folder.iterdir())]


def _show(found: "Evaluation", about: dict[str, Any]) -> None:
    from residua.cli.results import class_table, confused_table, error_lines
    from residua.cli.terminal import cell, counted, results

    console = results()
    console.print(cell(f"{about['arch']} on {about['data']}, {about['split']}: {counted(found.n, 'picture')}", "bold"))
    console.print(cell(about["engine"], "dim"))
    for note in about["notes"]:
        console.print(cell(f"note: {note}", "yellow"))
    console.print()
    console.print(error_lines(found))
    console.print(class_table(found))
    if (table := confused_table(found)) is not None:
        console.print(table)
    for skipped in about["skipped"][:SKIPPED]:
        console.print(cell(f"left out: {skipped['path']}: {skipped['reason']}", "yellow"))
    if (more := len(about["skipped"]) - SKIPPED) > 0:
        console.print(cell(f"left out: {more:,} more", "yellow"))
    for path in about["files"]:
        console.print(cell(f"wrote {path}", "dim"))
