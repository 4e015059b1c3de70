"""What runs on a machine of a cluster: a model that is loaded once and answers for one part after the other."""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from residua.errors import DataError
from residua.predict.inputs import Item
from residua.predict.journal import digest
from residua.predict.model import Answering, Model, load, together
from residua.predict.result import Failure, Result


@dataclass(frozen=True)
class Part:
    """Pictures of whole batches, on their way to a worker; their files have absolute paths."""

    items: tuple[Item, ...]


@dataclass(frozen=True)
class Answered:
    """The results of a part in its order, and the machine they come from."""

    results: tuple[Result, ...]
    machine: str


@dataclass(frozen=True)
class Task:
    """What every worker is to do: model files with their digests, and how to compute. `threads`: None is torch's own
    number where the command was given, so that one machine gives the numbers of the local engine. `loading` makes the
    model of a file, as `load` does.
    """

    files: tuple[Path, ...]
    digests: tuple[str, ...]
    device: str
    precision: str
    threads: int | None
    cores: int
    top: int
    batch_size: int
    loading: Callable[..., Model] = load


@dataclass(eq=False)
class Worker:
    """One process on the cluster."""

    task: Task
    model: Answering | None = field(default=None, init=False)

    def load(self) -> None:
        """Load the model. Raises DataError where its file is not the one that the command was given."""
        task = self.task
        torch.set_num_threads(task.threads or task.cores)
        for path, expected in zip(task.files, task.digests, strict=True):
            _check(path, expected)
        how = {"device": task.device, "precision": task.precision}
        self.model = together([task.loading(f, **how, threads=task.threads, readers=task.cores) for f in task.files])

    def answers(self, part: Part) -> Answered:
        """What the model says of a part: batches are made as if it were all there is."""
        assert self.model is not None
        results = self.model.answered(part.items, top=self.task.top, batch_size=self.task.batch_size)
        return Answered(tuple(results), socket.gethostname())


def _check(path: Path, expected: str) -> None:
    """Raise DataError unless this machine has the same file under the path."""
    try:
        found = digest(path)
    except OSError as e:
        raise DataError(
            f"{path} cannot be read on {socket.gethostname()} ({e.strerror or e}): "
            f"all machines of the cluster must see the model under this path"
        ) from e
    if found != expected:
        raise DataError(f"{path} is another file on {socket.gethostname()} than here: copy this one there")


def unseen(part: Part, answered: Answered) -> str | None:
    """The first picture that is here, but not on the machine that should have answered for it."""
    for item, result in zip(part.items, answered.results, strict=True):
        missing = isinstance(result, Failure) and isinstance(item.source, str) and result.reason.startswith("no such")
        if missing and os.path.exists(item.source):
            return item.name
    return None


def part_of(items: Sequence[Item]) -> Part:
    """The items as a part: a worker has another working folder, and the names stay as they were given."""
    return Part(tuple(Item(i.name, os.path.abspath(i.source)) if isinstance(i.source, str) else i for i in items))
