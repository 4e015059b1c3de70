"""``residua describe NAME...``: a net layer by layer; several beside each other, as a table or drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import Debug, Json, archs
from residua.cli.options import starting as offer
from residua.errors import UsageError

if TYPE_CHECKING:
    from residua.nn.arch import Row
    from residua.nn.cost import Cost

DRAWN = (".svg", ".png")


@dataclass(frozen=True)
class Described:
    """A net, what it costs, and the model file that it is from."""

    row: "Row"
    cost: "Cost"
    file: str | None = None


def describe(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="nets of `residua archs`, model files or run folders",
            autocompletion=offer(archs),
            show_default=False,
        ),
    ] = None,
    draw: Annotated[
        str | None,
        typer.Option("--draw", metavar="FILE", help="draw the nets side by side into a new .svg or .png file"),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="the nets that won ImageNet, from 8 to 152 layers, instead of NAME")
    ] = False,
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", metavar="PX", min=1, help="side of the picture", show_default="the net's own"),
    ] = None,
    classes: Annotated[
        int | None, typer.Option("--classes", metavar="N", min=1, help="classes", show_default="the net's own")
    ] = None,
    channels: Annotated[
        int | None, typer.Option("--channels", metavar="N", min=1, help="channels of the picture", show_default="3")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a net layer by layer, or several beside each other.

    One name: output shape, parameters, multiply-adds and receptive field of every layer, and the totals for one
    picture. Several: a line each. --draw shows every layer as a box, with the shortcuts, as the paper's figure 3 does;
    of nets above 60 layers, long stages are folded.

    Examples:
      residua describe resnet50
      residua describe cifar_resnet20:3-5-3 --classes 100
      residua describe runs/digits-cifar_resnet20-1/model.safetensors
      residua describe vgg19 plain34 resnet34 --draw nets.svg
      residua describe --history --draw history.svg
    """
    if bool(names) == history:
        raise UsageError("give the NAME of one or more nets, or --history alone: `residua archs` lists all nets")
    target = _target(draw)
    if history:
        from residua.cli.history import tell

        return tell(target, json)
    found = _found(names or [], image_size=image_size, classes=classes, channels=channels)
    if target:
        _draw(found, target)
    if json:
        _emit(found, target)
    elif len(found) == 1 and target is None:
        _show(_document(found[0]))
    else:
        _compare(found, target)


def _target(draw: str | None) -> Path | None:
    """Where to draw. Raises UsageError for another kind of file, DataError where something stands."""
    if draw is None:
        return None
    if Path(draw).suffix.lower() not in DRAWN:
        raise UsageError(f"--draw {draw}: drawings are written as {' or '.join(DRAWN)}")
    from residua.cli.files import fresh

    return fresh(draw, "drawing", "--draw")


def _found(
    names: Sequence[str], *, image_size: int | None, classes: int | None, channels: int | None
) -> list[Described]:
    """Every net with its cost; wrong names are told before anything heavy is loaded."""
    from dataclasses import replace

    rows = [_row(name) for name in names]
    from residua.cli.live import waiting

    with waiting("counting"):
        from residua.nn.cost import cost

        made = []
        for row, side_px, file in rows:
            row = replace(row, classes=classes or row.classes, channels=channels or row.channels)
            made.append(Described(row, cost(row, image_size or side_px), file))
    return made


def _row(name: str) -> tuple[Any, int | None, str | None]:
    """The row of a name or of a model file, with the side that the file's view gives."""
    if name.endswith(".safetensors") or Path(name).is_file() or Path(name, "model.safetensors").is_file():
        from residua.cli.files import model_file

        path = model_file(name)
        from residua.nn.modelfile import read_header

        header = read_header(path)
        return header.row, int(header.view["side_px"]), name
    from residua.nn.zoo import find

    return find(name), None, None


def _draw(found: Sequence[Described], target: Path) -> None:
    from residua.cli.live import waiting

    with waiting("drawing"):
        from residua.report.canvas import draw
        from residua.report.drawing import drawing
        from residua.report.outline import outline

        draw(drawing([outline(f.row, f.cost) for f in found]), target)


def _emit(found: Sequence[Described], target: Path | None) -> None:
    """One document for one net, a list for several; `drawing` names the file, where one was drawn."""
    from residua.cli.terminal import emit

    drawn = {"drawing": str(target)} if target else {}
    documents = [_document(f) | drawn for f in found]
    emit(documents[0] if len(documents) == 1 else documents)


def _document(found: Described) -> dict[str, Any]:
    from dataclasses import asdict

    row, made = found.row, found.cost
    return {
        "name": row.name,
        "file": found.file,
        "family": row.family,
        "source": row.source,
        "layers": row.layers,
        "classes": row.classes,
        "channels": row.channels,
        "side_px": made.side_px,
        "params": made.params,
        "macs": made.macs,
        "activation_bytes": made.activation_bytes,
        "table": [asdict(layer) for layer in made.layers],
    }


def _compare(found: Sequence[Described], target: Path | None) -> None:
    """A line for each net."""
    from residua.cli.terminal import cell, results, short, table

    numbers = ("layers", "parameters", "MACs", "activations", "picture")
    shown = table("net", *numbers, "units", "source", right=numbers)
    for f in found:
        row, made = f.row, f.cost
        shown.add_row(
            cell(row.name, "bold"), str(row.layers), f"{made.params:,}", short(made.macs),
            f"{short(made.activation_bytes)}B", f"{row.channels}x{made.side_px}x{made.side_px}",
            "-".join(map(str, getattr(row, "depths", ()))), cell(row.source, "dim"),
        )  # fmt: skip
    console = results()
    console.print(shown)
    if target:
        console.print(cell("drawn    ", "dim").append(str(target), "bold"))


def _show(document: dict[str, Any]) -> None:
    from residua.cli.terminal import cell, results, short, table

    numbers = ("parameters", "MACs", "sees")
    shown = table("layer", "kind", "output", *numbers, right=("output", *numbers))
    for layer in document["table"]:
        shown.add_row(
            cell(layer["name"]), cell(layer["kind"], "dim"), "x".join(map(str, layer["out_shape"])),
            f"{layer['params']:,}" if layer["params"] else "", short(layer["macs"]) if layer["macs"] else "",
            str(layer["receptive_field"] or ""),
        )  # fmt: skip
    console = results()
    console.print(shown)
    side, channels = document["side_px"], document["channels"]
    totals = [
        f"{document['layers']} weighted layers, {document['params']:,} parameters, {document['classes']} classes",
        f"for one {channels}x{side}x{side} picture: {short(document['macs'])} multiply-adds, "
        f"{short(document['activation_bytes'])}B of activations kept for training (fp32)",
    ]
    console.print(cell(f"{document['name']}: ", "bold").append(totals[0], "not bold"))
    console.print(cell(totals[1]))
    console.print(cell(f"{document['source']}; output: channels x height x width; sees: receptive field in px", "dim"))
