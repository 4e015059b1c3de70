"""What a training says while it goes: one value for each thing that happened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from residua.engine import Decision
from residua.training.loop import Epoch, Step


@dataclass(frozen=True)
class Decided:
    """What was decided, each with its reason and flag."""

    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class Started:
    """The training begins, or goes on after `step` of `steps`. `images` counts each split."""

    run: Path
    arch: str
    data: str
    classes: int
    images: dict[str, int]
    params: int
    layers: int
    side_px: int
    step: int
    steps: int
    steps_per_epoch: int
    epochs: int
    metric: str = "error"  # what a validation is told by


@dataclass(frozen=True)
class Paced:
    """The training takes another number of steps than it began with, to keep to its budget."""

    steps: int
    epochs: int


class Judged(Protocol):
    """What an evaluation says of itself while a training goes on."""

    @property
    def headline(self) -> tuple[float, str]:
        """The number that it is told by, a fraction, and what else to say of it."""


@dataclass(frozen=True)
class Validated:
    """The held-out images after an epoch; `best`: this epoch's weights are the ones to keep so far."""

    epoch: int
    evaluation: Judged
    best: bool


@dataclass(frozen=True)
class Tested:
    """The test images, looked at once, with the weights that were kept."""

    evaluation: Any


@dataclass(frozen=True)
class Finished:
    """Everything is written. `seconds` is the wall time of the training, all its sessions together."""

    run: Path
    seconds: float


Event = Decided | Started | Paced | Step | Epoch | Validated | Tested | Finished
