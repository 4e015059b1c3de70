"""Progress: readable on a terminal for short and long trainings, plain lines elsewhere."""

import io
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from residua.cli import live
from residua.engine import Decision
from residua.job import Decided, Started, Validated
from residua.training.loop import Epoch, Step


def events(epochs: int, *, errors=None, val: bool = True):
    """A training of two steps an epoch."""
    yield Decided((Decision("device", "cpu", "no GPU is there", "--device"),))
    yield Started(
        run=Path("runs/a"), arch="resnet[red]18", data="photos", classes=3, images={"train": 10, "test": 5}, params=7,
        layers=18, side_px=8, step=0, steps=2 * epochs, steps_per_epoch=2, epochs=epochs,
    )  # fmt: skip
    best = math.inf
    for epoch in range(1, epochs + 1):
        for step in (2 * epoch - 1, 2 * epoch):
            yield Step(step=step, epoch=step / 2, lr=0.1, loss=1.5, error=0.25, images=5)
        yield Epoch(epoch, 2 * epoch, train_loss=1.25, train_error=0.5, seconds=1.0, images_per_second=1234.5)
        if val:
            error = 0.5 if errors is None else errors[epoch - 1]
            found = SimpleNamespace(headline=(error, f"{round(100 * error)} of 100"))
            yield Validated(epoch, found, best=error < best)  # type: ignore[arg-type]
            best = min(best, error)


def on_a_terminal(monkeypatch, coming, columns: int = 80) -> list[str]:
    screen = io.StringIO()
    console = Console(file=screen, width=columns, height=30, force_terminal=True, color_system=None, highlight=False)
    monkeypatch.setattr(live, "progress", lambda: console)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert list(live.follow(coming))
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").splitlines()


def rows(lines: list[str]) -> list[list[str]]:
    head = next(i for i, line in enumerate(lines) if line.split()[:3] == ["epoch", "lr", "train"])
    return [words for line in lines[head:] if (words := line.split()) and words[0].isdigit()]


@pytest.mark.parametrize("val", [True, False])
def test_each_epoch_of_a_short_training_is_a_row(monkeypatch, val):
    found = rows(on_a_terminal(monkeypatch, events(5, val=val)))
    assert [r[0] for r in found] == ["1", "2", "3", "4", "5"]


def test_a_long_training_shows_thirty_rows_and_every_best(monkeypatch):
    errors = [0.5] * 120
    errors[76] = 0.25
    shown = [int(r[0]) for r in rows(on_a_terminal(monkeypatch, events(120, errors=errors)))]
    assert shown == [1, *range(4, 77, 4), 77, *range(80, 121, 4)]


def test_a_row_fits_eighty_columns(monkeypatch):
    lines = on_a_terminal(monkeypatch, events(3, errors=[0.9, 0.5, 0.1]))
    assert all(len(line) <= 80 for line in lines)
    assert sum(line.rstrip().endswith("best") for line in lines) == 3


def test_decisions_and_titles_are_shown_once_and_names_are_no_markup(monkeypatch):
    text = "\n".join(on_a_terminal(monkeypatch, events(2)))
    assert text.count("change it with") == 1 and "--device" in text
    assert "resnet[red]18 on photos" in text and "10 to train on, 5 to test by" in text


def test_elsewhere_an_epoch_is_a_line(monkeypatch, capsys):
    assert list(live.follow(events(2, errors=[0.5, 0.25])))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and "\x1b" not in err
    assert "  device: cpu (no GPU is there; --device)" in lines
    assert sum(line.startswith("epoch ") and "images/s" in line for line in lines) == 2
    assert "epoch 2 validation error 25.00 % (25 of 100)  best so far" in lines


def test_waiting_for_data_is_said_where_it_is_worth_a_word(monkeypatch, capsys):
    def waiting(share):
        return (replace(e, waiting=share) if isinstance(e, Epoch) else e for e in events(2))

    for share, words in ((0.05, 0), (0.345, 2)):
        assert list(live.follow(waiting(share)))
        assert capsys.readouterr().err.count("images/s, 34 % waiting for data  ") == words
    for columns, words in ((80, 0), (100, 0), (130, 1)):
        lines = on_a_terminal(monkeypatch, waiting(0.345), columns)
        assert any("34 % waiting for data" in line for line in lines) == bool(words)
        assert all(len(line) <= columns for line in lines)


def test_a_slow_epoch_says_something_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(live, "SECONDS", 0)
    assert list(live.follow(events(1)))
    assert sum("  loss 1.5 " in line for line in capsys.readouterr().err.splitlines()) == 2


def test_an_error_in_the_training_ends_the_display(monkeypatch):
    def broken():
        yield from list(events(2))[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        on_a_terminal(monkeypatch, broken())


def test_time_left_is_the_mean_pace_of_this_session(monkeypatch):
    clock = iter([100.0, 110.0])
    monkeypatch.setattr(live.time, "monotonic", lambda: next(clock))
    pace = live.Pace(SimpleNamespace(steps=100, step=40))  # type: ignore[arg-type]
    assert math.isnan(pace.left(40))
    assert pace.left(45) == 110.0  # 5 steps in 10 s, 55 to go
