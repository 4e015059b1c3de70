"""A check on the terminal: what the data are, what was found, what is proposed, where the page is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from residua.cli.results import bar_of
from residua.cli.terminal import cell, counted, duration, percent, results, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

CLASSES = 24  # rows of the class table; of more classes the largest and the smallest are shown
PATHS = 3  # examples of a finding
BAR, NARROW = 14, 8  # the cells of a bar; the second where three splits stand side by side in 80 columns
HEADS = {
    "must": ("to be mended", "bold red", "✗"),
    "should": ("worth a look", "bold yellow", "!"),
    "note": ("good to know", "bold", "·"),
}


def show(document: Mapping[str, Any]) -> None:
    """The whole check on stdout."""
    console = results()
    console.print()
    console.print(cell(document["name"], "bold"), cell(headline(document), ""))
    console.print(cell(small_print(document), "dim"))
    console.print(class_table(document) if document["splits"] else "")
    for severity in HEADS:
        found = [f for f in document["findings"] if f["severity"] == severity]
        said = document["notes"] if severity == "note" else ()
        findings(console, severity, [*found, *({"sentence": f"{n}.", "todo": ""} for n in said)])
    if document["proposals"]:
        console.print(cell("proposed", "bold"))
        console.print(proposals(document["proposals"]))
        mended = not any(f["severity"] == "must" for f in document["findings"])
        console.print(cell("train   " if mended else "then    "), cell(document["command"], "cyan"))
    console.print(cell("page    "), cell(document["out"]["page"], "bold"))
    console.print(cell("table   "), cell(document["out"]["table"], "bold"))


def headline(document: Mapping[str, Any]) -> str:
    """``397 pictures, 2 classes: train 244, val 153``."""
    k = len(document["classes"])
    classes = f"{k:,} class" + ("" if k == 1 else "es")
    per = ", ".join(f"{s} {sum(n.values()):,}" for s, n in document["splits"].items())
    return f"{counted(document['pictures'], 'picture')}, {classes}" + (f": {per}" if per else "")


def small_print(document: Mapping[str, Any]) -> str:
    """Sizes, formats, colours, how long it took."""
    sizes, parts = document["sizes"], []
    if sizes:
        w, h = sizes["width"], sizes["height"]
        one = w["min"] == w["max"] and h["min"] == h["max"]
        parts.append(
            f"{w['min']} × {h['min']} px" if one
            else f"{w['min']} to {w['max']} px wide, {h['min']} to {h['max']} px high"
        )  # fmt: skip
    parts += [", ".join(f"{n:,} {kind}" for kind, n in document["formats"].items())] if document["formats"] else []
    parts += ["grey" if document["channels"] == 1 else "colour"] if sizes else []
    parts += [f"looked at in {duration(document['seconds'])}"]
    return " · ".join(parts)


def class_table(document: Mapping[str, Any]) -> "Table":
    """One row a class: pictures in each split with a bar, and what a centre crop would hide."""
    per, hidden = document["splits"], document["hidden_by_crop"].get("classes", {})
    crop = ["crop hides"] if document["hidden_by_crop"].get("mean") else []
    first = next(iter(per))
    names = list(per[first])
    title = None
    if len(names) > CLASSES:
        ordered = sorted(names, key=lambda c: -per[first][c])
        names = [*ordered[: CLASSES // 2], *ordered[-(CLASSES // 2) :]]
        title = f"the {CLASSES // 2} largest and smallest of {len(per[first]):,} classes"
    heads = [h for s in per for h in (s, " " * (1 + list(per).index(s)))]
    shown = table("class", *heads, *crop, right=(*per, *crop), title=title)
    length = BAR if len(per) < 3 else NARROW
    most = {s: max([*n.values(), 1]) for s, n in per.items()}
    for c in names:
        cells: list[Any] = []
        for s in per:
            n = per[s].get(c, 0)
            cells += [
                cell(f"{n:,}", "" if n else "red"),
                cell(bar_of(n / most[s], length), "blue" if s == "train" else "green"),
            ]
        share = hidden.get(c, {}).get("mean")
        cells += ["–" if share is None else percent(share, 0)] if crop else []
        shown.add_row(cell(c), *cells)
    return shown


def findings(console: "Console", severity: str, found: Sequence[Mapping[str, Any]]) -> None:
    """The findings of one severity, each with what to do and some names."""
    from rich.table import Table
    from rich.text import Text

    if not found:
        if severity == "must":
            console.print(cell("nothing to be mended", "bold green"), end="\n\n")
        return
    title, style, mark = HEADS[severity]
    rows = Table.grid(padding=(0, 1, 0, 0))
    rows.add_column(width=2, justify="right")
    rows.add_column(overflow="fold", max_width=100)
    for f in found:
        words = Text.assemble(cell(f["sentence"]), " ", cell(f["todo"], "dim"))
        rows.add_row(Text(mark, style), words)
        if severity != "note" or f.get("kind") == "not-used":
            for line in examples(f):
                rows.add_row("", cell(f"  {line}", "dim"))
    console.print(cell(title, style))
    console.print(rows)
    console.print()


def examples(found: Mapping[str, Any]) -> Iterator[str]:
    """Some of what was found, a line each."""
    for group in found["examples"][:PATHS]:
        if len(group) == 1:
            p = group[0]
            yield p["path"] + (f"  ({p['remark']})" if p["remark"] else "")
        else:
            yield " = ".join(p["path"] for p in group[:3]) + (" = ..." if len(group) > 3 else "")
    if (rest := found["groups"] - PATHS) > 0:
        yield f"and {rest:,} more"


def proposals(found: Sequence[Mapping[str, Any]]) -> "Table":
    """What suits the data, and why; what training does by itself is dim, the rest is in the command below."""
    shown = table("what", "proposed", "because")
    for p in found:
        style = "dim" if p["automatic"] else ""
        value = cell(p["value"], "" if p["automatic"] else "bold")
        shown.add_row(cell(p["what"], style), value, cell(p["why"], style))
    return shown
