"""Explanations on the terminal: for each picture the answer, what the units add, and the answer on the way."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from residua.cli.terminal import cell, one_line, results

if TYPE_CHECKING:
    from rich.text import Text

BLOCKS = " ▁▂▃▄▅▆▇█"
#: Columns that the words in front of the bars take.
WORD = 12


def show(item: Mapping[str, Any]) -> None:
    """One picture."""
    from rich.text import Text

    from residua.cli.results import bar_of
    from residua.report.explained_sheet import verdict

    console = results()
    console.print(cell(item["name"], "bold"))
    best = item["probabilities"][0]
    line = Text.assemble(
        "  ", cell(item["prediction"], "bold"), f"  {100 * best:.1f} % ", (f"{bar_of(best, 10):10}", "green")
    )
    pairs = zip(item["classes"][1:4], item["probabilities"][1:4], strict=True)
    line.append("  " + ", ".join(f"{one_line(c)} {100 * p:.1f} %" for c, p in pairs if p >= 0.0005), "dim")
    if item["target"] != item["prediction"]:
        line.append(f"  why {one_line(item['target'])} ({100 * item['target_probability']:.1f} %)?", "yellow")
    console.print(line)
    if item["nothing"]:
        console.print(cell("  nothing at this place speaks for the class: the map is empty", "yellow"))
    if item["units"]:
        for row in _depth(item):
            console.print(row)
        console.print(cell(f"  {verdict(item)}".replace("\u00a0", " ")))
    if item["scores"]:
        s = item["scores"]
        console.print(cell(
            f"  insertion {s['insertion']:.3f} (random {s['insertion_random']:.3f}), "
            f"deletion {s['deletion']:.3f} (random {s['deletion_random']:.3f})", "dim",
        ))  # fmt: skip
    console.print()


def _depth(item: Mapping[str, Any]) -> "list[Text]":
    """Bars for what units add, what they take away, and the probability on the way; a gap between stages."""
    units: Sequence[Mapping[str, Any]] = item["units"]
    values = [float(u["contribution"]) for u in units]
    most = max(map(abs, values)) or 1.0
    rows = [_bars("for it", units, [v / most for v in values], "green")]
    if min(values) < 0:
        rows.append(_bars("against it", units, [-v / most for v in values], "red"))
    course = _bars("on the way", units, [float(u["added"]) for u in units], "blue")
    course.append(f"  {100 * item['bare']:.0f} % → {100 * units[-1]['added']:.1f} %", "dim")
    return [*rows, course]


def _bars(word: str, units: Sequence[Mapping[str, Any]], fractions: Sequence[float], colour: str) -> "Text":
    """A bar of one column for each unit, of two where there are few; anything above nothing is seen."""
    from rich.text import Text

    wide = 2 if len(units) <= 32 else 1
    line, places = Text(f"  {word:<{WORD}}", "dim"), iter(fractions)
    for _, stage in groupby(units, key=lambda u: int(u["stage"])):
        for _unit in stage:
            fraction = next(places)
            height = max(1, round(8 * min(1.0, fraction))) if fraction > 0 else 0
            line.append(BLOCKS[height] * wide, colour)
        line.append(" ")
    return line


def close(document: Mapping[str, Any]) -> None:
    """What holds for all pictures, and where the files are."""
    console = results()
    if document["why_not"]:
        console.print(cell(f"nothing by depth: {document['why_not']}", "yellow"))
    for note in document["notes"]:
        console.print(cell(note, "yellow"))
    if document["check"]:
        _checked(document)
    for file in document["files"]:
        console.print(cell(file, "bold"))


def _checked(document: Mapping[str, Any]) -> None:
    """The means of the scores, and how like the maps are to those of randomised nets."""
    console = results()
    scores = [i["scores"] for i in document["items"]]
    for word, better in (("insertion", "higher"), ("deletion", "lower")):
        own, chance = (sum(s[word + end] for s in scores) / len(scores) for end in ("", "_random"))
        console.print(cell(f"{word:<10} {own:.3f}   of random maps {chance:.3f}   {better} is better"))
    console.print(cell(f"how like the maps of the net randomised from the top ({document['check']['n']} pictures):"))
    console.print(cell("rank correlation; near 0 is good: the map shows what was learned"))
    for part, rho in document["check"]["randomised"].items():
        console.print(cell(f"  {part:<10} {rho:+.2f}"))
