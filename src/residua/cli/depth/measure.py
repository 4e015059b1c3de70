"""``residua depth measure MODEL DATA``: what each unit of a net does."""

import time
from collections.abc import Sequence
from dataclasses import asdict
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

if TYPE_CHECKING:
    from rich.table import Table

    from residua.engine import Engine
    from residua.pair import Pair

ROWS = 80  # units in the table; all are in units.jsonl
BAR = 18


def measure(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP, autocompletion=starting(data_names))],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="MODEL", help="draw the layer responses of another model beside them"),
    ] = None,
    split: Annotated[
        str, choice("--split", "which split; all is everything that the data hold", section="data", shown="test")
    ] = "test",
    limit: Limit = None,
    root: Root = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    precision: Exact = "fp32",
    threads: Threads = None,
    workers: Workers = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="a new folder for units.jsonl, measure.json and units.png",
            show_default="runs/measure-MODEL-N",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure what each unit of a net does to its input.

    |F(x)| / |x| with x as it enters the sum, the cosine of x and H(x), the weights of the branch's last norm, the
    share of the gradient; and for each layer the standard deviation of its responses, behind its norm and before
    addition and ReLU (He et al. 2015, fig. 7). Plain nets and VGG get the parts that make sense.

    Examples:
      residua depth measure runs/digits-cifar_resnet20-1 digits
      residua depth measure resnet56.safetensors cifar10 --against resnet20.safetensors
      residua depth measure resnet50.safetensors ./photos --split all --limit 500 --json
    """
    from residua.cli.files import model_file, runs_folder
    from residua.data.names import check_spec

    paths = [model_file(name) for name in (model, against) if name is not None]
    check_spec(data)
    target = runs_folder("measure", paths[0], out)
    asked = {"device": device, "precision": precision, "threads": threads, "workers": workers, "compile": "off"}
    documents = []
    for path in paths:
        from residua.cli.live import waiting

        with waiting("loading torch, the model and the data"):
            from residua.pair import pair

            found = pair(path, data, split=split, root=root, limit=limit)
            engine = found.engine(**asked)
        documents.append(_measured(found, engine, batch_size) | {"model": str(path), "split": split})
    document = documents[0] | {"against": documents[1] if against else None}
    files = _write(target, document)
    from residua.cli.terminal import emit

    if json:
        emit(document | {"files": files})
    else:
        _show(document, files)


def _measured(found: "Pair", engine: "Engine", batch_size: int) -> dict[str, Any]:
    """The measurement over all pictures, as JSON."""
    from residua.cli.live import bar
    from residua.depth.measure import measure as steps
    from residua.nn.resnet import units

    began, now = time.perf_counter(), None
    net = engine.place(found.net)
    with bar(f"measuring {found.header.row.name}", found.n) as advance:
        for new in steps(net, found.batches(batch_size, engine.workers), len(found.classes), engine):
            advance(new.n - (now.n if now else 0))
            now = new
    assert now is not None
    return {
        "arch": found.header.row.name,
        "data": found.dataset.name,
        "engine": engine.describe(),
        "word": "unit" if units(net) else "layer",
        "n": now.n,
        "units": [asdict(u) for u in now.units],
        "layers": [asdict(layer) for layer in now.layers],
        "seconds": time.perf_counter() - began,
        "notes": found.notes,
    }


def _write(folder: Path, document: dict[str, Any]) -> list[str]:
    """measure.json, units.jsonl and units.png in a new folder."""
    from residua.cli.depth import write_json, write_lines
    from residua.report.units import units as draw

    write_json(folder / "measure.json", document)
    write_lines(folder / "units.jsonl", document["units"])
    draw(document, folder / "units.png")
    return [str(folder / name) for name in ("measure.json", "units.jsonl", "units.png")]


# -- the terminal ---------------------------------------------------------------------------------------------------


def _show(document: dict[str, Any], files: Sequence[str]) -> None:
    """The table of units, the layers' responses in a line, the sentence, and where the files are."""
    from residua.cli.terminal import cell, counted, results
    from residua.report.units import sentence

    console = results()
    head = f"{document['arch']} on {document['data']}, {document['split']}: {counted(document['n'], 'picture')}"
    console.print(cell(head, "bold"), cell(document["engine"], "dim"))
    console.print(_table(document))
    for net in (document, *([document["against"]] if document["against"] else [])):
        stds = [layer["std"] for layer in net["layers"]]
        mean = sum(stds) / max(1, len(stds))
        said = f"responses of {len(stds)} layers of {net['arch']}: standard deviation {mean:.3f} on average"
        console.print(cell(f"{said}, {min(stds):.3f} to {max(stds):.3f}"))
    console.print(cell(sentence(document).replace("\u00a0", " ")))
    for note in document["notes"]:
        console.print(cell(note, "dim"))
    for file in files:
        console.print(cell(file, "bold"))


def _table(document: dict[str, Any]) -> "Table":
    """One row a unit."""
    from residua.cli.results import bar_of
    from residua.cli.terminal import cell, table
    from residua.report.units import NEARLY

    rows = document["units"]
    title = f"the first {ROWS} of {len(rows)}; all are in units.jsonl" if len(rows) > ROWS else None
    numbers = ("|F|/|x|", "cos x,H", "last norm", "gradient")
    shown = table(document["word"], "shortcut", numbers[0], "", *numbers[1:], right=numbers, title=title)
    most = max((u["ratio"] or 0 for u in rows), default=0) or 1.0
    for u in rows[:ROWS]:
        ratio = u["ratio"]
        colour = "red" if ratio is not None and ratio < NEARLY else "blue"
        shown.add_row(
            cell(u["unit"]), cell(u["shortcut"], "dim"), _figure(ratio), cell(bar_of((ratio or 0) / most, BAR), colour),
            _figure(u["cosine"]), _figure(u["last_norm"]), f"{100 * u['gradient_share']:.1f} %",
        )  # fmt: skip
    return shown


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
