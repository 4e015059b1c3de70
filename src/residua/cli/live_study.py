"""A study on the terminal: one live table of all cells, elsewhere a line for each that ends; then its results."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residua.cli.results import bar_of
from residua.cli.terminal import cell, counted, duration, percent, progress, results, say, short, table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

    from residua.study import Event, Planned

BAR = 20  # characters of a cell's bar


def follow(events: "Iterable[Event]") -> "Iterator[Event]":
    """The events of a study, shown on stderr while they pass."""
    from residua.cli.live import waiting
    from residua.study import Planned

    coming = iter(events)
    with waiting("reading the data, counting what each net costs"):
        first = next(coming, None)
    if not isinstance(first, Planned):
        return
    board = Board(first)
    for line in board.title():
        say(line)
    with _live(board):
        yield first
        for event in coming:
            board.hear(event)
            yield event


@contextmanager
def _live(board: "Board") -> Iterator[None]:
    """On a terminal the board, redrawn four times a second and gone at the end; elsewhere its lines are enough."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.live import Live

    board.quiet = True
    with Live(board, console=progress(), refresh_per_second=4, transient=True, redirect_stdout=False):
        yield


class Board:
    """Every cell of a study: where it is, its training error, what became of it."""

    def __init__(self, planned: "Planned") -> None:
        """All cells as they stand before the first one begins."""
        self.planned, self.quiet = planned, False
        self.began = time.monotonic()
        self.state: dict[str, dict[str, Any]] = {c.name: {"cell": c, "is": "waiting"} for c in planned.cells}
        for name in planned.finished:
            self.state[name]["is"] = "kept"
        self.work = sum(c.macs for c in planned.cells if c.name not in planned.finished)

    def title(self) -> list[str]:
        """What is studied, and how."""
        p, left = self.planned, len(self.planned.cells) - len(self.planned.finished)
        lines = [
            f"{counted(len(p.cells), 'training')} on {p.data}, {p.side_by_side} at a time on {p.where}: {p.folder}"
        ]
        return lines + ([f"{len(p.finished)} finished before, {left} to go"] if p.finished else [])

    def hear(self, event: "Event") -> None:
        """Take note of an event; where there is no terminal, a line for each cell that ends."""
        from residua.study import Began, Done, Failed, Moved

        if isinstance(event, Began):
            self.state[event.cell] |= {"is": "training", "step": event.step, "steps": event.steps, "error": None}
        elif isinstance(event, Moved):
            self.state[event.cell] |= {"step": event.step, "error": event.train_error}
        elif isinstance(event, Done):
            self.state[event.cell] |= {"is": "done", "result": event.result}
            r = event.result
            self._line(f"{event.cell}  train error {percent(r['train_error'])}  test error {percent(r['test_error'])}")
        elif isinstance(event, Failed):
            self.state[event.cell] |= {"is": "failed", "why": event.error}
            self._line(f"{event.cell}  failed: {event.error}")

    def _line(self, words: str) -> None:
        if not self.quiet:
            ended = sum(s["is"] in ("done", "failed", "kept") for s in self.state.values())
            say(f"[{ended}/{len(self.state)}] {words}  {self.left()}".rstrip())

    def left(self) -> str:
        """The time that is left at the pace so far, by multiply-adds; "" before there is one."""
        done = 0.0
        for s in self.state.values():
            if s["is"] in ("done", "failed"):
                done += s["cell"].macs
            elif s["is"] == "training" and s["steps"]:
                done += s["cell"].macs * s["step"] / s["steps"]
        spent = time.monotonic() - self.began
        if done < 0.02 * self.work or not self.work or done >= self.work:
            return ""
        return f"about {duration(spent / done * (self.work - done))} left"

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """The table of cells, no higher than the terminal, and the time that is left."""
        rows = self._rows(max(4, options.size.height - 7))
        shown = table(
            "cell", "", "trained", "train error", "test error", right=("trained", "train error", "test error")
        )
        for state in rows:
            _row(shown, state)
        yield shown
        ended = sum(s["is"] in ("done", "failed", "kept") for s in self.state.values())
        hidden = len(self.state) - len(rows)
        more = f"   {counted(hidden, 'cell')} not shown" if hidden else ""
        yield cell(f"{ended} of {len(self.state)} ended   {self.left()}{more}", "dim")

    def _rows(self, height: int) -> list[dict[str, Any]]:
        """The cells in order; where they do not all fit, those that train, then failed, waiting and ended ones."""
        states = list(self.state.values())
        if len(states) <= height:
            return states
        order = ("training", "failed", "waiting", "done", "kept")
        chosen = sorted(states, key=lambda s: order.index(s["is"]))[:height]
        return [s for s in states if any(s is c for c in chosen)]


def _row(shown: "Table", state: dict[str, Any]) -> None:
    kind, found = state["is"], state.get("result")
    name = cell(state["cell"].name, "bold" if kind == "training" else "dim" if kind == "waiting" else "")
    if kind == "training":
        share = state["step"] / max(1, state["steps"])
        error = percent(state["error"]) if state["error"] is not None else "–"
        shown.add_row(name, cell(f"{bar_of(share, BAR):{BAR}}", "blue"), f"{share:.0%}", error, "")
    elif kind == "done" and found is not None:
        errors = percent(found["train_error"]), cell(percent(found["test_error"]), "bold")
        shown.add_row(name, cell("done", "green"), "", *errors)
    elif kind == "failed":
        shown.add_row(name, cell(_short(f"failed: {state['why']}", 2 * BAR), "red"), "", "", "")
    else:
        shown.add_row(name, cell("waiting" if kind == "waiting" else "finished before", "dim"), "", "", "")


def _short(words: str, length: int) -> str:
    return words if len(words) <= length else words[: length - 1] + "…"


def show(folder: Path, document: dict[str, Any], page: Path) -> None:
    """The nets over their seeds, the verdict, and where everything is, on stdout."""
    console = results()
    console.print(_results(document))
    console.print(cell(document["verdict"]["headline"], "bold"))
    for finding in document["verdict"]["findings"]:
        console.print(cell(f"· {finding['sentence']}"), soft_wrap=False)
    console.print(
        cell(
            "training error: the last epoch's mean while the weights still changed, as the paper plots it; "
            "test error: of the weights that were kept (the figure ends with those of the last epoch)",
            "dim",
        )
    )
    console.print()
    console.print(cell("study   "), cell(str(folder), "bold"))
    console.print(cell("report  "), cell(str(page), "bold"))


def _results(document: dict[str, Any]) -> "Table":
    """One row a net: mean and standard deviation over the seeds."""
    groups = document["groups"]
    paper = any(g["published"] for g in groups)
    numbers = ("layers", "parameters", "MACs", "n", "train error", "test error", "published")
    columns = ["kind", "layers", "net", "parameters", "MACs", "n", "train error", "test error"]
    shown = table(*columns, *(["published"] if paper else []), right=numbers)
    for i, g in enumerate(groups):
        last = i + 1 == len(groups) or groups[i + 1]["series"] != g["series"]
        n = str(g["n"]) + (f" ({g['failed']} failed)" if g["failed"] else "")
        row: list[Any] = [cell(g["series"]), str(g["depth"]), cell(g["net"], "dim"), f"{g['params']:,}"]
        row += [short(g["macs"]), n, _spread(g["train_error"]), cell(_spread(g["test_error"]), "bold")]
        if paper:
            row.append(percent(g["published"]["test_error"]) if g["published"] else "")
        shown.add_row(*row, end_section=last)
    return shown


def _spread(found: dict[str, Any] | None) -> str:
    """``1.39 ± 0.21 %``."""
    if found is None:
        return "–"
    if found["std"] is None:
        return percent(found["mean"])
    return f"{100 * found['mean']:.2f} ± {100 * found['std']:.2f} %"
