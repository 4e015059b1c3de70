"""A pruning on the terminal: one row a cut, the fine-tunes, the test before and after."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def show(document: dict[str, Any]) -> None:
    """The path, what was kept, the test, and where the files are."""
    from residua.cli.terminal import cell, counted, percent, results, short

    console, cut = results(), document["chosen"]
    gone = counted(len(cut["removed"]), "unit")
    console.print(
        cell(f"{document['arch']} on {document['data']}: {gone} of {sum(document['depths'])} taken out", "bold")
    )
    console.print(cell(document["engine"], "dim"))
    for note in document["notes"]:
        console.print(cell(f"note: {note}", "yellow"))
    console.print(path(document))
    if document["tuned"]:
        console.print(tuned(document))
    first = document["path"][0]
    console.print(
        cell(f"{cut['name']}: ", "bold").append(
            f"{cut['params']:,} of {first['params']:,} parameters, "
            f"{short(cut['macs'])} of {short(first['macs'])} MACs, {cut['speed']:.2f} times as fast",
            "not bold",
        )
    )
    for word, found in document["test"].items():
        low, high = found["interval"]
        console.print(
            cell(f"test error {word:6}  ").append(f"{percent(found['top1_error']):>8}", "bold"),
            f"  {found['wrong']:,} of {found['n']:,} wrong",
            cell(f"  95 % interval {percent(low)} to {percent(high)}", "dim"),
        )
    for file in document["files"]:
        console.print(cell(f"wrote {file}", "dim"))


def path(document: dict[str, Any]) -> "Table":
    """One row a cut: what left, the held-out error, and what the net costs."""
    from residua.cli.terminal import cell, percent, short, table

    numbers = ("units", "wrong", "held-out error", "parameters", "MACs", "ms", "speed")
    title = (
        f"one unit after the other, on {document['held_out']:,} held-out pictures; ms: for {document['batch']} pictures"
    )
    shown = table(*numbers[:1], "without", *numbers[1:], "", right=numbers, title=title)
    kept = len(document["chosen"]["removed"])
    for i, row in enumerate(document["path"]):
        shown.add_row(
            str(row["units"]), cell(row["unit"] or "", "dim"), f"{row['wrong']:,}", percent(row["top1_error"]),
            f"{row['params']:,}", short(row["macs"]), f"{1000 * row['seconds']:.1f}", f"{row['speed']:.2f}",
            "kept" if i == kept else "", style="bold" if i == kept else "dim" if i > kept else "",
        )  # fmt: skip
    return shown


def tuned(document: dict[str, Any]) -> "Table":
    """One row a fine-tune."""
    from residua.cli.terminal import percent, table

    numbers = ("units", "wrong", "held-out error")
    epochs = document["finetune_epochs"]
    shown = table(*numbers, "", right=numbers, title=f"after a fine-tune of {epochs:g} epochs")
    words = {True: "good enough", False: "not good enough", None: "the whole net, to compare with"}
    best = [len(document["chosen"]["removed"]), document["chosen"]["wrong"]]
    for row in document["tuned"]:
        kept = document["chosen"]["tuned"] and [len(row["removed"]), row["wrong"]] == best
        shown.add_row(
            str(row["units"]), f"{row['wrong']:,}", percent(row["top1_error"]),
            "kept" if kept else words[row["within"]], style="bold" if kept else "",
        )  # fmt: skip
    return shown
