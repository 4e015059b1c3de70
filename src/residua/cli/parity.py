"""A model and its export beside each other, on the terminal."""

from typing import TYPE_CHECKING

from residua.cli.terminal import cell, counted, percent, results, table

if TYPE_CHECKING:
    from residua.export.parity import Parity


def show(parity: "Parity") -> None:
    """A row for each batch, then the accuracy where there is one."""
    console = results()
    numbers = ("batch", "pixels", f"largest difference of {parity.unit}", "at most", "same answers")
    shown = table(*numbers, "", right=numbers, title=parity.of)
    for r in parity.rows:
        limit = "–" if r.limit is None else f"{r.limit:.1e}"
        word = cell("ok", "green") if r.agrees else cell("differs", "bold red")
        shown.add_row(
            f"{r.batch}", f"{r.height} x {r.width}", f"{r.difference:.1e}", limit, f"{r.same} of {r.answers}", word
        )  # fmt: skip
    console.print(shown)
    a = parity.accuracy
    if a is None:
        return
    console.print(
        cell(f"accuracy on {counted(a.n, 'picture')}: model {percent(a.model / a.n)} ({a.model:,} right), "),
        cell(f"export {percent(a.exported / a.n)} ({a.exported:,} right); {a.same:,} answers are the same", "bold"),
        sep="",
    )
    if not a.agrees:
        console.print(cell(f"{a.lost:.2f} points are lost, at most {a.tolerance:g} may be", "bold red"))
