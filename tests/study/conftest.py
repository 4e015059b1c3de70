"""A study of seconds, trained in the tests' own process."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from residua.study import Event, StudyOptions, runner, study
from residua.study.cell import training
from residua.training.recipe import recipe

TINY = recipe("quick", ["epochs=2", "batch_size=16", "lr=0.02"])


class Here:
    """An engine that trains in this process, one task after the other."""

    slots, where = 1, "this process"

    def __init__(self) -> None:
        self.messages: Iterator[dict[str, Any]] = iter(())
        self.cell = ""

    def begin(self, task: Mapping[str, Any]) -> None:
        self.messages, self.cell = training(task), task["cell"]

    def next(self, seconds: float) -> dict[str, Any] | None:
        message = next(self.messages, None)
        return None if message is None else {"cell": self.cell} | message

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)  # heard by the training that is under way

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies train in this process, but for the tests marked slow."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(runner, "engine_for", lambda study: Here())


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., StudyOptions]:
    """``tiny(seeds=(0,), ...)``: options of a study of nets with eight layers on 64 digits."""

    def make(**changes: Any) -> StudyOptions:
        words: dict[str, Any] = {
            "depths": (8,), "kinds": ("plain", "residual"), "seeds": (0,), "limit": 64, "recipe": TINY,
            "out": str(tmp_path / "study"), "threads": 1,
        }  # fmt: skip
        return StudyOptions(**words | changes)

    return make


def finished(options: StudyOptions) -> list[Event]:
    """Every event of a study that runs to its end."""
    return list(study(options))


def document(events: list[Event]) -> dict[str, Any]:
    """What the study came to."""
    found: dict[str, Any] = events[-1].document  # type: ignore[union-attr]
    return found
