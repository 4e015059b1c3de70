"""``residua train --folds K``: every fold's training in turn, then what they say together."""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from residua.engine import Decision
    from residua.job import Event, TrainOptions
    from residua.report.data_page import PictureOf


def cross_validate(options: "TrainOptions", json: bool) -> dict[str, Any]:
    """Train the folds that are left, show them, draw the pages; what ``--json`` prints."""
    from residua.cli.live import follow
    from residua.cli.terminal import say
    from residua.evaluate.labels import read_predictions
    from residua.job import Finished
    from residua.report import draw, label_errors
    from residua.study.folds import folds

    made = folds(options)
    said: set[Decision] = set()
    done = made.k - len(made.left())
    if done:
        say(f"{done} of {made.k} folds are trained already")
    for number, events in made.trainings():
        for event in follow(headed(new(events, said), f"fold {number} of {made.k}")):
            if isinstance(event, Finished):
                draw(event.run)
    for number in range(1, made.k + 1):
        if not (made.run(number) / "report.html").is_file():
            draw(made.run(number))  # one that was stopped after its test
    found = made.summarise()
    rows = read_predictions(made.folder / "predictions.csv")
    suspects = label_errors(made.folder, rows, pictures(options))
    page = draw(made.folder)
    document = {"run": str(made.folder), **found, "label_errors": len(suspects), "report": str(page)}
    if not json:
        _tell(made.folder, found, len(suspects), page, options.data)
    return document


def headed(events: "Iterable[Event]", title: str) -> "Iterator[Event]":
    """The events under a heading that is said with the first: a fold that is refused is one line."""
    from residua.cli.terminal import say

    for i, event in enumerate(events):
        if i == 0:
            say(title)
        yield event


def new(events: "Iterable[Event]", said: "set[Decision]") -> "Iterator[Event]":
    """The events, without the decisions that an earlier fold has told in the same words."""
    from residua.job import Decided

    for event in events:
        if isinstance(event, Decided):
            fresh = tuple(d for d in event.decisions if d not in said)
            said.update(fresh)
            if not fresh:
                continue
            event = Decided(fresh)
        yield event


def pictures(options: "TrainOptions") -> "PictureOf":
    """The upright picture of a name of the data, or None where it cannot be read any more."""
    from residua.data.decode import BadPicture, as_image
    from residua.data.sources import open_data

    dataset = open_data(options.data, root=options.root, seed=options.seed, download=False)
    where = {name: (split, i) for split in dataset.splits.values() for i, name in enumerate(split.names)}

    def picture(name: str) -> Any:
        split, i = where.get(name, (None, 0))
        try:
            return None if split is None else as_image(split.images[i])
        except BadPicture:
            return None

    return picture


def _tell(folder: Path, found: dict[str, Any], suspects: int, page: Path, data: str) -> None:
    """Each fold, their mean and spread, all answers together, and what to look at next."""
    from residua.cli.results import bar_of
    from residua.cli.terminal import cell, counted, duration, percent, results, table

    console = results()
    numbers = ("pictures", "wrong", "error", "macro F1", "trained in")
    shown = table("fold", *numbers, "", right=numbers)
    most = max(f["top1_error"] for f in found["folds"]) or 1
    for f in found["folds"]:
        shown.add_row(
            str(f["fold"]), f"{f['n']:,}", f"{f['wrong']:,}", percent(f["top1_error"]), f"{f['macro_f1']:.3f}",
            duration(f["seconds"] or 0), cell(bar_of(f["top1_error"] / most, 10), "red"),
        )  # fmt: skip
    console.print()
    console.print(shown)
    pooled, mean, std = found["pooled"], found["mean"], found["std"]
    low, high = pooled["interval"]
    spread = f"{percent(mean['top1_error'])} ± {percent(std['top1_error'])}" if std else percent(mean["top1_error"])
    console.print(cell("folds   "), cell(spread, "bold"), cell("mean ± standard deviation of the folds' errors", "dim"))
    console.print(
        cell("pooled  "),
        cell(percent(pooled["top1_error"]), "bold"),
        cell(
            f"{pooled['wrong']:,} of {pooled['n']:,} wrong, each picture answered by the net that had not seen it; "
            f"95 % interval {percent(low)} to {percent(high)}"
            + (f", by {pooled['groups']:,} groups" if "groups" in pooled else ""),
            "dim",
        ),
    )
    if suspects:
        labels = folder / "label_errors.html"
        console.print(cell("labels  "), cell(f"{counted(suspects, 'label')} may be wrong: {labels}", "yellow"))
    console.print(cell("run     "), cell(str(folder), "bold"))
    console.print(cell("report  "), cell(str(page), "bold"))
    console.print(
        cell("next    "), cell(f"residua train {shlex.quote(data)}", "cyan"), cell("one net of all of it", "dim")
    )
