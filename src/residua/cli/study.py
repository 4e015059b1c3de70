"""``residua study``: plain and residual nets of several depths, side by side: does depth help?"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from residua.cli.options import (
    DATA_HELP,
    RECIPE_HELP,
    Address,
    Debug,
    Json,
    Limit,
    Root,
    choice,
    data_names,
    recipes,
    starting,
)
from residua.cli.training_options import option
from residua.errors import DataError, NumericError, UsageError

if TYPE_CHECKING:
    from residua.study import StudyOptions

NETS, RECIPE, DATA, MACHINE, RUN = "nets", "recipe", "data", "machine", "run"
#: What may be said with --resume: where and how many at a time.
FREE = ("root", "device", "jobs", "engine", "address")

T = TypeVar("T")


def study(
    ctx: typer.Context,
    depths: Annotated[str | None, option("--depths", "layers of the nets", NETS, metavar="N,N", shown="20,56")] = None,
    kinds: Annotated[
        str | None,
        option(
            "--kinds",
            "plain, residual, preact, resnext, or a net's name with {depth} in it, such as wrn{depth}_4",
            NETS,
            metavar="KIND,KIND",
            shown="plain,residual",
        ),
    ] = None,
    shortcuts: Annotated[
        str | None,
        option("--shortcuts", "shortcuts of the nets that have any: A, B, C", NETS, metavar="A,B,C", shown="the nets'"),
    ] = None,
    widths: Annotated[
        str | None,
        option(
            "--widths",
            "deeper against wider: factors on every width; a wider net gets the depth that costs as much",
            NETS,
            metavar="K,K",
            shown="1",
        ),
    ] = None,
    norm: Annotated[
        str | None,
        option("--norm", "with and without batch norm: batch, none", NETS, metavar="NORM,NORM", shown="batch"),
    ] = None,
    drop_depth: Annotated[
        str | None,
        option(
            "--drop-depth",
            "stochastic depth: probabilities of dropping the last unit, for nets with shortcuts",
            NETS,
            metavar="P,P",
            shown="0",
        ),
    ] = None,
    seeds: Annotated[
        str | None, option("--seeds", "how many seeds, or which: 0,1,2", NETS, metavar="N|N,N", shown="3")
    ] = None,
    gradients: Annotated[bool, option("--gradients", "log and draw the gradient's norm in every unit", NETS)] = False,
    recipe: Annotated[
        str | None,
        option("--recipe", RECIPE_HELP, RECIPE, metavar="NAME", shown="quick", autocompletion=starting(recipes)),
    ] = None,
    epochs: Annotated[
        float | None,
        option("--epochs", "how often to see each picture", RECIPE, metavar="N", shown="the recipe's; 28 on digits"),
    ] = None,
    sets: Annotated[
        list[str] | None,
        option("--set", "set any field of the recipe; may be given again", RECIPE, metavar="FIELD=VALUE"),
    ] = None,
    data: Annotated[
        str | None,
        option("--data", DATA_HELP, DATA, metavar="DATA", shown="digits", autocompletion=starting(data_names)),
    ] = None,
    root: Root = None,
    limit: Limit = None,
    image_size: Annotated[
        int | None,
        option("--image-size", "side of the picture that the nets see", DATA, metavar="PX", min=1, shown="auto"),
    ] = None,
    jobs: Annotated[
        int | None,
        option("--jobs", "trainings at a time", MACHINE, metavar="N", min=1, shown="one for each core or GPU"),
    ] = None,
    engine: Annotated[
        str | None,
        option(
            "--engine",
            "local: this machine; ray: a Ray cluster, all of whose machines see the study's folder",
            MACHINE,
            metavar="local|ray",
            shown="local",
        ),
    ] = None,
    address: Address = None,
    device: Annotated[
        str | None,
        choice("--device", "where to compute", section=MACHINE, shown="auto", also="auto|cpu|cuda|cuda:N|mps"),
    ] = None,
    precision: Annotated[
        str | None, choice("--precision", "numbers of the forward pass", section=MACHINE, shown="auto")
    ] = None,
    out: Annotated[
        str | None,
        option("--out", "its folder; one that was begun goes on", RUN, metavar="FOLDER", shown="runs/study-DATA-N"),
    ] = None,
    resume: Annotated[
        str | None, option("--resume", "go on with a study that was stopped", RUN, metavar="FOLDER")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Train nets of several depths and kinds side by side, and say whether depth helps.

    Without arguments: plain and residual nets of 20 and 56 layers on handwritten digits with three seeds, in about
    three minutes: the degradation of He et al. 2015, fig. 6. Every training is a run folder. Ctrl-C saves;
    --resume goes on, and what is finished is not trained again. The test pictures are watched after every epoch, as the
    paper plots them, and nothing is chosen by them.

    Examples:
      residua study
      residua study --kinds plain,residual,preact --depths 20,44,110 --seeds 5
      residua study --data cifar10 --recipe he2015-cifar --depths 20,32,44,56,110 --out runs/figure-6
      residua study --kinds residual --widths 1,2,4
      residua study --norm batch,none --gradients --depths 20
      residua study --resume runs/study-digits-1
    """
    from residua.cli.live import waiting

    given = {k: v for k, v in ctx.params.items() if not _unsaid(v) and k not in ("json", "debug")}
    options = _options(given)
    from residua.cli.live_study import follow

    with waiting("loading torch"):
        from residua.report.study import draw
        from residua.study import Finished
        from residua.study import study as events

    folder, document = Path(), dict[str, Any]()
    for event in follow(events(options)):
        if isinstance(event, Finished):
            folder, document = event.folder, event.document
    with waiting("drawing"):
        page = draw(folder)
    if json:
        from residua.cli.terminal import emit

        emit(_document(folder, document, page))
    else:
        from residua.cli.live_study import show

        show(folder, document, page)
    _raise_failed(document["failed"], folder)


def _unsaid(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, list | tuple) and not value)


def _options(given: dict[str, Any]) -> "StudyOptions":
    """The options that flags give, or those of the study that goes on. Raises UsageError or DataError."""
    from residua.study import StudyOptions, resumed
    from residua.study.options import ON_DIGITS
    from residua.training.recipe import recipe as find

    folder = given.pop("resume", None)
    if folder is not None:
        if fixed := [k for k in given if k not in FREE]:
            flag = {"sets": "set"}.get(fixed[0], fixed[0]).replace("_", "-")
            raise UsageError(f"--{flag} cannot be given with --resume: the study goes on as it was begun")
        return resumed(folder, **given)
    unsaid = not given.keys() & {"recipe", "epochs", "sets"} and given.get("data", "digits") == "digits"
    epochs = ON_DIGITS.epochs if unsaid else given.pop("epochs", None)
    made = find(given.pop("recipe", "quick"), given.pop("sets", []), epochs=epochs)
    for name, kind, what in LISTS:
        if name in given:
            given[name] = _list(name, given[name], kind, what)
    return StudyOptions(recipe=made, **given)


LISTS: tuple[tuple[str, Callable[[str], Any], str], ...] = (
    ("depths", int, "whole numbers, such as 20,56"),
    ("widths", int, "whole factors, such as 1,2,4"),
    ("seeds", int, "how many, or which: 0,1,2"),
    ("drop_depth", float, "probabilities, such as 0,0.5"),
    ("kinds", str, "kinds, such as plain,residual"),
    ("shortcuts", str, "letters, such as A,B"),
    ("norm", str, "batch,none"),
)


def _list(name: str, text: str, kind: Callable[[str], T], what: str) -> tuple[T, ...]:
    """The words that commas part; a single number of seeds counts them. Raises UsageError."""
    words = [w.strip() for w in text.split(",") if w.strip()]
    try:
        values = tuple(kind(w) for w in words)
    except ValueError:
        raise UsageError(f"--{name.replace('_', '-')} {text}: give {what}") from None
    if name == "seeds" and len(values) == 1 and "," not in text:
        return tuple(kind(str(i)) for i in range(int(words[0])))
    return values


def _document(folder: Path, document: dict[str, Any], page: Path) -> dict[str, Any]:
    """What ``--json`` prints: the results, with run folders as they can be opened from here."""
    cells = [c | {"run": str(folder / c["run"])} for c in document["cells"]]
    return {"study": str(folder), "report": str(page), **document, "cells": cells}


def _raise_failed(failed: list[dict[str, Any]], folder: Path) -> None:
    """Raise what the cells that failed come to, after everything else is written."""
    if not failed:
        return
    kind = NumericError if all(f["exit_code"] == NumericError.exit_code for f in failed) else DataError
    told = "; ".join(f"{f['name']}: {f['error']}" for f in failed[:3]) + ("; ..." if len(failed) > 3 else "")
    many = f"{len(failed)} cell" + "s" * (len(failed) > 1)
    raise kind(f"{many} failed, the others are kept; --resume {folder} tries again. {told}")
