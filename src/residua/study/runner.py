"""A study under way: what is left to train goes to the engine, longest first; what comes back is told and written."""

import json
import shlex
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from residua import files
from residua.data.names import KNOWN
from residua.data.sources import open_data
from residua.data.view import view_for
from residua.errors import DataError, Interrupted
from residua.job import TrainOptions
from residua.job.options import to_config
from residua.job.record import command
from residua.job.stopping import Stop, signals
from residua.study import options as kept
from residua.study import results
from residua.study.engines import Engine, Message, available_cores, local, visible_gpus
from residua.study.events import Began, Done, Event, Failed, Finished, Moved, Planned
from residua.study.options import StudyOptions
from residua.study.plan import Cell, Shape, cells, work
from residua.study.verdict import verdict

#: Seconds to wait for a message before looking whether the user wants to stop.
WAIT = 0.25


@dataclass
class Study:
    """A study before or while its cells train. `rows` are the results so far, by cell."""

    options: StudyOptions
    folder: Path
    cells: tuple[Cell, ...]
    stop: Stop
    rows: dict[str, results.Row] = field(default_factory=dict)

    def events(self, engine: Engine) -> Iterator[Event]:
        """Train what is left, and say how it goes. Raises Interrupted when the user asks to stop and all is saved."""
        waiting = deque(sorted((c for c in self.cells if c.name not in self.rows), key=work))
        busy: dict[str, Cell] = {}
        while waiting or busy:
            while waiting and len(busy) < engine.slots and not self.stop.asked:
                cell = waiting.popleft()
                engine.begin(self.task(cell))
                busy[cell.name] = cell
            if (message := engine.next(WAIT)) is not None:
                event = self.heard(message, busy)
                if event is not None:
                    yield event
            if self.stop.asked:
                yield from self.interrupted(engine, busy)

    def heard(self, message: Message, busy: dict[str, Cell]) -> Event | None:
        """What a message means; a cell that ended is free, and its result is kept."""
        name, kind = message["cell"], message["event"]
        if kind == "begun":
            return Began(name, message["step"], message["steps"], message["epochs"])
        if kind == "step":
            return Moved(name, message["step"], message["epoch"], message["train_error"])
        cell = busy.pop(name)
        if kind == "finished":
            self.rows[name] = results.row(self.folder, cell)
            self.write()
            return Done(name, self.rows[name])
        if kind == "failed" or not self.stop.asked:
            error, code = message.get("error", "stopped from outside"), message.get("exit_code", 3)
            self.rows[name] = results.failure(cell, error, code)
            self.write()
            return Failed(name, error, code)
        return None

    def interrupted(self, engine: Engine, busy: dict[str, Cell]) -> Iterator[Event]:
        """Have every cell saved, then raise Interrupted with the command that goes on."""
        engine.stop()
        while busy:
            message = engine.next(WAIT)
            event = self.heard(message, busy) if message else None
            if isinstance(event, Done | Failed):
                yield event
        done = sum(r["error"] is None for r in self.rows.values())
        raise Interrupted(
            f"stopped with {done} of {len(self.cells)} cells finished, the others saved; "
            f"go on with: residua study --resume {shlex.quote(str(self.folder))}"
        )

    def task(self, cell: Cell) -> dict[str, Any]:
        """What a process needs to know to train a cell: a run's config, and where it goes."""
        o = self.options
        made = TrainOptions(
            data=o.data,
            arch=cell.net,
            recipe=replace(o.recipe, drop_depth=cell.drop_depth),
            seed=cell.seed, image_size=o.image_size, root=o.root, limit=o.limit,
            device=o.device.partition(":")[0], precision=o.precision, threads=o.threads,
            workers=0 if o.threads == 1 else None,  # a process that has one core reads its pictures itself
            watch_test=True, watch_gradients=o.gradients,
        )  # fmt: skip
        folder = self.folder / results.run_of(cell)
        return {"cell": cell.name, "folder": str(folder), "options": to_config(made)}

    def document(self) -> dict[str, Any]:
        """The results as they are: cells in the order of the plan, nets over their seeds, and what they say."""
        rows = [self.rows[c.name] for c in self.cells if c.name in self.rows]
        found = results.groups(rows, self.options.data)
        return {
            "data": self.options.data,
            "recipe": self.options.recipe.name,
            "epochs": self.options.recipe.epochs,
            "steps": self.options.recipe.steps,
            "seeds": list(self.options.seeds),
            "planned": len(self.cells),
            "verdict": verdict(found, rows),
            "groups": found,
            "cells": rows,
            "failed": [{k: r[k] for k in ("name", "error", "exit_code")} for r in rows if r["error"] is not None],
        }

    def write(self) -> None:
        """results.json and cells.csv, as far as they go."""
        results.write(self.folder, self.document())


def run(options: StudyOptions) -> Iterator[Event]:
    """Train what a study has left, side by side; see `residua.study.study`."""
    with signals() as stop:
        study = prepared(options, stop)
        engine = engine_for(study)
        stop.at_once = False
        try:
            yield Planned(study.folder, study.options.data, study.cells, tuple(study.rows), engine.slots, engine.where)
            yield from study.events(engine)
        finally:
            engine.close()
        study.write()
        yield Finished(study.folder, study.document())


def prepared(options: StudyOptions, stop: Stop) -> Study:
    """A study with its folder made or taken up, and the rows of the cells that are finished. Raises DataError."""
    if options.data not in KNOWN:
        options = replace(options, data=str(Path(options.data).expanduser().resolve()))
    begun = kept.stored(Path(options.out)) if options.out is not None else None
    if begun is not None:
        kept.check_same(Path(str(options.out)), begun, options)
    planned = cells(options, shape_of(options))
    threads = options.threads or (begun.threads if begun else None) or threads_for(options, len(planned))
    options = replace(options, threads=threads)
    folder = Path(options.out) if options.out is not None else free_folder(options.data)
    study = Study(options, folder, planned, stop)
    try:
        (folder / "cells").mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise DataError(f"cannot write {folder}: {e.strerror}; choose another --out") from e
    words = {"options": kept.to_json(options), "command": command()}
    files.write(folder / "study.json", (files.escaped(json.dumps(words, indent=2, ensure_ascii=False)) + "\n").encode())
    study.rows = {c.name: results.row(folder, c) for c in planned if results.finished(folder, c)}
    return study


def threads_for(options: StudyOptions, cells: int) -> int:
    """Threads of each training: the cores, shared by as many trainings as there will be at a time."""
    if options.engine == "ray":
        return 1
    at_a_time = options.jobs or len(visible_gpus(options.device)) or cells
    return max(1, available_cores() // min(at_a_time, cells))


def shape_of(options: StudyOptions) -> Shape:
    """What the data ask of the nets. Raises what opening the data raises."""
    dataset = open_data(options.data, root=options.root, val_fraction=options.recipe.val_fraction, limit=options.limit)
    view = view_for(dataset, image_size=options.image_size)
    return Shape(view.side_px, len(dataset.classes), view.channels)


def free_folder(data: str) -> Path:
    """``runs/study-<data>-<n>``: the first n that is not there."""
    stem = f"study-{Path(data).name or 'data'}"
    n = 1
    while Path("runs", f"{stem}-{n}").exists():
        n += 1
    return Path("runs", f"{stem}-{n}")


def engine_for(study: Study) -> Engine:
    """The engine that the options name, as wide as there are cells left."""
    o, left = study.options, len(study.cells) - len(study.rows)
    assert o.threads is not None
    if o.engine == "ray" and left:
        from residua.study.cluster import Cluster

        return Cluster(cells=left, jobs=o.jobs, threads=o.threads, address=o.address, device=o.device)
    return local(cells=max(1, left), jobs=o.jobs, threads=o.threads, device=o.device)
