"""One training of a study as messages, in a process of its own: ``python -m residua.study.cell`` takes tasks on stdin.

A task and a message are each one JSON object on one line, so that whoever starts the process needs nothing of its.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from residua.errors import Interrupted, ResiduaError
from residua.job import Event, Finished, Started, TrainOptions, resumed, train
from residua.job.options import from_config
from residua.training.loop import Epoch, Step

#: Seconds between two messages about steps.
PACE = 0.25


def training(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Train the cell of a task or go on with its run: messages begun, step, then finished, failed or stopped.

    A task has `cell`, `folder` and `options` (a run's config). Nothing is raised but what ends the process.
    """
    try:
        yield from _messages(train(options_of(task)))
    except Interrupted:
        yield {"event": "stopped"}
    except ResiduaError as e:
        yield {"event": "failed", "error": str(e), "exit_code": e.exit_code}
    except MemoryError:
        yield {"event": "failed", "error": "out of memory: try fewer --jobs", "exit_code": 3}
    except Exception as e:  # one cell must not end the others
        line = (str(e).strip().splitlines() or [""])[0]
        yield {"event": "failed", "error": f"{type(e).__name__}: {line}", "exit_code": 3}


def options_of(task: Mapping[str, Any]) -> TrainOptions:
    """The options of a task's training: new, or to go on with what its folder holds."""
    wanted = from_config(task["options"])
    return taken_up(Path(task["folder"]), wanted, root=wanted.root, threads=wanted.threads)


def taken_up(folder: Path, wanted: TrainOptions, **free: Any) -> TrainOptions:
    """What a training in `folder` goes on with, changed by `free`; or `wanted` as a new one, where nothing is saved."""
    if any((folder / "state" / name).exists() for name in ("last.pt", "previous.pt")):
        return resumed(folder, **free)
    if (folder / "state").is_dir():
        shutil.rmtree(folder)  # it ended before the first state was saved: there is nothing to go on with
    return replace(wanted, resume=None, out=str(folder))


def _messages(events: Iterator[Event]) -> Iterator[dict[str, Any]]:
    error, last = None, 0.0
    for event in events:
        if isinstance(event, Started):
            yield {"event": "begun", "step": event.step, "steps": event.steps, "epochs": event.epochs}
        elif isinstance(event, Epoch):
            error = event.train_error
        elif isinstance(event, Step) and time.monotonic() - last >= PACE:
            last = time.monotonic()
            yield {"event": "step", "step": event.step, "epoch": event.epoch, "train_error": error}
        elif isinstance(event, Finished):
            yield {"event": "finished"}


def main() -> None:
    """Take tasks from stdin until it ends; messages go to stdout, and nothing else does."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        for line in sys.stdin:
            task = json.loads(line)
            for message in training(task):
                print(json.dumps({"cell": task["cell"]} | message), file=out, flush=True)


if __name__ == "__main__":
    main()
