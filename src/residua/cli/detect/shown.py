"""The evaluation of a detector on the terminal: COCO's and VOC's numbers, the classes, the kinds of errors."""

from typing import TYPE_CHECKING

from residua.cli.results import bar_of
from residua.cli.terminal import cell, percent, results, table

if TYPE_CHECKING:
    from residua.detect.counts import BoxEvaluation


def show(found: "BoxEvaluation") -> None:
    """Print it."""
    from rich.text import Text

    console = results()
    coco = found.coco

    def number(name: str) -> str:
        value = coco[name]
        return "–" if value is None else percent(value)

    lines = Text.assemble(
        ("AP50    ", ""), (f"{number('ap50'):>8}", "bold"), f"   mean over {len(found.classes)} classes at overlap 0.5",
        (f"   VOC 2007 {percent(found.voc07)}, 2012 {percent(found.voc12)}\n", "dim"),
        ("AP      ", ""), (f"{number('ap'):>8}", "bold"), "   at overlaps 0.5 to 0.95",
        (f"   AP75 {number('ap75')}   small {number('ap_small')}, medium {number('ap_medium')}, "
         f"large {number('ap_large')}\n", "dim"),
        ("recall  ", ""), f"{number('ar100'):>8}", "   of 100 detections a picture",
        (f"   1: {number('ar1')}, 10: {number('ar10')}", "dim"),
    )  # fmt: skip
    console.print(lines)
    numbers = ("boxes", "AP", "AP50")
    shown = table("class", *numbers, "", right=numbers)
    for c in found.classes:
        ap, ap50 = ("–" if v is None else percent(v) for v in (c.ap, c.ap50))
        shown.add_row(cell(c.name), f"{c.boxes:,}", ap, cell(ap50, "bold"), cell(bar_of(c.ap50 or 0.0, 10), "green"))
    console.print(shown)
    words = ", ".join(f"{n:,} {kind}" for kind, n in found.errors.items() if n)
    console.print(cell(f"from score {found.threshold:.2f} on (best F1, {found.f1:.3f}): {words}", "dim"))
    console.print()
