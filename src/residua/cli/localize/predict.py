"""``residua localize predict MODEL PATHS...``: what does each picture show, and where?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.boxes_found import Work, items
from residua.cli.options import BatchSize, Debug, Device, Exact, Json, Threads

if TYPE_CHECKING:
    from rich.text import Text

    from residua.localize.predict import Answer


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    paths: Annotated[list[str], typer.Argument(metavar="PATHS...", help="pictures, or folders of pictures")],
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="so many classes a picture, each with its box")
    ] = 5,
    draw: Annotated[bool, typer.Option("--draw/--no-draw", help="write the pictures with the likeliest box")] = True,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="a new folder for localizations.csv, localizations.json and the drawn pictures",
            show_default="localizations/MODEL-N",
        ),
    ] = None,
    batch_size: BatchSize = 32,
    device: Device = "auto",
    precision: Exact = "fp32",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what each picture shows and where: the likeliest classes, each with a box in the pixels of the file.

    `score` is the probability of a class, `overlap` how well the net expects its box to fit. All answers go into
    localizations.csv, and into localizations.json as COCO has them; the first is drawn. A picture that cannot be read
    is named on stderr, all others are answered, and the exit code is 3.

    Examples:
      residua localize predict runs/birds-resnet18-places-1 new/
      residua localize predict model.safetensors photo.jpg --top 1 --out found
    """
    from residua.cli.files import model_file, results_folder

    file = model_file(model)
    folder = results_folder("localizations", file, out)
    from residua.cli.live import waiting

    with waiting("loading the model"):
        from residua.boxes.draw import drawn, enlarged
        from residua.data.decode import as_image, decode
        from residua.localize.predict import load
        from residua.localize.tables import COLUMNS, rows

        loaded = load(file, device=device, precision=precision, threads=threads)
    classes = loaded.classes

    def picture(one: "Answer") -> Any:
        return drawn(*enlarged(as_image(decode(one.source, "RGB")), one.found.first(1)), classes)

    work = Work(
        "localizations", folder, classes, COLUMNS, lambda one: rows(one.name, one.found, one.overlaps, classes),
        lambda one: _line(one, classes), picture if draw else None, quiet=json,
    )  # fmt: skip
    failures: list[dict[str, str]] = []
    work.run(loaded.stream(items(paths, failures), top=top, batch_size=batch_size), failures, {})


def _line(one: "Answer", classes: tuple[str, ...]) -> "Text":
    """A line for a picture: the likeliest class, where it is, and what else it may be."""
    from rich.text import Text

    from residua.cli.terminal import cell, percent

    label, score = int(one.found.labels[0]), float(one.found.scores[0])
    left, top, right, bottom = (round(float(v)) for v in one.found.boxes[0])
    later = list(zip(one.found.labels.tolist(), one.found.scores, strict=True))[1:3]
    others = ", ".join(f"{classes[k]} {percent(s)}" for k, s in later)
    return Text.assemble(
        cell(one.name), "  ", cell(classes[label], "bold"), f" {percent(score)} ",
        f"at {left}, {top} to {right}, {bottom}", cell(f"   or {others}" if others else "", "dim"),
    )  # fmt: skip
