"""The course of a training: where it grows, how long each part takes, how many steps fit into a time. No torch."""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any, Self

from residua.errors import UsageError

#: How much of a budget is planned with: what is left absorbs what a forecast cannot know.
AIM = 0.96
#: Fractions of the steps: from the first on the pace is measured (a training begins slowly), at the others the
#: number of steps is fitted to it. The first early, so that the schedule hardly changes; the second in time.
PACE = (0.01, 0.05, 0.5)
#: Steps are added or taken away from this share of them on.
WORTH = 0.02


@dataclass(frozen=True)
class Growth:
    """At this fraction of the steps the net gets these units in each stage."""

    at: float
    depths: tuple[int, ...]


def growths(text: str | None) -> tuple[Growth, ...]:
    """``0.4:5-5-5,0.7:9-9-9``, in order. Raises UsageError for anything else."""
    made = []
    for word in (text or "").split(",") if text else ():
        at, colon, depths = word.strip().partition(":")
        try:
            made.append(Growth(float(at), tuple(int(d) for d in depths.split("-"))))
        except ValueError:
            colon = ""
        if not colon:
            raise UsageError(f"--grow {text}: write FRACTION:DEPTHS, such as 0.4:5-5-5 or 0.3:3-3-3,0.6:9-9-9")
    if any(not 0 < g.at < 1 for g in made):
        raise UsageError(f"--grow {text}: each fraction of the steps must be between 0 and 1")
    if any(a.at >= b.at for a, b in pairwise(made)):
        raise UsageError(f"--grow {text}: the fractions must rise")
    return tuple(made)


def pending(planned: tuple[Growth, ...], depths: tuple[int, ...]) -> tuple[Growth, ...]:
    """The growths that a net of `depths` has before it."""
    return tuple(g for g in planned if sum(g.depths) > sum(depths))


# -- time -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """Seconds of a step until each fraction of the steps, in order (the last is 1), of one validation, and of all
    that follows the last step.
    """  # fmt: skip

    phases: tuple[tuple[float, float], ...]
    validation: float
    tail: float

    def step_at(self, fraction: float) -> float:
        """Seconds of a step there."""
        return next((seconds for until, seconds in self.phases if fraction < until), self.phases[-1][1])

    def steps_seconds(self, first: int, steps: int) -> float:
        """Seconds of the steps from `first` to the end of `steps`."""
        total, begun = 0.0, first
        for until, seconds in self.phases:
            end = steps if until == 1 else min(steps, max(begun, round(until * steps)))
            total += max(0, end - begun) * seconds
            begun = max(begun, end)
        return total

    def seconds(self, steps: int, per_epoch: int, *, first: int = 0, scale: float = 1.0) -> float:
        """Seconds from step `first` of `steps` to the very end; `scale`: how much slower steps are than known here."""
        validations = ceil(steps / per_epoch) - first // per_epoch
        return scale * self.steps_seconds(first, steps) + max(0, validations) * self.validation + self.tail

    def steps_within(self, left: float, per_epoch: int, *, first: int = 0, scale: float = 1.0) -> int:
        """The most steps, all together, whose rest after `first` takes at most `left` seconds; 0 if there are none."""

        def fits(steps: int) -> bool:
            return self.seconds(steps, per_epoch, first=first, scale=scale) <= left

        low, high = first, first + 1
        while fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        phases = tuple((float(until), float(seconds)) for until, seconds in values["phases"])
        return cls(phases, values["validation"], values["tail"])


class Clock:
    """How long ago the command began, all its sessions together; `budget` seconds are what it may take."""

    def __init__(self, spent: float = 0.0, budget: float | None = None) -> None:
        """Begin to count at `spent` seconds."""
        self.budget = budget
        self._zero = time.perf_counter() - spent

    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._zero

    def add(self, seconds: float) -> None:
        """Count an earlier session's time too."""
        self._zero -= seconds

    def left(self) -> float:
        """Seconds that may still be planned with."""
        return float("inf") if self.budget is None else AIM * self.budget - self.spent()


def age() -> float:
    """Seconds since this process began; 0 where the system does not say."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, float(Path("/proc/uptime").read_text().split()[0]) - started / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0
