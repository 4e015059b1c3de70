"""Progress on stderr: on a terminal a live line under a growing table, elsewhere one line per interval."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from residua.cli.results import bar_of
from residua.cli.terminal import cell, counted, duration, one_line, percent, progress, say, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from residua.job import Decided, Event, Paced, Started, Validated
    from residua.training.loop import Epoch, Step

ROWS = 30  # epochs in the table; of a longer training every second, third, ... one, and every best
SECONDS = 30  # between two lines elsewhere while an epoch lasts
WAITING = 0.1  # a share of the time that is worth a word
WIDE, WIDER = 92, 118  # columns of a terminal that shows the pace too; and the share of waiting
BAR = 16  # characters of a validation error's bar


def follow(events: "Iterable[Event]") -> "Iterator[Event]":
    """The events of a training, shown on stderr while they pass."""
    from residua.job import Decided, Paced, Started, Validated
    from residua.training.loop import Epoch, Step

    shown = Display(progress()) if sys.stderr.isatty() else Lines()
    listeners: dict[type, Callable[[Any], None]] = {
        Decided: shown.decided,
        Started: shown.started,
        Paced: shown.paced,
        Step: shown.step,
        Epoch: shown.epoch,
        Validated: shown.validated,
    }
    try:
        for event in _started(events):
            if type(event) in listeners:
                listeners[type(event)](event)
            yield event
    finally:
        shown.end()


def _started(events: "Iterable[Event]") -> "Iterator[Event]":
    """The events, with something that turns until the first of them come."""
    from residua.job import Started

    coming = iter(events)
    first: list[Event] = []
    with waiting("reading the data, building the net"):
        for event in coming:
            first.append(event)
            if isinstance(event, Started):
                break
    yield from first
    yield from coming


class Pace:
    """Where a training is and how fast it goes, from its first step in this session on."""

    def __init__(self, started: "Started") -> None:
        """Begin to count."""
        self.steps, self.first, self.began = started.steps, started.step, time.monotonic()

    def left(self, step: int) -> float:
        """Seconds until the last step at the mean pace so far; NaN before there is one."""
        done = step - self.first
        return (time.monotonic() - self.began) / done * (self.steps - step) if done > 0 else math.nan


def title(started: "Started") -> list[str]:
    """What is trained on what, and where it is written: a few lines."""
    roles = {"train": "to train on", "val": "to choose by", "test": "to test by"}
    images = ", ".join(f"{n:,} {roles.get(name, name)}" for name, n in started.images.items())
    length = f"{counted(started.epochs, 'epoch')} of {counted(started.steps_per_epoch, 'step')}"
    return [
        f"{started.arch} on {started.data}",
        f"{started.layers} layers, {started.params:,} parameters, {started.classes} classes, {started.side_px} px",
        f"pictures: {images}",
        length + (f", going on after step {started.step:,}" if started.step else ""),
    ]


def pace_of(epoch: "Epoch", *, short: bool = False) -> str:
    """How fast an epoch went; and the share of it that was spent waiting for data, where that is worth a word."""
    waiting = f", {percent(epoch.waiting, 0)} waiting for data" if epoch.waiting > WAITING and not short else ""
    return f"{epoch.images_per_second:,.0f} images/s{waiting}"


class Lines:
    """One line per decision, epoch and half minute, for a file or a pipe."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.early: list[Decided] = []
        self.about: Started | None = None
        self.last = 0.0

    def decided(self, event: "Decided") -> None:
        """What was decided, with the flag that changes it."""
        if self.about is None:
            self.early.append(event)
            return
        for d in event.decisions:
            say(f"  {d.what}: {d.value} ({d.why}" + (f"; {d.flag})" if d.flag else ")"))

    def started(self, event: "Started") -> None:
        """What is trained on what, and what was decided before."""
        self.about, self.pace, self.last = event, Pace(event), time.monotonic()
        for line in title(event):
            say(line)
        for early in self.early:
            self.decided(early)
        say(f"run folder: {event.run}")

    def paced(self, event: "Paced") -> None:
        """Another end than it began with."""
        assert self.about is not None
        self.about = replace(self.about, steps=event.steps, epochs=event.epochs)
        self.pace.steps = event.steps

    def step(self, event: "Step") -> None:
        """A line now and then while an epoch lasts."""
        now = time.monotonic()
        if now - self.last < SECONDS:
            return
        self.last = now
        say(
            f"{self._where(event.epoch, event.step)}  loss {event.loss:.4g}  error {percent(event.error)}"
            f"  {self._left(event.step)}"
        )

    def epoch(self, event: "Epoch") -> None:
        """A line for the epoch's means."""
        self.last = time.monotonic()
        say(
            f"{self._where(event.epoch, event.step)}  train loss {event.train_loss:.4g}"
            f"  train error {percent(event.train_error)}  {pace_of(event)}  {self._left(event.step)}"
        )

    def validated(self, event: "Validated") -> None:
        """A line for the held-out images."""
        assert self.about is not None
        (value, words), best = event.evaluation.headline, "  best so far" if event.best else ""
        say(f"epoch {event.epoch} validation {self.about.metric} {percent(value)} ({words}){best}")

    def end(self) -> None:
        """Nothing to put back."""

    def _where(self, epoch: float, step: int) -> str:
        assert self.about is not None
        return f"epoch {math.ceil(epoch)}/{self.about.epochs}  step {step}/{self.about.steps}"

    def _left(self, step: int) -> str:
        return f"{duration(self.pace.left(step))} left"


class Display:
    """A table that grows by a row an epoch, and under it a live line that says where training is."""

    def __init__(self, console: "Console") -> None:
        """Nothing is drawn before the training starts."""
        self.console = console
        self.early: list[Decided] = []
        self.about: Started | None = None
        self.live: Progress | None = None
        self.trained: Epoch | None = None
        self.lr = math.nan
        self.most = 0.0  # the largest value of a validation so far: a full bar

    def decided(self, event: "Decided") -> None:
        """What was decided, with the flag that changes it."""
        if self.about is None:
            self.early.append(event)
            return
        shown = table("decided", "", "because", "change it with")
        for d in event.decisions:
            shown.add_row(cell(d.what), cell(d.value, "bold"), cell(d.why, "dim"), cell(d.flag, "cyan"))
        self.console.print(shown)

    def started(self, event: "Started") -> None:
        """The title, what was decided, and the head of the table."""
        self.about, self.pace = event, Pace(event)
        first, *rest = title(event)
        self.console.print(cell(first, "bold"))
        for line in rest:
            self.console.print(cell(line, "dim"))
        self.console.print()
        for early in self.early:
            self.decided(early)
        self.every = max(1, math.ceil(event.epochs / ROWS))
        self.console.print(
            cell(f"{'epoch':>7}{'lr':>10}{'train loss':>12}{'train error':>13}{f'val {event.metric}':>12}", "bold")
        )
        self.live, self.task = _progress(self.console, event)
        self.live.start()

    def paced(self, event: "Paced") -> None:
        """Another end than it began with."""
        assert self.live is not None and self.about is not None
        self.about = replace(self.about, steps=event.steps, epochs=event.epochs)
        self.pace.steps = event.steps
        self.live.update(self.task, total=event.steps)

    def step(self, event: "Step") -> None:
        """Move the live line."""
        assert self.live is not None and self.about is not None
        self.lr = event.lr
        self.live.update(
            self.task, completed=event.step, loss=f"{event.loss:.3f}", error=percent(event.error, 1),
            epoch=f"{min(math.ceil(event.epoch), self.about.epochs)}/{self.about.epochs}",
            left=duration(self.pace.left(event.step)),
        )  # fmt: skip

    def epoch(self, event: "Epoch") -> None:
        """Note the pace; a row is drawn when the epoch is validated, or by the next one."""
        assert self.live is not None
        self._row(None)
        self.trained = event
        self.live.update(self.task, pace=pace_of(event, short=self.console.width < WIDER))

    def validated(self, event: "Validated") -> None:
        """A row of the table."""
        self._row(event)

    def end(self) -> None:
        """The last row; the live line goes away."""
        self._row(None)
        if self.live is not None:
            self.live.stop()

    def _row(self, validated: "Validated | None") -> None:
        trained, self.trained = self.trained, None
        if trained is None or self.about is None:
            return
        best = validated is not None and validated.best
        if not best and trained.epoch % self.every and trained.epoch not in (1, self.about.epochs):
            return
        line = cell(f"{trained.epoch:>7}{self.lr:>10.3g}{trained.train_loss:>12.4f}{percent(trained.train_error):>13}")
        if validated is not None:
            value, _ = validated.evaluation.headline
            self.most = max(self.most, value)
            line.append(f"{percent(value):>12}", "bold green" if best else "")
            line.append(f"  {bar_of(value / self.most if self.most else 0, BAR):{BAR}}", "blue")
            line.append("  best" if best else "", "green")
        self.console.print(line)


def _progress(console: "Console", started: "Started") -> "tuple[Progress, TaskID]":
    """The live line: epoch, bar, step, loss, error of the batch, pace, time left."""
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

    words: list[ProgressColumn] = [
        TextColumn("  epoch [bold]{task.fields[epoch]}"),
        BarColumn(bar_width=max(4, min(24, console.width - 84))),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("[dim]loss[/] {task.fields[loss]}"),
        TextColumn("[dim]error[/] {task.fields[error]:>6}"),
        TextColumn("[dim]{task.fields[pace]}[/]"),
        TextColumn("[bold]{task.fields[left]}[/] left"),
    ]
    if console.width < WIDE:
        del words[5]
    made = Progress(*words, console=console, transient=True, redirect_stdout=False)
    task = made.add_task(
        "",
        total=started.steps,
        completed=started.step,
        epoch=f"1/{started.epochs}",
        loss="–",
        error="–",
        pace="",
        left="–",
    )
    return made, task


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Something that turns while the block runs; on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    with progress().status(cell(what, "dim"), spinner_style="blue"):
        yield


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function that moves a bar on by a number of pictures; on a terminal only, and gone at the end."""
    if not sys.stderr.isatty():
        yield lambda n: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=progress(), transient=True) as shown:
        task = shown.add_task(one_line(what), total=total)
        yield lambda n: shown.update(task, advance=n)
