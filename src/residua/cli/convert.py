"""``residua convert FILE``: other people's weights into a model file, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import Debug, Json, Root, archs, choice, starting
from residua.errors import DataError, UsageError
from residua.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

    from residua.nn.arch import Row

VIEW = "how a picture becomes a tensor"


def convert(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="a checkpoint: .pth, .pt, .th or .safetensors; nothing in it is run")
    ],
    arch: Annotated[
        str | None,
        typer.Option("--arch", metavar="NAME", help="the net that the weights are of", autocompletion=starting(archs)),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="the file to write; it must not exist")
    ] = "model.safetensors",
    to: Annotated[str | None, choice("--to", "take a model file apart again, into this layout's names")] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="NAMES",
            help="class names in the order of the outputs: a file with one a line (or a .json list), "
            "imagenet, or a known set such as cifar10",
            show_default="0, 1, 2, ...",
        ),
    ] = None,
    stem: Annotated[
        str | None, choice("--stem", "the stem, where it differs from the net's own", shown="the net's own")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            metavar="PX",
            min=1,
            help="side of the picture",
            show_default="the net's",
            rich_help_panel=VIEW,
        ),
    ] = None,
    fit: Annotated[
        str | None, choice("--fit", "what happens to the parts that do not fit", section=VIEW, shown="crop")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            "--mean", metavar="R,G,B", help="mean of each channel", show_default="the layout's", rich_help_panel=VIEW
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            "--std",
            metavar="R,G,B",
            help="deviation of each channel",
            show_default="the layout's",
            rich_help_panel=VIEW,
        ),
    ] = None,
    root: Root = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Turn other people's weights into a model file, and back.

    The layout is recognised by its names: torchvision, timm, Hugging Face, akamaster and kuangliu. Each brings its own
    picture size and normalisation, which can be overridden. Weights that do not fit are refused with the first names
    that differ.

    Examples:
      residua convert resnet50-11ad3fa6.pth --arch resnet50 --classes imagenet --out resnet50.safetensors
      residua convert resnet20.th --arch cifar_resnet20 --classes cifar10 --out resnet20.safetensors
      residua convert model.safetensors --to torchvision --out model.pth
    """
    from residua.cli.files import existing, fresh, model_file

    path, target = model_file(file) if to else existing(file, "checkpoint"), fresh(out, "result")
    if to is None:
        document = _adopt(path, target, _row(arch, stem), classes, root, _changes(image_size, fit, mean, std))
    else:
        given = {"--arch": arch, "--stem": stem, "--classes": classes, "--image-size": image_size, "--fit": fit}
        for flag, value in (given | {"--mean": mean, "--std": std}).items():
            if value is not None:
                raise UsageError(f"{flag} has no meaning with --to {to}: the model file says it")
        document = _export(path, target)
    _tell(document, json)


def _row(arch: str | None, stem: str | None) -> "Row":
    """The net that the weights are said to be of."""
    from dataclasses import replace

    from residua.nn.arch import Arch
    from residua.nn.zoo import find

    if arch is None:
        raise UsageError("--arch NAME is needed: which net are the weights of? `residua archs` lists them all")
    row = find(arch)
    if stem in (None, "auto"):
        return row
    if not isinstance(row, Arch):
        raise UsageError(f"{arch} has no stem to choose")
    return replace(row, stem=str(stem))


def _changes(image_size: int | None, fit: str | None, mean: str | None, std: str | None) -> dict[str, Any]:
    """What the user changes in the layout's view."""
    numbers = {"mean": _numbers("--mean", mean), "std": _numbers("--std", std)}
    size = {} if image_size is None else {"side_px": image_size, "resize_px": None}
    return {k: v for k, v in {"fit": fit, **numbers}.items() if v is not None} | size


def _numbers(flag: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(t) for t in text.split(",")]
    except ValueError:
        raise UsageError(f"{flag} {text}: give one number a channel, such as 0.485,0.456,0.406") from None


def _adopt(
    path: Path, target: Path, row: "Row", classes: str | None, root: str | None, changes: dict[str, Any]
) -> dict[str, Any]:
    given = _class_names(classes, root)
    from residua.data.view import View
    from residua.nn import modelfile, names
    from residua.nn.zoo import build

    state, row, layout = names.adopt(names.read_checkpoint(path), row, str(path))
    if given is not None and len(given) != row.classes:
        raise UsageError(f"--classes {classes} has {len(given)} names, but the weights have {row.classes} classes")
    words = names.view(layout, row)
    if changes.get("resize_px", 0) is None:
        changes["resize_px"] = max(
            changes["side_px"], round(changes["side_px"] * words["resize_px"] / words["side_px"])
        )
    view = View.from_json(words | changes)
    net = build(row)
    net.load_state_dict(state)
    header = modelfile.Header(
        row=row,
        classes=given or tuple(map(str, range(row.classes))),
        view=view.to_json(),
        lineage=[{"converted": path.name, "layout": layout}],
    )
    modelfile.save(target, net, header)
    return {
        "out": str(target),
        "layout": layout,
        "name": row.name,
        "classes": list(header.classes),
        "params": sum(p.numel() for p in net.parameters()),
        "view": view.to_json(),
    }


def _export(path: Path, target: Path) -> dict[str, Any]:
    from residua.nn import modelfile, names

    if target.suffix not in (".pth", ".pt", ".safetensors"):
        raise UsageError(f"--out {target}: a .pth or .safetensors file is written")
    net, header = modelfile.load(path)
    state = names.to_torchvision(net.state_dict(), header.row)
    _write(target, {k: v.contiguous() for k, v in state.items()})
    return {
        "out": str(target),
        "layout": "torchvision",
        "name": header.row.name,
        "classes": list(header.classes),
        "params": sum(p.numel() for p in net.parameters()),
        "view": dict(header.view),
    }


def _write(target: Path, state: "dict[str, Tensor]") -> None:
    """The weights as one file, whole or not at all."""
    import torch
    from safetensors.torch import save_file

    with replacing(target) as temporary:
        if target.suffix == ".safetensors":
            save_file(state, temporary)
        else:
            torch.save(state, temporary)


def _class_names(words: str | None, root: str | None) -> tuple[str, ...] | None:
    """The class names of a file, of ImageNet or of a known set."""
    from residua.data.names import KNOWN
    from residua.words import unknown

    if words is None:
        return None
    if words == "imagenet":
        from torchvision.models import ResNet50_Weights

        return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
    if words in KNOWN:
        from residua.data.sources import open_data

        return open_data(words, root=root, val_fraction=0).classes
    if not Path(words).is_file():
        raise unknown("class names", words, ["imagenet", *KNOWN], "or give a file with one name a line")
    return _from_file(Path(words))


def _from_file(path: Path) -> tuple[str, ...]:
    import json

    try:
        text = path.read_text(encoding="utf-8")
        found = (
            json.loads(text) if path.suffix == ".json" else [line.strip() for line in text.splitlines() if line.strip()]
        )
    except (OSError, ValueError) as e:
        raise DataError(f"cannot read the class names in {path}: {e}") from e
    if not isinstance(found, list) or not found or not all(isinstance(c, str) for c in found):
        raise DataError(f"{path}: a list of class names is needed")
    return tuple(found)


def _tell(document: dict[str, Any], json: bool) -> None:
    from residua.cli.terminal import cell, emit, results

    if json:
        emit(document)
        return
    console, view, classes = results(), document["view"], document["classes"]
    named = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    mean, std = ([f"{v:.3g}" for v in view[k]] for k in ("mean", "std"))
    console.print(
        cell(document["out"], "bold"),
        f"{document['name']}, {document['params']:,} parameters, {document['layout']}'s names",
    )
    console.print(cell(f"  {len(classes)} classes: {named}"))
    console.print(
        cell(
            f"  pictures: {view['mode']}, {view['fit']} to {view['side_px']} px after a short side of "
            f"{view['resize_px']}, mean {' '.join(mean)}, deviation {' '.join(std)}"
        )
    )
