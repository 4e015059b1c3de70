"""``residua detect predict MODEL PATHS...``: what is where on these pictures?"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import BatchSize, Debug, Device, Exact, Json, Threads
from residua.errors import DataError

if TYPE_CHECKING:
    from residua.detect.predict import Answer, DetectorModel

#: What the command writes into its folder beside the drawn pictures.
TABLE, COCO = "detections.csv", "detections.json"


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
        from residua.detect.predict import load

        loaded = load(file, device=device, precision=precision, threads=threads)
    least = loaded.threshold if threshold is None else threshold
    work = Work(loaded, folder, least, draw, quiet=json)
    from residua.cli.terminal import counted, emit, say
    from residua.detect.predict import Unread

    failures: list[dict[str, str]] = []
    try:
        for one in loaded.stream(items(paths, failures), batch_size=batch_size):
            if isinstance(one, Unread):
                failures.append({"path": one.name, "reason": one.reason})
                say(f"residua: cannot read {one.name}: {one.reason}")
            else:
                work.add(one)
    finally:  # after Ctrl-C too: the tables hold what was found so far
        document = work.close()
    if json:
        emit(document | {"failures": failures})
    if failures:
        asked = counted(len(failures) + len(work.answers), "picture")
        raise DataError(f"{len(failures):,} of {asked} could not be read (named above)")


def items(paths: Sequence[str], failures: list[dict[str, str]]) -> Iterator[tuple[str, Any]]:
    """Names and files of all pictures; what is none is noted and named at once."""
    from residua.cli.terminal import say
    from residua.predict import Failure
    from residua.predict.inputs import pictures

    for item in pictures(paths):
        if isinstance(item.source, Failure):
            failures.append({"path": item.source.path, "reason": item.source.reason})
            say(f"residua: cannot read {item.source}")
        else:
            yield item.name, item.source


def made(folder: Path) -> None:
    """Make a folder for results. Raises DataError where the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise DataError(f"cannot write {folder}: {e.strerror}: choose another --out") from e


def own_name(picture: str, ending: str, taken: set[str]) -> str:
    """A file name after a picture's, each once; noted in `taken`."""
    stem = Path(picture).stem or "picture"
    name, n = f"{stem}{ending}", 1
    while name in taken:
        n += 1
        name = f"{stem}-{n}{ending}"
    taken.add(name)
    return name


class Work:
    """What is found so far: drawn as it comes, written into tables at the end."""

    def __init__(self, model: "DetectorModel", folder: Path, threshold: float, draw: bool, quiet: bool) -> None:
        """Begin with nothing."""
        self.model, self.folder, self.threshold = model, folder, threshold
        self.draw, self.quiet = draw, quiet
        self.answers: list[tuple[str, tuple[int, int], Any, str | None]] = []
        self.taken: set[str] = {TABLE, COCO}

    def add(self, one: "Answer") -> None:
        """Draw, keep and say what was found in a picture."""
        drawn = self._drawn(one) if self.draw else None
        self.answers.append((one.name, one.size, one.found, drawn))
        if not self.quiet:
            self._say(one)

    def close(self) -> dict[str, Any]:
        """Write the tables; what ``--json`` prints."""
        from residua.boxes.tables import coco_results, detections_csv, rows
        from residua.files import write

        names, sizes, found, drawn = (list(v) for v in zip(*self.answers, strict=True)) if self.answers else ([],) * 4
        classes = self.model.classes
        if self.answers:
            made(self.folder)
            detections_csv(self.folder / TABLE, names, found, classes)
            from residua.cli.terminal import as_json

            write(self.folder / COCO, (as_json(coco_results(names, sizes, found, classes)) + "\n").encode())
            if not self.quiet:
                from residua.cli.terminal import cell, results

                results().print(cell("wrote   "), cell(str(self.folder), "bold"))
        keys = ("path", "label", "score", "left", "top", "right", "bottom")
        return {
            "out": str(self.folder) if self.answers else None,
            "threshold": self.threshold,
            "pictures": [
                {
                    "path": name, "height": size[0], "width": size[1], "drawn": file,
                    "detections": [dict(zip(keys[1:], row[1:], strict=True)) for row in rows(name, of, classes)],
                }
                for name, size, of, file in zip(names, sizes, found, drawn, strict=True)
            ],
        }  # fmt: skip

    def _drawn(self, one: "Answer") -> str:
        """The picture with its boxes, under a name of its own."""
        import io

        from residua.boxes.draw import drawn
        from residua.data.decode import as_image, decode
        from residua.files import write

        name = own_name(one.name, ".jpg", self.taken)
        image = drawn(as_image(decode(one.source, "RGB")), one.found, self.model.classes, threshold=self.threshold)
        content = io.BytesIO()
        image.save(content, "JPEG", quality=92)
        made(self.folder)
        write(self.folder / name, content.getvalue())
        return name

    def _say(self, one: "Answer") -> None:
        """A line for a picture: how many of each class have a sufficient score."""
        from rich.text import Text

        from residua.cli.terminal import cell, results

        sure = one.found.labels[one.found.scores >= self.threshold].tolist()
        counts = {name: sure.count(i) for i, name in enumerate(self.model.classes) if i in sure}
        words = Text("  ").join(Text.assemble((f"{n} ", "bold"), cell(name)) for name, n in counts.items())
        results().print(cell(one.name), " ", words if counts else cell("nothing", "dim"))
