"""The same answers from a cluster: parts of whole batches go to workers, results come back in the order of pictures.

Batches are cut where the model itself would cut them, so a worker that computes as this machine does makes the same
numbers, bit for bit. Ray Data is not used: it plans over inputs that are known when it starts, and these are a stream.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from residua.cluster import Cluster
from residua.data.names import shown
from residua.errors import DataError, UsageError
from residua.nn.modelfile import read_header
from residua.predict.inputs import Item
from residua.predict.journal import digest
from residua.predict.jury import same_classes
from residua.predict.model import Model, load
from residua.predict.result import Result
from residua.predict.worker import Answered, Part, Task, Worker, part_of, unseen

#: Parts that a worker has at a time: one to work on, one to go on with.
AT_ONCE = 2
#: Parts for each worker that are under way or wait for their turn: the results of so many are in memory.
AHEAD = 4
#: Batches of the longest part. The first are of one, so that few pictures are shared by all workers, too.
LONGEST = 8
#: Workers that may die one after the other as they load the model, or over one part.
TRIES = 3


@dataclass(frozen=True)
class Spread:
    """A model, or several together, on the machines of a cluster. `classes` are the first model's.

    With GPUs each worker has one and its share of the cores; without, `threads` cores. `loading` makes the model of a
    file there, as `load` does.
    """

    cluster: Cluster
    files: tuple[Path, ...]
    digests: tuple[str, ...]
    classes: tuple[str, ...]
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    jobs: int | None = None
    loading: Callable[..., Model] = load

    def answered(self, items: Iterable[Item], *, top: int = 5, batch_size: int = 64) -> Iterator[Result]:
        """As `Model.answered`: every item's result in order, with bounded memory.

        A worker that dies is replaced and its parts are answered again. Raises DataError where that does not help, or
        where a machine does not see the model or the pictures.
        """
        crew = Crew(self.cluster.ray, self._hire(top, batch_size), self._workers())
        try:
            yield from crew.results(parts(items, batch_size, crew.size))
        finally:
            crew.dismiss()

    def _cores(self) -> int:
        """Cores of each worker. Raises UsageError for more than any machine has."""
        most = self.cluster.cores_of_one
        if self.cluster.gpus:
            return most
        if self.threads is not None and self.threads > most:
            raise UsageError(f"--threads {self.threads}: the largest machine of the cluster has {most} cores")
        return self.threads or min(torch.get_num_threads(), most)

    def _workers(self) -> int:
        most = self.cluster.slots(max(1, self._cores()))
        return min(self.jobs or most, most)

    def _hire(self, top: int, batch_size: int) -> Callable[[], Any]:
        cores, gpu = self._cores(), 1 if self.cluster.gpus else 0
        device = "cuda" if gpu else "cpu" if self.device == "auto" else self.device
        how = (device, self.precision, self.threads, max(1, cores), top, batch_size, self.loading)
        task = Task(self.files, self.digests, *how)
        remote = self.cluster.ray.remote(num_cpus=cores, num_gpus=gpu, max_restarts=0, max_task_retries=0)(Worker)
        return lambda: remote.remote(task)


def spread(files: Sequence[Path], **how: Any) -> Callable[[Cluster], Spread]:
    """Models of files for a cluster that is joined later; `how` are the fields of `Spread`.

    Raises DataError for files that are no models, or models of other classes.
    """
    headers = [read_header(f) for f in files]
    for header in headers[1:]:
        same_classes(headers[0].classes, header.classes)
    paths = tuple(f.resolve() for f in files)
    digests = tuple(map(digest, paths))
    return lambda cluster: Spread(cluster, paths, digests, headers[0].classes, **how)


def parts(items: Iterable[Item], batch_size: int, workers: int) -> Iterator[Part]:
    """The items in parts of whole batches; the last one may be short."""
    items, n = iter(items), 0
    while some := list(islice(items, batch_size * min(LONGEST, 1 + n // (AHEAD * workers)))):
        yield part_of(some)
        n += 1


@dataclass(eq=False)
class Crew:
    """Workers that take the next part as soon as they are free. `hire` starts one; at most `size` are at work."""

    ray: Any
    hire: Callable[[], Any]
    size: int
    workers: list[Any] = field(default_factory=list)  # all that live, also those that are loading the model
    load: dict[Any, int] = field(default_factory=dict)  # of each that has loaded it, how many parts it has
    waited: dict[Any, tuple[Any, int | None]] = field(default_factory=dict)  # a reference -> worker, part (None: loads)
    held: dict[int, Part] = field(default_factory=dict)  # parts whose results have not been given yet
    todo: list[int] = field(default_factory=list)  # those of them that no worker has, lowest first
    done: dict[int, Answered] = field(default_factory=dict)
    deaths: Counter[int | None] = field(default_factory=Counter)  # over each part; None: while loading

    def results(self, coming: Iterator[Part]) -> Iterator[Result]:
        """The results of all parts, in order."""
        numbered, turn = enumerate(coming), 0
        while True:
            self._give(numbered)
            if not self.held:
                return
            for ref in self.ray.wait(list(self.waited), num_returns=1)[0]:
                self._heard(ref)
            while turn in self.done:
                answered, part = self.done.pop(turn), self.held.pop(turn)
                if (name := unseen(part, answered)) is not None:
                    raise DataError(
                        f"{answered.machine} does not see {shown(name)}: "
                        f"all machines of the cluster must see the pictures under the same paths"
                    )
                turn += 1
                yield from answered.results

    def dismiss(self) -> None:
        """End all workers, if the cluster has not done so."""
        for worker in self.workers if self.ray.is_initialized() else ():
            self.ray.kill(worker)

    def _give(self, coming: Iterator[tuple[int, Part]]) -> None:
        """Hand out parts: to each worker that has loaded the model as many as it can have."""
        while len(self.held) < AHEAD * self.size and (new := next(coming, None)) is not None:
            self.held[new[0]] = new[1]
            self.todo.append(new[0])
        while len(self.workers) < min(self.size, len(self.held)):
            worker = self.hire()
            self.workers.append(worker)
            self.waited[worker.load.remote()] = worker, None
        while self.todo and self.load and min(self.load.values()) < AT_ONCE:
            worker = min(self.load, key=self.load.__getitem__)
            number = self.todo.pop(0)
            self.load[worker] += 1
            self.waited[worker.answers.remote(self.held[number])] = worker, number

    def _heard(self, ref: Any) -> None:
        """Take what a worker has to say: that it is ready, results, an error; or that it is gone."""
        if ref not in self.waited:  # its worker was found dead just before
            return
        worker, number = self.waited[ref]
        try:
            value = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as e:
            cause = e.cause if isinstance(e.cause, Exception) else e
            raise cause from None
        except self.ray.exceptions.RayError as e:
            self._died(worker, e)
            return
        del self.waited[ref]
        if number is None:
            self.load[worker] = 0
            self.deaths[None] = 0
        else:
            self.load[worker] -= 1
            self.done[number] = value

    def _died(self, worker: Any, error: Exception) -> None:
        """Take the parts of a worker back. Raises DataError where the same one has been fatal too often."""
        theirs = {ref: number for ref, (w, number) in self.waited.items() if w is worker}
        for ref in theirs:
            del self.waited[ref]
        self.workers.remove(worker)
        self.load.pop(worker, None)
        self.ray.kill(worker)  # it may only be out of reach
        numbers = sorted(n for n in theirs.values() if n is not None)
        self.todo = sorted([*self.todo, *numbers])
        blamed = numbers[0] if numbers else None  # parts are answered one after the other
        self.deaths[blamed] += 1
        if self.deaths[blamed] >= TRIES:
            over = f"with {shown(self.held[blamed].items[0].name)}" if blamed is not None else "while loading the model"
            why = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise DataError(f"workers of the cluster die {over}: {why}")
