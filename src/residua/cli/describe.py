"""``residua describe NAME``: a net layer by layer."""

from pathlib import Path
from typing import Annotated, Any

import typer

from residua.cli.options import Debug, Json, archs
from residua.cli.options import starting as offer


def describe(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="a net of `residua archs`, or a model file", autocompletion=offer(archs)),
    ],
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
    """Show a net layer by layer.

    Output shape, parameters, multiply-adds and receptive field of every layer, and the totals for one picture.

    Examples:
      residua describe resnet50
      residua describe cifar_resnet20:3-5-3 --classes 100
      residua describe runs/digits-cifar_resnet20-1/model.safetensors
    """
    from dataclasses import replace

    row, side_px, file = _row(name)
    row = replace(row, classes=classes or row.classes, channels=channels or row.channels)
    from residua.cli.live import waiting

    with waiting("counting"):
        from residua.nn.cost import cost

        made = cost(row, image_size or side_px)
    document = _document(row, made, file)
    if json:
        from residua.cli.terminal import emit

        emit(document)
    else:
        _show(document)


def _row(name: str) -> tuple[Any, int | None, str | None]:
    """The row of a name or of a model file, with the side that the file's view gives."""
    if name.endswith(".safetensors") or Path(name).is_file():
        from residua.cli.files import model_file

        path = model_file(name)
        from residua.nn.modelfile import read_header

        header = read_header(path)
        return header.row, int(header.view["side_px"]), name
    from residua.nn.zoo import find

    return find(name), None, None


def _document(row: Any, made: Any, file: str | None) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": row.name,
        "file": file,
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
