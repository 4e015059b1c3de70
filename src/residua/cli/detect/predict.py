"""``residua detect predict MODEL PATHS...``: what is where on these pictures?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.boxes_found import Work, items
from residua.cli.options import BatchSize, Debug, Device, Exact, Json, Threads

if TYPE_CHECKING:
    from rich.text import Text

    from residua.detect.predict import Answer


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    paths: Annotated[list[str], typer.Argument(metavar="PATHS...", help="pictures, or folders of pictures")],
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="SCORE",
            min=0,
            max=1,
            help="what is shown and drawn has this score at least",
            show_default="the one with the best F1 on the model's test pictures",
        ),
    ] = None,
    draw: Annotated[bool, typer.Option("--draw/--no-draw", help="write the pictures with their boxes")] = True,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="a new folder for detections.csv, detections.json and the drawn pictures",
            show_default="detections/MODEL-N",
        ),
    ] = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    precision: Exact = "fp32",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find things on pictures: boxes with names and scores, in the pixels of each file.

    All detections go into detections.csv, and into detections.json as COCO has them; those of a sufficient score are
    drawn. A picture that cannot be read is named on stderr, all others are answered, and the exit code is 3.

    Examples:
      residua detect predict runs/cells-resnet18-fpn-1 new/
      residua detect predict model.safetensors photo.jpg --threshold 0.8 --out found
    """
    from residua.cli.files import model_file, results_folder

    file = model_file(model)
    folder = results_folder("detections", file, out)
    from residua.cli.live import waiting

    with waiting("loading the model"):
        from residua.boxes.draw import drawn, enlarged
        from residua.boxes.tables import COLUMNS, rows
        from residua.data.decode import as_image, decode
        from residua.detect.predict import load

        loaded = load(file, device=device, precision=precision, threads=threads)
    least, classes = loaded.threshold if threshold is None else threshold, loaded.classes

    def picture(one: "Answer") -> Any:
        return drawn(*enlarged(as_image(decode(one.source, "RGB")), one.found), classes, threshold=least)

    work = Work(
        "detections", folder, classes, COLUMNS, lambda one: rows(one.name, one.found, classes),
        lambda one: _line(one, classes, least), picture if draw else None, quiet=json,
    )  # fmt: skip
    failures: list[dict[str, str]] = []
    work.run(loaded.stream(items(paths, failures), batch_size=batch_size), failures, {"threshold": least})


def _line(one: "Answer", classes: tuple[str, ...], threshold: float) -> "Text":
    """A line for a picture: how many of each class have a sufficient score."""
    from rich.text import Text

    from residua.cli.terminal import cell

    sure = one.found.labels[one.found.scores >= threshold].tolist()
    counts = {name: sure.count(i) for i, name in enumerate(classes) if i in sure}
    words = Text("  ").join(Text.assemble((f"{n} ", "bold"), cell(name)) for name, n in counts.items())
    return Text.assemble(cell(one.name), "  ", words if counts else cell("nothing", "dim"))
