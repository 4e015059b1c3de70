"""Proof on a user's own run: going on from the state before the last one gives the last one, bit for bit."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from residua.errors import DataError, NumericError
from residua.job.course import Clock
from residua.job.stopping import Stop, signals
from residua.job.underway import UnderWay
from residua.training.run import read_config
from residua.training.saving import digest, read_state

#: What a run folder needs to be gone on with, beside its state.
NEEDED = ("config.toml", "metrics.jsonl", "units.jsonl")
#: What time alone decides.
TIMES = ("seconds", "waited")


@dataclass(frozen=True)
class Verified:
    """Between two saved states of a run: their steps, and how many tensors and bytes came out the same."""

    run: Path
    first: int
    last: int
    tensors: int
    bytes: int


def verify(run: Path) -> Verified:
    """Go on from a run's state before its last one, in a copy, and compare with the last one bit by bit.

    The run folder is only read. Raises DataError where there are no two whole states with a step between them, and
    NumericError, with the first difference, where what comes out is not the same.
    """
    reopen = REOPEN[str(read_config(run).get("task", "classification"))]
    states = {name: read_state(run / "state" / f"{name}.pt") for name in ("previous", "last")}
    before, after = (None if s is None else s["train"] for s in states.values())
    if before is None or after is None or before["step"] >= after["step"]:
        raise DataError(
            f"{run} has no two whole states with a step between them: train on, with a smaller --save-every, "
            f"and try again"
        )
    with tempfile.TemporaryDirectory(prefix="residua-verify-") as place:
        copy = Path(place) / "run"
        (copy / "state").mkdir(parents=True)
        for name in NEEDED:
            if (run / name).exists():
                shutil.copy2(run / name, copy / name)
        shutil.copy2(run / "state" / "previous.pt", copy / "state" / "last.pt")
        with signals() as stop:
            session = reopen(copy, stop)
            with session.run:
                for _ in session.until(after["step"]):
                    pass
                again = session.state.state_dict()
    mine, theirs = dict(leaves(again)), dict(leaves(after))
    for path in dict.fromkeys((*theirs, *mine)):
        same = path in mine and path in theirs and digest(mine[path]) == digest(theirs[path])
        if not same and path.rpartition(".")[2] not in TIMES:
            raise NumericError(f"{run}: going on from step {before['step']} to {after['step']} gives another {path}")
    tensors = [v for v in theirs.values() if isinstance(v, Tensor)]
    size = sum(v.numel() * v.element_size() for v in tensors)
    return Verified(run, before["step"], after["step"], len(tensors), size)


def _classifier(copy: Path, stop: Stop) -> UnderWay:
    from residua.job.begin import resumed_session
    from residua.job.options import resumed

    options = resumed(copy)
    return resumed_session(options, stop, Clock(0.0, options.budget))[0]


def _detector(copy: Path, stop: Stop) -> UnderWay:
    from residua.job.boxes.session import resumed_session
    from residua.job.detection import resumed
    from residua.job.detection.session import Session, reopened

    return resumed_session(resumed(copy), stop, Session, reopened)[0]


def _localizer(copy: Path, stop: Stop) -> UnderWay:
    from residua.job.boxes.session import resumed_session
    from residua.job.localization import resumed
    from residua.job.localization.session import Session, reopened

    return resumed_session(resumed(copy), stop, Session, reopened)[0]


#: By task, from a copy of a run folder to its session, as it was saved.
REOPEN: Mapping[str, Callable[[Path, Stop], UnderWay]] = {
    "classification": _classifier, "detection": _detector, "localization": _localizer,
}  # fmt: skip


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor, word and number of a nest of dicts and lists, with the path to it."""
    if isinstance(value, Mapping):
        for key, inner in sorted(value.items(), key=lambda pair: str(pair[0])):
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{i}")
    else:
        yield path, value
