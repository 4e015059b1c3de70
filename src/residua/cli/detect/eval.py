"""``residua detect eval MODEL DATA``: how good a detector is on pictures with boxes."""

from typing import Annotated

import typer

from residua.cli.boxes_training import BOXES_HELP
from residua.cli.options import BatchSize, Debug, Device, Exact, Json, Threads, Workers, choice


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    data: Annotated[str, typer.Argument(metavar="DATA", help=BOXES_HELP, show_default=False)],
    split: Annotated[
        str, choice("--split", "which pictures; all of them where the data have no such split", shown="test")
    ] = "test",
    batch_size: BatchSize = 8,
    device: Device = "auto",
    precision: Exact = "fp32",
    threads: Threads = None,
    workers: Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a detector: COCO's twelve numbers, VOC's average precision, every class, the kinds of errors.

    The model file knows its classes and how a picture becomes a tensor. Classes count by their names.

    Examples:
      residua detect eval runs/cells-resnet18-fpn-1 ./cells
      residua detect eval model.safetensors annotations.json --split all --json
    """
    from residua.cli.files import model_file

    file = model_file(model)
    from residua.cli.live import bar, waiting

    with waiting("loading the model, reading the data"):
        from residua.boxes.batches import each_once, opened
        from residua.boxes.matched import matched
        from residua.detect.counts import check_installed
        from residua.detect.predict import load
        from residua.detect.run import evaluate as measure

        check_installed()
        loaded = load(file, device=device, precision=precision, threads=threads)
        dataset, name = matched(loaded.classes, loaded.header.view.mode, data, split)
        dataset, pictures = opened(dataset, loaded.header.view)
    chosen = pictures[name]
    batches = each_once(chosen, batch_size, workers or 0)
    with bar("looking for things", len(chosen.split)) as moved:
        found, _ = measure(loaded.net, chosen, batches, loaded.classes, loaded.engine, moved)
    if json:
        from residua.cli.terminal import emit

        emit({"model": str(file), "data": data, "split": split, **found.to_json()})
        return
    from residua.cli.detect.shown import show
    from residua.cli.terminal import cell, counted, results

    results().print(cell(f"{counted(found.n, 'picture')}, {found.boxes:,} boxes", "dim"))
    show(found)
