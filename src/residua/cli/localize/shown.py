"""The evaluation of a localizer on the terminal: its errors beside those of the mean box, and the classes."""

from typing import TYPE_CHECKING

from residua.cli.results import bar_of
from residua.cli.terminal import cell, counted, percent, results, table

if TYPE_CHECKING:
    from residua.localize.counts import LocalizationEvaluation


def show(found: "LocalizationEvaluation") -> None:
    """Print it."""
    console = results()
    low, high = (100 * v for v in found.interval(found.top1_localization_error))
    words = f"{counted(found.n, 'picture')}; 95 % interval of the top-1 localization error {low:.1f} to {high:.1f} %"
    console.print(cell(words, "dim"))
    errors = table("error", "top 1", "top 5", "class known", "", right=("top 1", "top 5", "class known"))
    errors.add_row(
        cell("localization", "bold"), cell(percent(found.top1_localization_error), "bold"),
        percent(found.top5_localization_error), percent(found.given_localization_error),
        cell("right class, and overlap 0.5 or more", "dim"),
    )  # fmt: skip
    errors.add_row(
        "with the mean box", percent(found.mean_box_top1_error), "", percent(found.mean_box_given_error),
        cell("of the class in train: without looking", "dim"),
    )  # fmt: skip
    errors.add_row("class alone", percent(found.top1_error), percent(found.top5_error), "", "")
    console.print(errors)
    numbers = ("n", "wrong", "class", "place", "mean box")
    shown = table("class", *numbers, "right", right=numbers)
    for c in found.classes:
        if c.n:
            each = (f"{v:,}" for v in (c.n, c.wrong, c.class_wrong, c.given_wrong, c.mean_box_wrong))
            shown.add_row(cell(c.name), *each, cell(bar_of(1 - c.wrong / c.n, 10), "green"))
    console.print(shown)
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in found.kinds.items() if n)
    console.print(cell(f"first answers: {kinds}; mean overlap {found.mean_overlap:.2f} with the class known", "dim"))
    console.print()
