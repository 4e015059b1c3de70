"""``residua describe --history``: the nets that won ImageNet, as a table or drawn to scale."""

from dataclasses import asdict
from pathlib import Path


def tell(target: Path | None, json: bool) -> None:
    """Draw the history where a target is given, and print it."""
    from residua.cli.live import waiting

    with waiting("drawing" if target else "loading"):
        from residua.report.history import WINNERS

        if target:
            _draw(target)
    if json:
        from residua.cli.terminal import emit

        drawn = {"drawing": str(target)} if target else {}
        return emit([asdict(w) | drawn for w in WINNERS])
    from residua.cli.terminal import cell, percent, results, table

    shown = table("year", "net", "layers", "top-5 error", "drawn from", "source", right=("layers", "top-5 error"))
    for w in WINNERS:
        shown.add_row(
            str(w.year), cell(w.name, "bold"), str(w.layers), percent(w.top5), cell(w.row or "–"), cell(w.source, "dim")
        )
    console = results()
    console.print(shown)
    console.print(cell("top-5 error of the entry on the test set of the ImageNet challenge; VGG came second", "dim"))
    if target:
        console.print(cell("drawn    ", "dim").append(str(target), "bold"))


def _draw(target: Path) -> None:
    from residua.nn.cost import cost
    from residua.nn.zoo import find
    from residua.report.canvas import draw
    from residua.report.history import WINNERS, history
    from residua.report.outline import outline

    rows = {w.row: find(w.row) for w in WINNERS if w.row}
    draw(history({name: outline(row, cost(row), whole=True) for name, row in rows.items()}), target)
