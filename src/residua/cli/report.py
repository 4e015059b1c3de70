"""``residua report RUN ...``: draw a run's pictures and page again, or compare several runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from residua.cli.options import Debug, Json
from residua.errors import DataError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

OUT = "compare.html"


def report(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="a run folder, finished or not, or a cross-validation; several: compare"),
    ],
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="where the comparison of several runs goes", show_default=OUT),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw a run's curves, its confusion and its report.html again; of several runs, a page that compares them.

    From the run folders alone: no model is loaded and no data are read. The pages are single files that need no
    network. A run's: what was trained on what, curves, mistakes with their images, calibration, each decision, a model
    card, how to go on. Of several runs: figures with intervals, options that differ, curves, classes, and whether one
    is better than another on the same images by more than chance (McNemar's exact test).

    Examples:
      residua report runs/digits-cifar_resnet20-1
      residua report runs/a runs/b runs/c --out compare.html
    """
    folders = [Path(r) for r in runs]
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no run folder {folder}: give the folder that `residua train` wrote")
    if len(folders) > 1:
        return _compared(folders, Path(out or OUT), json)
    if out is not None:
        raise UsageError("--out is for the comparison of several runs; a run's report.html lies in its folder")
    from residua.cli.terminal import emit
    from residua.report import draw

    page = draw(folders[0])
    if json:
        emit({"run": str(folders[0]), "report": str(page)})
    else:
        print(page)


def _compared(folders: list[Path], out: Path, json: bool) -> None:
    """Compare the runs, write the page, and show it."""
    from residua.cli.terminal import cell, emit, results
    from residua.report import check_out, compare, compare_page

    check_out(out)
    found = compare(folders)
    compare_page(folders, out, found)
    if json:
        return emit(found | {"out": str(out)})
    console = results()
    console.print(_figures(found["runs"]))
    if found["options"]:
        console.print(_options(found))
    for line in (*found["notes"], *(p["sentence"] for p in found["pairs"])):
        console.print(cell(line))
    console.print(cell(f"wrote {out}", "dim"))


def _figures(runs: list[dict[str, Any]]) -> "Table":
    """One row a run."""
    from residua.cli.terminal import cell, duration, percent, short, table

    numbers = ("test error", "95 % interval", "macro F1", "calibration", "parameters", "multiply-adds", "trained in")
    shown = table("", "run", "net", *numbers, right=numbers)
    for r in runs:
        bounds = r["top1_error_interval"]
        shown.add_row(
            cell(r["key"], "bold"), cell(r["name"]), cell(r["arch"]),
            _or(r["top1_error"], percent), f"{percent(bounds[0])} to {percent(bounds[1])}" if bounds else "–",
            _or(r["macro_f1"], "{:.3f}".format), _or(r["ece"], percent), _or(r["params"], "{:,.0f}".format),
            _or(r["macs"], short), _or(r["seconds"], duration),
        )  # fmt: skip
    return shown


def _options(found: dict[str, Any]) -> "Table":
    """Options that differ, one column a run."""
    from residua.cli.terminal import cell, table

    shown = table("option", *(r["key"] for r in found["runs"]), title="options that differ")
    for row in found["options"]:
        shown.add_row(cell(row["option"]), *(cell("–" if v is None else _said(v)) for v in row["values"]))
    return shown


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _or(value: float | None, write: Any) -> str:
    """The value as `write` says it, or a dash."""
    return "–" if value is None else write(value)
