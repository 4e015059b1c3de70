"""``residua detect explain MODEL PATHS...``: which proposals a detector looked at, and which map fired."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.boxes_found import items, made, own_name, refused
from residua.cli.options import Debug, Device, Json, Threads

if TYPE_CHECKING:
    from residua.detect.explained import Explained


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    paths: Annotated[list[str], typer.Argument(metavar="PATHS...", help="pictures, or folders of pictures")],
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="SCORE",
            min=0,
            max=1,
            help="detections of this score at least are drawn",
            show_default="the one with the best F1 on the model's test pictures",
        ),
    ] = None,
    proposals: Annotated[int, typer.Option("--proposals", metavar="N", min=1, help="how many are drawn")] = 60,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="a new folder for the drawings and explanations.json",
            show_default="explanations/MODEL-N",
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a detector looked at: its proposals by the map that made them, and the map behind each detection.

    A pyramid finds small things on fine maps (a quarter of the picture's sides) and large ones on coarse maps; which
    map fired for what shows whether the anchors suit the things.

    Examples:
      residua detect explain runs/cells-resnet18-fpn-1 new/cell.jpg
      residua detect explain model.safetensors photos/ --threshold 0.8 --out why
    """
    from residua.cli.files import model_file, results_folder

    file = model_file(model)
    folder = results_folder("explanations", file, out)
    from residua.cli.live import waiting

    with waiting("loading the model"):
        from residua.data.decode import BadPicture
        from residua.detect.explained import drawn
        from residua.detect.explained import explain as explained
        from residua.detect.predict import load
        from residua.files import write

        loaded = load(file, device=device, threads=threads)
    from residua.cli.terminal import as_json, cell, emit, results, say

    least = loaded.threshold if threshold is None else threshold
    failures: list[dict[str, str]] = []
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    try:
        for name, source in items(paths, failures):
            try:
                of = explained(loaded, name, source)
                image = drawn(of, source, threshold=least, proposals=proposals)
            except BadPicture as e:
                failures.append({"path": name, "reason": e.reason})
                say(f"residua: cannot read {name}: {e.reason}")
                continue
            rows.append(of.to_json() | {"drawn": _write(folder, name, image, taken)})
            if not json:
                _say(of, least)
    finally:  # after Ctrl-C too: the document holds what was explained so far
        document = {"model": str(file), "threshold": least, "pictures": rows, "failures": failures}
        if rows:
            write(folder / "explanations.json", (as_json(document) + "\n").encode())
            if not json:
                results().print(cell("wrote   "), cell(str(folder), "bold"))
    if json:
        emit(document)
    refused(failures, len(rows))


def _write(folder: Path, name: str, image: Any, taken: set[str]) -> str:
    """The drawing as a file of the picture's name."""
    import io

    from residua.files import write

    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    made(folder)
    where = own_name(name, ".png", taken)
    write(folder / where, content.getvalue())
    return where


def _say(of: "Explained", threshold: float) -> None:
    """Proposals and detections of a picture, by map."""
    from rich.text import Text

    from residua.cli.terminal import cell, results

    console = results()
    found = [r for r in of.reasons if r.score >= threshold]
    by_map = ", ".join(f"{n} at 1/{s}" for s, n in of.to_json()["proposals"].items())
    console.print(cell(of.name, "bold"))
    console.print(cell(f"  proposals   {by_map}", "dim"))
    labels = sorted({r.label for r in found})
    for label in labels:
        own = [r.region_stride for r in found if r.label == label]
        words = ", ".join(f"{own.count(s)} at 1/{s}" for s in sorted(set(own)))
        console.print(Text.assemble(("  ", ""), cell(f"{len(own)} {label}", "bold"), f"   read {words}"))
    if not labels:
        console.print(cell("  nothing found", "dim"))
