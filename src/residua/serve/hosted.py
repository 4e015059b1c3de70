"""The models that a server holds, by name, and what happens when a file is replaced while they answer."""

import asyncio
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residua import heap
from residua.data.decode import BadPicture
from residua.errors import DataError, ResiduaError, UsageError
from residua.nn.modelfile import CLASSIFICATION, task_of
from residua.predict.journal import digest
from residua.serve import classifying
from residua.serve.answerer import Answerer, Wish
from residua.serve.lane import Lane, Pools, aside
from residua.serve.limits import Limits, Refused, Room
from residua.serve.meters import Meters
from residua.serve.stack import DepthWish
from residua.words import nearest

#: Of every model: a file that is replaced changes its digest, not its address.
VERSION = "1"

#: Hears what happens, as words and numbers.
Hear = Callable[[dict[str, Any]], None]
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Machine:
    """Where models compute, by which runtime, and who hears what comes of that."""

    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    runtime: str = "eager"
    tell: Callable[[str], None] = warnings.warn


@dataclass(frozen=True, eq=False)
class Edition:
    """What a file was when it was loaded: its model, its SHA-256, and when that was."""

    model: Answerer
    digest: str
    loaded: float


def edition(file: Path, machine: Machine) -> Edition:
    """The model of a file, proven by an answer. Raises DataError, UsageError."""
    task = task_of(file) or CLASSIFICATION
    model: Answerer
    if task == CLASSIFICATION:
        model = classifying.load(
            file, device=machine.device, precision=machine.precision, threads=machine.threads,
            runtime=machine.runtime, tell=machine.tell,
        )  # fmt: skip
    elif machine.runtime not in ("auto", "eager"):
        raise UsageError(f"--runtime {machine.runtime} is for classifiers: {file} is a model for {task}")
    else:
        from residua.serve import locating  # what it needs of torchvision takes seconds to import

        model = locating.load(
            file, task, device=machine.device, precision=machine.precision, threads=machine.threads
        )  # fmt: skip
    try:
        model.prove()
    except Exception as e:  # weights that fit and yet do not compute
        raise DataError(f"{file} cannot answer: {(str(e).splitlines() or [type(e).__name__])[0]}") from e
    return Edition(model, digest(file), time.time())


def stamp(file: Path) -> Stamp | None:
    """What changes when a file is replaced or written to; None for one that is gone."""
    try:
        of = os.stat(file)
    except OSError:
        return None
    return of.st_ino, of.st_size, of.st_mtime_ns


class Hosted:
    """A model under its name. Requests go to the lane of the latest good file; those that began go on in theirs."""

    def __init__(self, name: str, file: Path, machine: Machine) -> None:
        """Load it. Raises DataError, UsageError."""
        self.name, self.file, self.machine = name, file, machine
        self.seen = self.before = stamp(file)
        heap.keep()  # before there are threads: each would have a heap of its own, without room for large maps
        self.edition = aside(lambda: edition(file, machine))
        self.refused: str | None = None
        self.lane: Lane | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def model(self) -> Answerer:
        """The latest good one."""
        return self.edition.model

    def open(self, limits: Limits, pools: Pools, meters: Meters) -> None:
        """Begin to answer with the latest good model."""
        self.lane = Lane(self.name, self.model, limits, pools, meters)
        self.lane.begin()

    @property
    def ready(self) -> Lane:
        """The lane that requests go to."""
        if self.lane is None:
            raise Refused(503, f"model {self.name} is not ready yet", retry_after=1)
        return self.lane

    async def look(self, hear: Hear) -> None:
        """Take up the file where it was replaced and lies still since the last look; say what came of it."""
        now, before = stamp(self.file), self.before
        self.before = now
        if now is None or now == self.seen or now != before or self.lane is None:
            return
        self.seen = now
        told: dict[str, Any] = {"event": "reload", "model": self.name, "file": str(self.file)}
        try:
            new = await asyncio.to_thread(aside, lambda: edition(self.file, self.machine))
            if new.model.task != self.model.task:
                raise DataError(f"a model for {new.model.task} cannot take the place of one for {self.model.task}")
        except Exception as e:
            why = str(e) if isinstance(e, ResiduaError | OSError) else f"{type(e).__name__}: {e}"
            self.refused = why.replace(str(self.file), self.file.name)  # clients need not know where files lie
            self.lane.meters.reloads.labels(self.name, "refused").inc()
            hear(told | {"outcome": "refused", "why": why, "digest": self.edition.digest})
            return
        self._swap(new)
        self.lane.meters.reloads.labels(self.name, "taken").inc()
        hear(told | {"outcome": "taken", "digest": new.digest})

    def _swap(self, new: Edition) -> None:
        old = self.ready
        self.edition, self.refused = new, None
        self.open(old.limits, old.pools, old.meters)
        ending = asyncio.get_running_loop().create_task(old.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Answer what was taken in, and stop."""
        lanes = [] if self.lane is None else [self.lane.end()]
        await asyncio.gather(*lanes, *self._ending)

    def to_json(self) -> dict[str, Any]:
        """What a client may know."""
        model = self.model
        return {
            "name": self.name, "version": VERSION, "task": model.task, "digest": self.edition.digest,
            "loaded": self.edition.loaded, "refused": self.refused, "classes": list(model.classes), **model.about(),
        }  # fmt: skip


class Hall:
    """All models of a server."""

    def __init__(self, hosted: Sequence[Hosted], limits: Limits, hear: Hear = lambda told: None) -> None:
        """Loaded models with different names."""
        self.limits, self.hear, self.room = limits, hear, Room(limits)
        self.models = {h.name: h for h in hosted}
        self.meters = Meters()
        self.pools = Pools.made(max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))
        self.leaving = False
        self._looking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to answer, and to look at the files."""
        for hosted in self.models.values():
            hosted.open(self.limits, self.pools, self.meters)
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self.limits.look_seconds)
            for hosted in self.models.values():
                await hosted.look(self.hear)

    async def close(self) -> None:
        """Stop; what was taken in is answered before."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for hosted in self.models.values():
            await hosted.close()
        self.pools.close()

    @property
    def ready(self) -> bool:
        """Whether requests are answered: not before all is loaded, and not when it is about to end."""
        return not self.leaving and all(h.lane is not None for h in self.models.values())

    def find(self, name: str | None, version: str | None = None) -> Hosted:
        """A model by its name, which may be left out where there is one. Raises Refused (404, or 400 for no name)."""
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None:
            raise Refused(400, f"which model? name one of {', '.join(self.models)}")
        if name not in self.models:
            near = nearest(name, self.models, 1)
            raise Refused(404, f"no model {name!r} here" + (f": did you mean {near[0]}?" if near else ""))
        if version not in (None, "", VERSION):
            raise Refused(404, f"model {name} has version {VERSION} only, not {version!r}")
        return self.models[name]

    async def predict(self, hosted: Hosted, sources: Sequence[Any], wish: Wish) -> list[dict[str, Any]]:
        """What a model says of each picture, as words and numbers; of one that cannot be read its `error`."""
        lane = hosted.ready
        if wish.explain:  # asked first: a model that gives no reasons shall not compute for nothing
            lane.model.check(wish)
            if len(sources) > self.limits.explained:
                raise Refused(413, f"{len(sources):,} pictures to explain: at most {self.limits.explained} at a time")
        found = await lane.answers(sources)
        said = iter(lane.model.to_json([f for f in found if not isinstance(f, BadPicture)], wish))
        rows: list[dict[str, Any]] = [{"error": f.reason} if isinstance(f, BadPicture) else next(said) for f in found]
        if wish.explain:
            good = [i for i, f in enumerate(found) if not isinstance(f, BadPicture)]
            for i, why in zip(good, await lane.explained([sources[i] for i in good], wish), strict=True):
                rows[i]["explanation"] = why
        return rows

    async def units(self, hosted: Hosted) -> dict[str, Any]:
        """The units of a model's net. Raises Refused (400) for a model that has none to show."""
        lane = hosted.ready
        lane.model.check_units()
        return await lane.of_stack(lambda stack: stack.to_json())

    async def depth(self, hosted: Hosted, picture: bytes | None, seen: str | None, wish: DepthWish) -> dict[str, Any]:
        """What a model says of a picture, or of one that it has `seen`, without some of its units.

        Raises Refused: 400 for what is no picture and for units that do not exist, 410 for a picture that was
        forgotten.
        """
        lane = hosted.ready
        lane.model.check_units()
        try:
            name = await lane.remember(picture) if picture is not None else seen or ""
        except BadPicture as e:
            raise Refused(400, e.reason) from e
        tensor = lane.recalled(name)
        return {"seen": name} | await lane.of_stack(lambda stack: stack.answer(tensor, wish))
