"""``residua verify EXPORTED MODEL DATA``: does the exported file still say what the model says?"""

from typing import Annotated

import typer

from residua.cli.export import named
from residua.cli.options import DATA_HELP, Debug, Json, Root, choice, data_names, starting


def verify(
    exported: Annotated[
        str, typer.Argument(metavar="EXPORTED", help="a file of `residua export`: .onnx, .pt2 or .xml")
    ],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="the model file, or run folder, that it came from")],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help=f"{DATA_HELP}; for boxes what `residua detect` takes",
            autocompletion=starting(data_names),
        ),
    ],
    split: Annotated[
        str, choice("--split", "which pictures; all is everything that the data hold", section="data", shown="test")
    ] = "test",
    limit: Annotated[
        int,
        typer.Option(
            "--limit", metavar="N", min=1, help="so many pictures, spread evenly over the split", rich_help_panel="data"
        ),
    ] = 500,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="POINTS",
            min=0,
            help="how many points of accuracy an int8 file may lose",
            show_default="what it was exported with",
        ),
    ] = None,
    root: Root = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask an exported file and its model about the same pictures: on this machine, with these libraries.

    Logits must be the same to rounding, 1, 3 and 17 pictures at a time, every answer must be the same, and so must the
    accuracy; of an int8 file only the accuracy counts. Exit code 4 says that something differs, and what.

    Examples:
      residua verify photos.onnx runs/photos-resnet18-1 ./photos
      residua verify photos-int8.xml model.safetensors ./photos --limit 2000 --json
    """  # fmt: skip
    from residua.cli.files import existing, model_file

    file, path = existing(exported, "exported file"), model_file(model)
    named(data)
    from residua.cli.live import waiting

    with waiting("asking both about the same pictures"):
        from residua.export.session import verify

        found, parity = verify(
            file, path, data, split=split, root=root, limit=limit, tolerance=tolerance
        )  # fmt: skip
    if json:
        from residua.cli.terminal import emit

        about = {"exported": str(file), "to": found.to, "precision": found.words.get("precision"), "model": str(path)}
        emit({**about, "data": data, "split": split, **parity.to_json()})
    else:
        from residua.cli.parity import show

        show(parity)
    parity.demand(str(file))
