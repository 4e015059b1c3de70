"""``residua localize eval MODEL DATA``: how good a localizer is on pictures with boxes."""

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
    batch_size: BatchSize = 64,
    device: Device = "auto",
    precision: Exact = "fp32",
    threads: Threads = None,
    workers: Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a localizer: top-1 and top-5 localization error, the error with the class known, the class error.

    An answer is right if the class is and its box overlaps a true one by half or more. Beside each error stands that of
    the mean box of the class, which needs no net. Classes count by their names.

    Examples:
      residua localize eval runs/birds-resnet18-places-1 ./birds
      residua localize eval model.safetensors ./birds --split val --json
    """
    from residua.cli.files import model_file

    file = model_file(model)
    from residua.cli.live import bar, waiting

    with waiting("loading the model, reading the data"):
        from residua.boxes.batches import each_once, opened
        from residua.boxes.matched import matched
        from residua.localize.predict import load
        from residua.localize.run import evaluate as measure

        loaded = load(file, device=device, precision=precision, threads=threads)
        view, header = loaded.header.view, loaded.header
        dataset, name = matched(loaded.classes, view.mode, data, split, alone=True)
        dataset, pictures = opened(dataset, view)
    chosen = pictures[name]
    batches = each_once(chosen, batch_size, workers or 0)
    with bar("localizing", len(chosen.split)) as moved:
        found, _ = measure(loaded.net, chosen, batches, header.mean_boxes, loaded.classes, loaded.engine, moved)
    if json:
        from residua.cli.terminal import emit

        emit({"model": str(file), "data": data, "split": split, **found.to_json()})
        return
    from residua.cli.localize.shown import show

    show(found)
