"""``residua report RUN``: draw a run's pictures and page again."""

from pathlib import Path
from typing import Annotated

import typer

from residua.cli.options import Debug, Json
from residua.errors import DataError


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a run folder, finished or not")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw a run's curves, its confusion and its report.html again.

    From the run folder alone: no model is loaded and no data are read. The page is one file that needs no network:
    what was trained on what, curves, mistakes, each decision, how to go on.

    Examples:
      residua report runs/digits-cifar_resnet20-1
    """
    folder = Path(run)
    if not folder.is_dir():
        raise DataError(f"no run folder {run}: give the folder that `residua train` wrote")
    from residua.report import draw

    page = draw(folder)
    from residua.cli.terminal import emit

    if json:
        emit({"run": str(folder), "report": str(page)})
    else:
        print(page)
