"""``residua eval MODEL DATA``: how often is the model wrong, with counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    from residua.data.sources import Dataset, Split
    from residua.data.view import View
    from residua.engine import Engine
    from residua.evaluate import Evaluation
    from residua.nn.modelfile import Header
    from residua.nn.resnet import Net


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
        task = _task(path, data, split, root=root, seed=seed, limit=limit)
        engine = _engine(task, device=device, precision=precision, threads=threads, workers=workers)
        from residua.evaluate import evaluate as count

        net = engine.place(task.net)
    found = count(net, _followed(_batches(task, batch_size, engine), task.n), task.classes, engine)
    written = _write(folder, found, [n for s in task.splits for n in s.names]) if folder else []
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


@dataclass(frozen=True)
class Task:
    """A model, and the pictures to show it; labels count in `classes`."""

    net: "Net"
    header: "Header"
    view: "View"
    dataset: "Dataset"
    splits: "list[Split]"
    classes: tuple[str, ...]
    notes: list[str]

    @property
    def n(self) -> int:
        """How many pictures."""
        return sum(map(len, self.splits))


def _task(path: Path, data: str, split: str, *, root: str | None, seed: int | None, limit: int | None) -> Task:
    """Everything loaded, and the model's classes and the data's brought together."""
    from residua.data.view import View
    from residua.nn import modelfile

    net, header = modelfile.load(path)
    dataset = _open(data, split, header, root=root, seed=seed, limit=limit)
    notes = list(dataset.notes)
    classes, places = _classes(header, dataset, notes)
    splits = _splits(dataset, split, places)
    return Task(net, header, View.from_json(header.view), dataset, splits, classes, notes)


def _engine(task: Task, **asked: Any) -> "Engine":
    from residua.data.dataset import ArrayImages
    from residua.engine import decide

    in_memory = all(isinstance(s.images, ArrayImages) for s in task.splits)
    return decide(side_px=task.view.side_px, in_memory=in_memory, **asked)


# -- the data, in the model's classes -------------------------------------------------------------------------------


def _open(
    data: str, split: str, header: "Header", *, root: str | None, seed: int | None, limit: int | None
) -> "Dataset":
    """The data, divided as the training divided them."""
    from residua.data.sources import open_data

    recipe = header.recipe or {}
    return open_data(
        data,
        root=root,
        seed=int(header.data.get("seed", 0)) if seed is None else seed,
        val_fraction=float(recipe.get("val_fraction", 0.1)) if split in ("train", "val") else 0.0,
        limit=limit,
    )


def _classes(header: "Header", dataset: "Dataset", notes: list[str]) -> tuple[tuple[str, ...], list[int]]:
    """The names of the model's classes, and for each class of the data its place among them. Raises DataError."""
    ours, theirs = header.classes, dataset.classes
    if ours == theirs:
        return ours, list(range(len(ours)))
    if ours == tuple(map(str, range(len(ours)))) and len(ours) == len(theirs):
        notes.append(f"the model's classes have no names: those of {dataset.name} are taken, by position")
        return theirs, list(range(len(theirs)))
    for name in theirs:
        if name not in ours:
            raise DataError(
                f"class '{name}' of {dataset.name} is none of the model's {len(ours)} classes ({_some(ours)}): "
                "evaluate on data with the model's classes"
            )
    if len(theirs) < len(ours):
        notes.append(f"{dataset.name} has {len(theirs)} of the model's {len(ours)} classes, found by name")
    return ours, [ours.index(name) for name in theirs]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _splits(dataset: "Dataset", word: str, places: list[int]) -> "list[Split]":
    """The split of that name, or all, with labels that count in the model's classes. Raises DataError."""
    import numpy as np

    from residua.data.sources import Split

    chosen = (
        list(dataset.splits.values()) if word == "all" else [dataset.splits[word]] if word in dataset.splits else []
    )
    if not chosen:
        raise DataError(f"{dataset.name} has no {word} split: it has {', '.join(dataset.splits)}")
    table = np.asarray(places, dtype=np.int64)
    return [Split(s.images, table[s.labels], s.names) for s in chosen]


def _batches(task: Task, batch_size: int, engine: "Engine") -> "Iterator[Batch]":
    """Every picture of the splits once, counted on from one split to the next."""
    from residua.data.batches import in_order

    first = 0
    for split in task.splits:
        for batch in in_order(split, task.view, batch_size, engine.workers):
            yield replace(batch, index=batch.index + first)
        first += len(split)


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
