"""``residua export MODEL --to FORMAT``: a file that other programs run, and that answers as the model does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from residua.cli.options import DATA_HELP, Debug, Json, Root, data_names, one_of, points_lost, starting
from residua.errors import DataError, UsageError
from residua.export.formats import SUFFIXES, check_int8, check_served

if TYPE_CHECKING:
    from residua.export.repository import Slot
    from residua.export.session import Done


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="|".join(SUFFIXES),
            help="ONNX, PyTorch's own (torch.export), or OpenVINO",
            callback=one_of("--to", tuple(SUFFIXES)),
            autocompletion=starting(tuple(SUFFIXES)),
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE", help="the file to write; it must not exist", show_default="MODEL's name, here"
        ),
    ] = None,
    repository: Annotated[
        str | None,
        typer.Option(
            "--repository",
            metavar="FOLDER",
            help="instead of --out: add the model to the folder that Triton or OpenVINO Model Server serves, as its "
            "next version (onnx and openvino)",
            rich_help_panel="model servers",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="what the model is called in the repository",
            show_default="after its file or folder",
            rich_help_panel="model servers",
        ),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="the bare net: normalised numbers in, logits out; nothing before or behind it"),
    ] = False,
    check: Annotated[
        str | None,
        typer.Option(
            "--check",
            metavar="DATA",
            help="compare on test pictures of these data, and the accuracy too",
            show_default="the training's known set if it is at hand, else made pictures",
            autocompletion=starting(data_names),
            rich_help_panel="comparing",
        ),
    ] = None,
    int8: Annotated[
        str | None,
        typer.Option(
            "--int8",
            metavar="DATA",
            help=f"smaller and faster, calibrated on training pictures of {DATA_HELP}; taken only if the test pictures "
            "say so (onnx and openvino)",
            autocompletion=starting(data_names),
            rich_help_panel="int8",
        ),
    ] = None,
    tolerance: Annotated[float, points_lost("int8")] = 0.5,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="TEXT", help="what the file says of its licence")
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", metavar="TEXT", help="what the file says of its author")
    ] = None,
    root: Root = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a model in a format that other programs run, and prove that it answers as the model does.

    Pictures go in as bytes, (n, channels, height, width); scaling, cropping and normalising are in the file, and
    probabilities come out, so that nobody has to write that again. OpenVINO takes pictures of the view's own side:
    no resize of its own is exactly the model's. Any batch. The file says what it takes, its classes and its view.

    Before the file gets its name, that very file is asked about the same pictures as the model, 1, 3 and 17 at a time:
    logits must be the same to rounding, and so must every answer. Where they are not, the command ends with exit code
    4 and leaves no file. `residua verify` asks again, anywhere.

    With --repository the file becomes a version of a model in a folder as Triton Inference Server and OpenVINO Model
    Server read it: NAME/1/model.onnx with NAME/config.pbtxt and NAME/labels.txt, or NAME/1/model.xml and config.json
    too. A model that is there gets its next version, if that has the same classes, inputs and outputs.

    Examples:
      residua export runs/photos-resnet18-1 --to onnx
      residua export model.safetensors --to openvino --check ./photos --out photos.xml
      residua export model.safetensors --to onnx --int8 ./photos --tolerance 0.3
      residua export model.safetensors --to pt2 --raw
      residua export runs/photos-resnet18-2 --to onnx --repository models --name photos
    """
    from time import perf_counter

    from residua.cli.files import model_file

    if to is None:
        raise UsageError(f"--to FORMAT is needed: {', '.join(SUFFIXES)}")
    if check is not None and int8 is not None:
        raise UsageError("--int8 compares on the test pictures of its own data: leave --check out")
    if int8 is not None:
        check_int8(to)
    if repository is None and name is not None:
        raise UsageError("--name is what a model is called in a --repository FOLDER; a file is called by --out")
    if repository is not None and out is not None:
        raise UsageError("--repository says where the files go: leave --out out, and give a --name")
    path = model_file(model)
    for data in (check, int8):
        named(data)
    slot = _slot(repository, name, path, to, int8 is not None) if repository is not None else None
    target, started = slot or _target(out, path, to, int8 is not None), perf_counter()
    from residua.cli.live import waiting
    from residua.cli.terminal import say

    with waiting("loading torch and the model"):
        from residua.export.session import Options, export

    options = Options(
        to=to, raw=raw, check=check, int8=int8, tolerance=tolerance, root=root, licence=licence, author=author
    )
    done = export(path, target, options, lambda line: say(f"residua: {line}"))
    _tell(done, to, perf_counter() - started, json, slot)


def named(data: str | None) -> None:
    """Raise UsageError for a word that names no data; what lies on the disk is looked at later."""
    from residua.data.names import check_spec

    if data is not None and not Path(data).expanduser().exists():
        check_spec(data)


def _target(out: str | None, model: Path, to: str, int8: bool) -> Path:
    """The file to write, which does not exist yet. Raises UsageError for another ending, DataError."""
    from residua.cli.files import called, fresh

    suffix = SUFFIXES[to][0]
    path = Path(out) if out else Path(f"{called(model)}{'-int8' if int8 else ''}{suffix}")
    if path.suffix != suffix or path.stem.startswith("."):
        raise UsageError(f"--out {out}: --to {to} writes a file that ends in {suffix}")
    if not path.parent.is_dir():
        raise DataError(f"--out {out}: there is no folder {path.parent}")
    for end in SUFFIXES[to]:
        fresh(str(path.with_suffix(end)), "file")
    return path


def _slot(repository: str, name: str | None, model: Path, to: str, int8: bool) -> "Slot":
    """The next version of a model in a repository. Raises UsageError for a name or format, DataError."""
    from residua.cli.files import check_address, named_after

    check_served(to)
    from residua.export.repository import CONFIG, Slot

    called = name if name is not None else f"{named_after(model)}{'-int8' if int8 else ''}"[:100]
    check_address(called)
    if called == CONFIG:
        raise UsageError(f"--name {called} is the name of a file of the repository: choose another one")
    slot = Slot(root=Path(repository), name=called, to=to)
    slot.check()
    return slot


def _tell(done: "Done", to: str, seconds: float, json: bool, slot: "Slot | None") -> None:
    from residua.cli.parity import show
    from residua.cli.terminal import cell, emit, one_line, results, short

    words, size = done.words, sum(p.stat().st_size for p in done.paths)
    version = None if slot is None else int(done.paths[0].parent.name)
    if json:
        kept = ("task", "arch", "precision", "classes", "input", "outputs", "int8", "residua")
        emit(
            {"out": [str(p) for p in done.paths], "to": to, "bytes": size, "seconds": seconds}
            | ({} if slot is None else {"repository": str(slot.root), "name": slot.name, "version": version})
            | {k: words.get(k) for k in kept}
            | {"parity": done.parity.to_json()}
        )
        return
    console, into = results(), words["input"]
    paths = " and ".join(map(str, done.paths))
    console.print(cell(paths, "bold"), cell(f"{words['arch']}, {to}, {words['precision']}, {short(size)}B"))
    if slot is not None:
        console.print(cell(f"  version {version} of {slot.name} in {slot.root}"))
    sides = " x ".join(map(str, into["shape"]))
    console.print(cell(f"  takes {into['name']}: {into['dtype']}, {sides} ({into['order']})"))
    console.print(cell(f"  before that: {into['before']}", "" if into["takes"] == "any" else "yellow"))
    for out in words["outputs"]:
        console.print(cell(f"  gives {out['name']}: {' x '.join(map(str, out['shape']))}, {one_line(out['is'])}"))
    console.print()
    show(done.parity)
    console.print(cell(f"{seconds:.1f} s", "dim"))
