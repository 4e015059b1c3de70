"""Lesions on the terminal: one row a unit, the curves, what they mean."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

ROWS = 60  # units in the table; of more the most harmful


def show(document: dict[str, Any], files: Sequence[str]) -> None:
    """The table of units, the curves, what they mean, and where the files are."""
    from residua.cli.terminal import cell, counted, percent, results
    from residua.report.lesions import sentence

    console = results()
    base = document["base"]
    head = f"{document['arch']} on {document['data']}, {document['split']}: {counted(base['n'], 'picture')}"
    console.print(cell(head, "bold"))
    console.print(
        cell(f"intact: {base['wrong']:,} wrong, {percent(base['top1_error'])}"), cell(document["engine"], "dim")
    )
    if document["units"]:
        console.print(units(document))
        console.print(cell(sentence(document).replace("\u00a0", " ")))
        each = f"{document['nets']} nets took the multiply-adds of {document['cost']:.1f}"
        console.print(cell(f"{each}, in {document['seconds']:.0f} s", "dim"))
    for part in ("random", "swaps"):
        if document[part]:
            console.print(curve(document, part))
    for note in document["notes"]:
        console.print(cell(note, "dim"))
    for file in files:
        console.print(cell(file, "bold"))


def units(document: dict[str, Any]) -> "Table":
    """One row a unit: the error without it, how much more that is, and a bar."""
    from residua.cli.results import bar_of
    from residua.cli.terminal import cell, percent, table
    from residua.report.lesions import POINT

    rows, base = document["units"], document["base"]["top1_error"]
    title = None
    if len(rows) > ROWS:
        title = f"the {ROWS} of {len(rows)} that are missed most"
        rows = sorted(rows, key=lambda r: -r["wrong"])[:ROWS]
    numbers = ("wrong", "error", "more", "95 % interval", "loss")
    shown = table("without", *numbers, "", right=numbers, title=title)
    most = max(r["top1_error"] for r in rows) or 1.0
    for row in rows:
        more = row["top1_error"] - base
        low, high = row["interval"]
        shown.add_row(
            cell(row["unit"] + ("" if row["keeps_shape"] else "  (changes shape)")),
            f"{row['wrong']:,}", percent(row["top1_error"]), f"{100 * more:+.2f}",
            f"{percent(low)} to {percent(high)}", f"{row['loss']:.3f}",
            cell(bar_of(row["top1_error"] / most, 16), "blue" if more < POINT else "red"),
        )  # fmt: skip
    return shown


def curve(document: dict[str, Any], part: str) -> "Table":
    """Mean and range of the error for each number of units, or the error of each order."""
    from residua.cli.results import bar_of
    from residua.cli.terminal import cell, percent, table

    n, word = document["curves"]["n"], document["word"]
    points: dict[str, list[float]] = {}
    for row in document[part]:
        name = f"{row['k']}" if part == "random" else f"{row['tau']:.3f}"
        points.setdefault(name, []).append(row["top1_error"])
    name = f"random {word}s out" if part == "random" else "Kendall's tau"
    title = f"{'without random' if part == 'random' else 'with exchanged'} {word}s, {n:,} pictures"
    numbers = (name, "nets", "error", "lowest", "highest")
    shown = table(*numbers, "", right=numbers, title=title)
    named = points if part == "random" else dict(sorted(points.items(), reverse=True))
    for name, errors in named.items():
        mean = sum(errors) / len(errors)
        shown.add_row(
            name, f"{len(errors)}", percent(mean), percent(min(errors)), percent(max(errors)),
            cell(bar_of(mean, 16), "red"),
        )  # fmt: skip
    return shown
