"""What a study says while it goes: one value for each thing that happened to a cell. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residua.study.plan import Cell


@dataclass(frozen=True)
class Planned:
    """Everything to do: the cells, those that are `finished` already, and `side_by_side` trainings at a time."""

    folder: Path
    data: str
    cells: tuple[Cell, ...]
    finished: tuple[str, ...]
    side_by_side: int
    where: str


@dataclass(frozen=True)
class Began:
    """A cell begins, or goes on after `step` of `steps`."""

    cell: str
    step: int
    steps: int
    epochs: int


@dataclass(frozen=True)
class Moved:
    """A cell has come to `step`; `train_error` is the mean of its last whole epoch, None in the first."""

    cell: str
    step: int
    epoch: float
    train_error: float | None


@dataclass(frozen=True)
class Done:
    """A cell is finished; `result` is its row of the results."""

    cell: str
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """A cell ended with an error, in one line, with the exit code that it would have had alone."""

    cell: str
    error: str
    exit_code: int


@dataclass(frozen=True)
class Finished:
    """No cell is left to train; `document` is what results.json holds."""

    folder: Path
    document: dict[str, Any]


Event = Planned | Began | Moved | Done | Failed | Finished
