"""``residua depth lesion MODEL DATA``: how often is a net wrong without some of its units?"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import (
    DATA_HELP,
    BatchSize,
    Debug,
    Device,
    Exact,
    Json,
    Limit,
    Root,
    Threads,
    Workers,
    choice,
    data_names,
    starting,
)  # fmt: skip
from residua.errors import UsageError

if TYPE_CHECKING:
    from residua.depth.lesion import Order, Removal, Table, Variants
    from residua.depth.variants import Count
    from residua.engine import Engine
    from residua.pair import Pair

RANDOM, SWAP = (1, 2, 4, 8, 16), 10  # unless asked for otherwise
PART = "lesions"


def option(flag: str, help: str, shown: Any, **words: Any) -> Any:
    """An option of the lesions themselves."""
    return typer.Option(flag, help=help, show_default=str(shown), rich_help_panel=PART, **words)


def lesion(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP, autocompletion=starting(data_names))],
    only: Annotated[
        str | None,
        choice("--only", "each unit alone, random units together, or other orders", section=PART, shown="all"),
    ] = None,
    random: Annotated[
        str | None,
        option("--random", "how many random units to leave out together", "1,2,4,8,16", metavar="K,K,..."),
    ] = None,
    seeds: Annotated[int, option("--seeds", "draws of each number of random units", 3, metavar="N", min=1)] = 3,
    swap: Annotated[
        int | None,
        option("--swap", "orders to try in which units of a stage have changed places", SWAP, metavar="N", min=1),
    ] = None,
    curve_images: Annotated[
        int,
        option("--curve-images", "pictures that random removals and orders are counted on", 2000, metavar="N", min=1),
    ] = 2000,
    split: Annotated[
        str, choice("--split", "which split; all is everything that the data hold", section="data", shown="test")
    ] = "test",
    limit: Limit = None,
    root: Root = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    precision: Exact = "fp32",
    threads: Threads = None,
    workers: Workers = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="a new folder for lesion.json and lesions.png",
            show_default="runs/lesion-MODEL-N",
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Count a net's errors without each of its units.

    Then without several random units, and with units in another order. A unit that is left out leaves its shortcut; a
    layer of a plain net or of VGG leaves the identity, or zero-padding where the shape changes. The lesions of one
    batch share whatever they have in common: all units take about half of what as many evaluations would. The model
    is never changed.

    Examples:
      residua depth lesion runs/digits-cifar_resnet20-1 digits
      residua depth lesion resnet56.safetensors cifar10 --only units --json
      residua depth lesion resnet56.safetensors cifar10 --random 1,5,10,20 --seeds 10 --swap 40
    """
    from residua.cli.files import model_file, runs_folder
    from residua.data.names import check_spec

    path, numbers = model_file(model), _numbers(random)
    check_spec(data)
    target = runs_folder("lesion", path, out)
    from residua.cli.live import waiting

    with waiting("loading torch, the model and the data"):
        from residua.depth.lesion import Variants
        from residua.pair import pair

        found = pair(path, data, split=split, root=root, limit=limit)
        engine = found.engine(device=device, precision=precision, compile="off", threads=threads, workers=workers)
        made = Variants(engine.place(found.net))
        drawn = _drawn(made, only, numbers, seeds, swap)
    document: dict[str, Any] = {
        "model": str(path),
        "arch": found.header.row.name,
        "data": found.dataset.name,
        "split": split,
        "engine": engine.describe(),
        "word": "unit" if any(link.unit for link in made.removable) else "layer",
        "chance": 1 - 1 / len(found.classes),
        "units": [],
        "random": [],
        "swaps": [],
    }
    began = time.perf_counter()
    if drawn.removals or drawn.orders:
        document |= _curves(made, drawn, found, engine, (batch_size, curve_images))
    if only in (None, "units"):
        document |= _units(made, found, engine, batch_size)
    document |= {"seconds": time.perf_counter() - began, "notes": [*found.notes, *drawn.notes]}
    files = _write(target, document)
    from residua.cli.terminal import emit

    if json:
        emit(document | {"files": files})
    else:
        from residua.cli.depth.lesion_table import show

        show(document, files)


# -- what is asked for ----------------------------------------------------------------------------------------------


def _numbers(words: str | None) -> list[int] | None:
    """``1,2,4`` as numbers. Raises UsageError for anything else."""
    if words is None:
        return None
    try:
        return [int(word) for word in words.split(",")]
    except ValueError:
        raise UsageError(f"--random {words}: give whole numbers such as 1,2,4,8") from None


@dataclass(frozen=True)
class Drawn:
    """The random part: sets of units to leave out together, other orders, and what to say about them."""

    removals: "list[Removal]"
    orders: "list[Order]"
    notes: list[str]


def _drawn(made: "Variants", only: str | None, numbers: list[int] | None, seeds: int, swap: int | None) -> Drawn:
    """What to draw: everything that the net allows, unless asked for something. Raises UsageError."""
    for flag, given, part in (("--random", numbers, "random"), ("--swap", swap, "swap")):
        if given is not None and only not in (None, part):
            raise UsageError(f"{flag} and --only {only} exclude each other: leave one out")
    notes: list[str] = []
    removals: list[Removal] = []
    orders: list[Order] = []
    if only in (None, "random"):
        default = [k for k in RANDOM if k <= len(made.removable)]
        removals = made.removals(default if numbers is None else numbers, seeds)
    if only in (None, "swap"):
        try:
            orders = made.orders(SWAP if swap is None else swap)
        except UsageError as e:
            if only or swap is not None:
                raise
            notes.append(str(e).partition(":")[0])
    return Drawn(removals, orders, notes)


# -- counting -------------------------------------------------------------------------------------------------------


def _units(made: "Variants", found: "Pair", engine: "Engine", batch_size: int) -> dict[str, Any]:
    """The counts without each unit, and of the intact net."""
    from residua.cli.live import bar
    from residua.depth.chain import keeps_shape
    from residua.depth.lesion import cost, lesions, to_json

    table: Table | None = None
    with bar(f"without each of {len(made.removable)}", found.n) as advance:
        for new in lesions(made.net, found.batches(batch_size, engine.workers), found.classes, engine):
            advance(new.n - (table.n if table else 0))
            table = new
    assert table is not None
    about = {link.path: keeps_shape(link) for link in made.removable}
    rows = [{"unit": r.path, "stage": r.stage, "keeps_shape": about[r.path], **to_json(r)} for r in table.rows]
    shape = (found.view.channels, found.view.side_px, found.view.side_px)
    nets = made.each(made.removable)
    return {"n": table.n, "base": to_json(table.base), "units": rows, "cost": cost(nets, shape), "nets": len(nets)}


def _curves(made: "Variants", drawn: Drawn, found: "Pair", engine: "Engine", sizes: tuple[int, int]) -> dict[str, Any]:
    """The counts of the random variants and the intact net, in one pass; `sizes`: pictures to a batch, and in all."""
    from residua.cli.live import bar
    from residua.depth.lesion import cost, to_json
    from residua.depth.variants import counts, first

    nets = [
        made.intact(),
        *(made.without(r.units) for r in drawn.removals),
        *(made.ordered(o.units) for o in drawn.orders),
    ]
    batch_size, most = sizes
    batches = first(found.batches(batch_size, engine.workers), most)
    now: list[Count] = []
    with bar(f"{len(nets) - 1} random variants", min(found.n, most)) as advance:
        for new in counts(made.net, nets, batches, len(found.classes), engine):
            advance(new[0].n - (now[0].n if now else 0))
            now = new
    base, *rest = map(to_json, now)
    shape = (found.view.channels, found.view.side_px, found.view.side_px)
    about = [*map(asdict, drawn.removals), *map(asdict, drawn.orders)]
    rows = [a | c for a, c in zip(about, rest, strict=True)]
    return {
        "n": base["n"],
        "base": base,
        "random": rows[: len(drawn.removals)],
        "swaps": rows[len(drawn.removals) :],
        "curves": {"n": base["n"], "base": base, "cost": cost(nets, shape), "nets": len(nets)},
    }


# -- what is left behind -----------------------------------------------------------------------------------------------


def _write(folder: Path, document: dict[str, Any]) -> list[str]:
    """lesion.json and lesions.png in a new folder."""
    from residua.cli.depth import write_json
    from residua.report.lesions import lesions as draw

    write_json(folder / "lesion.json", document)
    return [str(folder / "lesion.json"), str(draw(document, folder / "lesions.png"))]
