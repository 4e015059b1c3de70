"""``residua depth landscape MODEL DATA``: the loss around a net, on a plane through its weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import DATA_HELP, Debug, Json, Root, Threads, choice, data_names, starting
from residua.errors import Interrupted, NumericError, UsageError

if TYPE_CHECKING:
    from residua.depth.landscape import Grid
    from residua.depth.survey import Done
    from residua.engine import Engine
    from residua.pair import Pair

#: What is taken where neither a flag nor the resumed folder says otherwise.
DEFAULTS: dict[str, Any] = {
    "resolution": 21, "span": 1.0, "seed": 0, "images": 512, "batch_size": 256,
    "device": "auto", "precision": "fp32", "threads": None,
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Nets with the same pictures, the grid, and the engine to compute it."""

    pairs: "list[Pair]"
    grid: "Grid"
    engine: "Engine"
    about: dict[str, Any]


def landscape(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP, autocompletion=starting(data_names))],
    beside: Annotated[
        str | None, typer.Option("--beside", metavar="MODEL", help="another net, drawn beside it on the same scale")
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option("--resolution", metavar="N", min=3, help="N x N points; an odd number", show_default="21"),
    ] = None,
    span: Annotated[
        float | None,
        typer.Option("--span", metavar="X", help="how far to go each way, in norms of the filters", show_default="1"),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            metavar="N",
            min=1,
            rich_help_panel="data",
            show_default="512",
            help="how many pictures of the training split, drawn by the seed",
        ),
    ] = None,
    root: Root = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="what directions and pictures are drawn by", show_default="0"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            min=1,
            rich_help_panel="machine",
            help="pictures at a time",
            show_default="256",
        ),
    ] = None,
    device: Annotated[
        str | None,
        choice("--device", "where to compute", section="machine", shown="auto", also="auto|cpu|cuda|cuda:N|mps"),
    ] = None,
    precision: Annotated[
        str | None,
        choice("--precision", "fp32 is exact; the others are faster", section="machine", shown="fp32"),
    ] = None,
    threads: Threads = None,
    out: Annotated[str | None, typer.Option("--out", metavar="FOLDER", help="a new folder for the results")] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="FOLDER", help="go on with a stopped landscape of the same model and data"),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw the loss surface around a net, alone or beside another's.

    The weights are moved along two random directions, scaled filter by filter to the net's own (Li et al. 2018); the
    loss of training pictures is measured at every point, norms with their running statistics. Every point is kept as
    soon as it is known: --resume goes on.

    Writes landscape.png, landscape.json (what was asked, and the numbers) and landscape.jsonl (the points).

    Examples:
      residua depth landscape runs/plain56 digits --beside runs/resnet56
      residua depth landscape model.safetensors cifar10 --resolution 51 --images 1000
      residua depth landscape model.safetensors cifar10 --resume runs/landscape-model-1
    """  # fmt: skip
    from residua.cli.files import model_file, runs_folder
    from residua.data.names import check_spec

    if resume and out:
        raise UsageError("--resume goes on in its own folder: leave --out away")
    paths = [model_file(name) for name in (model, beside) if name]
    check_spec(data)
    where = Path(resume) if resume else runs_folder("landscape", paths[0], out)
    given = {
        "resolution": resolution, "span": span, "seed": seed, "images": images, "batch_size": batch_size,
        "device": device, "precision": precision, "threads": threads,
    }  # fmt: skip
    from residua.cli.live import waiting

    with waiting("loading torch, the model and the data"):
        from residua.depth import survey

        old = survey.asked(where) if resume else {}
        kept = {k: v for k, v in given.items() if v is not None}
        task = _task(paths, data, root, DEFAULTS | {k: old[k] for k in DEFAULTS if k in old} | kept)
        if resume:
            survey.check(where, task.about)
        else:
            survey.begin(where, task.about)
        done = survey.points(where)
    _measure(task, where, done)
    about = _finish(task, where, done)
    if json:
        from residua.cli.terminal import emit

        emit(about)
    else:
        _show(about)


# -- what to do -----------------------------------------------------------------------------------------------------


def _task(paths: list[Path], data: str, root: str | None, asked: Mapping[str, Any]) -> Task:
    """The nets, the same training pictures for each, the grid and the engine; `about` is what landscape.json says."""
    from residua.depth.landscape import Grid, check, fingerprint
    from residua.depth.survey import same_pictures
    from residua.pair import pair

    grid = Grid(resolution=asked["resolution"], span=asked["span"], seed=asked["seed"])
    pairs = same_pictures([pair(p, data, split="train", root=root) for p in paths], asked["images"], grid.seed)
    for p in pairs:
        check(p.net)
    first = pairs[0]
    engine = first.engine(**{k: asked[k] for k in ("device", "precision", "threads")}, workers=0)
    about = {
        **asked,
        "images": first.n,
        "device": engine.device, "precision": engine.precision, "threads": engine.threads,
        "data": first.dataset.name, "data_fingerprint": first.dataset.fingerprint, "engine": engine.describe(),
        "norms": "running statistics",
        "surfaces": [
            {"name": p.header.row.name, "model": str(path), "layers": p.header.row.layers,
             "fingerprint": fingerprint(p.net), "terrain": None}
            for p, path in zip(pairs, paths, strict=True)
        ],
    }  # fmt: skip
    return Task(pairs, grid, engine, about)


def _measure(task: Task, where: Path, done: "Done") -> None:
    """Every missing point of every surface, into the folder and into `done`. Raises Interrupted on Ctrl-C."""
    from residua.cli.live import bar
    from residua.depth.landscape import surface
    from residua.depth.survey import follow

    each = task.grid.resolution**2
    total = each * len(task.pairs)
    try:
        with bar("points of the surface", total) as forward:
            for s, p in enumerate(task.pairs):
                known = done.setdefault(s, {})
                forward(len(known))
                net = task.engine.place(p.net)
                batches = p.batches(task.about["batch_size"])
                for point in follow(where, s, surface(net, batches, task.engine, task.grid, done=set(known))):
                    known[point.i, point.j] = point
                    forward(1)
                net.cpu()
    except KeyboardInterrupt:
        count = sum(map(len, done.values()))
        raise Interrupted(f"stopped after {count} of {total} points: go on with --resume {where}") from None


def _finish(task: Task, where: Path, done: "Done") -> dict[str, Any]:
    """The numbers and the picture. Raises NumericError if a surface is not finite anywhere."""
    from residua.cli.live import waiting
    from residua.depth import survey
    from residua.depth.terrain import terrain

    with waiting("drawing"):
        surfaces, entries = [], []
        for s, (p, entry) in enumerate(zip(task.pairs, task.about["surfaces"], strict=True)):
            losses, errors = survey.heights(done[s], task.grid.resolution)
            found = terrain(losses, errors, p.header.row.classes)
            if not found.finite:
                raise NumericError(f"the surface of {entry['name']} is NaN everywhere: no loss is finite")
            surfaces.append(losses)
            entries.append({**entry, "terrain": asdict(found)})
        about = {**task.about, "surfaces": entries}
        survey.record(where, about)
        from residua.report.landscape import landscape as draw
        from residua.report.landscape import sentences

        draw(about, surfaces, where / "landscape.png")
    files = [str(where / name) for name in ("landscape.png", survey.ABOUT, survey.POINTS)]
    return {**about, "folder": str(where), "says": sentences(about), "files": files}


def _show(about: dict[str, Any]) -> None:
    from residua.cli.terminal import cell, percent, results, table

    numbers = ("layers", "loss", "error", "valley", "below chance", "minima", "not convex", "lowest", "highest")
    shown = table("net", *numbers, right=numbers)
    for entry in about["surfaces"]:
        t = entry["terrain"]
        loss, lowest, highest = (f"{t[k]:.4g}" if t[k] is not None else "–" for k in ("middle", "lowest", "highest"))
        convex = percent(t["nonconvex"], 1) if t["nonconvex"] is not None else "–"
        shown.add_row(
            cell(entry["name"], "bold"), str(entry["layers"]), loss, percent(t["middle_error"]),
            percent(t["valley"], 1), percent(t["below_chance"], 1), str(t["minima"]), convex, lowest, highest,
        )  # fmt: skip
    console = results()
    console.print(shown)
    for line in about["says"]:
        console.print(cell(line))
    side = about["resolution"]
    words = f"{side} x {side} points, {about['images']} training pictures of {about['data']}, seed {about['seed']}"
    console.print(cell(words, "dim"))
    console.print(cell("results  ", "dim").append(about["folder"], "bold"))
