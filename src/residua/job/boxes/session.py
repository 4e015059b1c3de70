"""Begin a training on boxes, or go on with one: from options to a session and its run folder."""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from residua.boxes.batches import BoxBatch, BoxBatches, each_once
from residua.boxes.dataset import BoxDataset
from residua.boxes.view import BoxView
from residua.engine import Decision
from residua.errors import DataError, UsageError
from residua.job import processes, record
from residua.job.boxes import drawings
from residua.job.boxes.options import BoxOptions, changes, resumed, to_config
from residua.job.boxes.plan import BoxPlan, data_check
from residua.job.events import Event
from residua.job.stopping import Stop, signals
from residua.job.underway import UnderWay, course, resumption
from residua.ranks import joined, now
from residua.training import recipe as recipes
from residua.training.recipe import Recipe
from residua.training.run import check_free
from residua.training.state import State, begin

#: From options to the plan of a new training, and from options and what was saved to that of one that goes on.
Prepare: TypeAlias = Callable[[Any], Any]
Reopen: TypeAlias = Callable[[Any, dict[str, Any]], Any]


@dataclass
class BoxSession(UnderWay):
    """A training on boxes under way."""

    plan: BoxPlan
    batches: BoxBatches

    def recipe(self) -> Recipe:
        """The plan's recipe, its parts named as within what is trained."""
        return self.plan.held()

    def shown(self, name: str, size: int) -> Iterator[BoxBatch]:
        """This process's pictures of a split, `size` to a batch; alone, raises Stopped if the user asks to stop."""
        ranks, plan = now(), self.plan
        found = each_once(plan.pictures[name], size, plan.engine.workers, rank=ranks.rank, world=ranks.world)
        return self.stop.between(found) if ranks.alone else found

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What the report says of the training before its results."""

    @classmethod
    @abstractmethod
    def name(cls, plan: Any) -> tuple[str, ...]:
        """What a run folder is called after, beside the data."""

    def summarised(self) -> dict[str, Any]:
        """What every summary says."""
        plan = self.plan
        return {
            "task": plan.options.task, "arch": plan.arch.name, "layers": plan.arch.layers,
            "data": plan.dataset.name, "kind": plan.dataset.kind, "classes": list(plan.dataset.classes),
            "view": plan.view.to_json(), "images": {name: len(s) for name, s in plan.dataset.splits.items()},
            "boxes": {name: s.boxes for name, s in plan.dataset.splits.items()},
            "recipe": recipes.to_json(plan.recipe), "augment": list(plan.options.augment),
            "command": record.command(),
        } | self.summary()  # fmt: skip


def train(options: BoxOptions, session: type[BoxSession], prepare: Prepare, reopen: Reopen) -> Iterator[Event]:
    """Train as the options say, or go on with `options.resume`, and write a run folder.

    Raises UsageError and DataError for what does not fit, NumericError for a loss that is not finite, and Interrupted
    after Ctrl-C or SIGTERM, when everything is saved.
    """
    with joined(options.device) as ranks, signals() as stop:
        options = processes.begun_before(options, ranks, lambda run: resumed(run, type(options)))
        if options.resume:
            made, decisions = resumed_session(options, stop, session, reopen)
        else:
            made, decisions = new_session(options, stop, session, prepare)
        yield from course(made, decisions)
        processes.ended()


def shared(plan: BoxPlan) -> tuple[Decision, ...]:
    """What is said of a training in many processes."""
    world, size = now().world, min(plan.recipe.batch_size, len(plan.dataset.splits["train"]))
    why = f"each takes {size // world} pictures of every batch of {size}"
    return (Decision("processes", str(world), why, "torchrun --nproc-per-node"), *plan.norms())


def begun(plan: BoxPlan) -> State:
    """The state before the first step; parts that are frozen are held."""
    net = plan.engine.place(plan.among(plan.net()), lambda line: None)
    return begin(net, plan.held(), plan.engine)


def new_session(
    options: BoxOptions, stop: Stop, kind: type[BoxSession], prepare: Prepare
) -> tuple[BoxSession, tuple[Decision, ...]]:
    """A training before its first step, and a run folder that says so."""
    if options.out is not None:
        check_free(Path(options.out))
    now().share(None)  # all have looked before one makes it
    plan: BoxPlan = prepare(options)
    processes.check_same(plan.dataset.fingerprint, options)
    if not now().alone:
        plan = replace(plan, decisions=(*plan.decisions, *shared(plan)))
    state, batches = begun(plan), plan.batches()
    stop.at_once = False
    run = processes.made(options, (Path(plan.dataset.name).name or "data", *kind.name(plan)))
    try:
        session = kind(plan, run, stop, state, batches)
        run.write_json("environment.json", record.environment(plan.engine))
        record.decisions(run, plan.decisions)
        run.write_json("data_check.json", data_check(plan.dataset))
        run.write_json("summary.json", session.summarised())
        run.write_csv("split.csv", ("name", "boxes", "split"), (
            (name, len(target.labels), split)
            for split, of in plan.dataset.splits.items()
            for name, target in zip(of.names, of.targets, strict=True)
        ))  # fmt: skip
        run.write_bytes("batches/step-0.png", record.png(drawings.batch(plan, batches)))
        session.save()
        run.write_toml("config.toml", to_config(plan.options))  # last: now it is a run
    except BaseException:
        run.close()
        raise
    return session, plan.decisions


def resumed_session(
    options: BoxOptions, stop: Stop, kind: type[BoxSession], reopen: Reopen
) -> tuple[BoxSession, tuple[Decision, ...]]:
    """A training as it was saved, and its run folder."""
    assert options.resume is not None
    run = processes.opened(options.resume)
    try:
        changed = changes(resumed(options.resume, type(options)), options)
        saved, told = processes.saved(run)
        plan: BoxPlan = reopen(options, saved)
        processes.check_same(plan.dataset.fingerprint, options)
        session = kind(plan, run, stop, begun(plan), plan.batches())
        session.load(saved)
        if session.done and (Path(options.resume) / "evaluation.json").exists():
            raise UsageError(f"{run.folder} is finished: there is nothing to go on with")
        stop.at_once = False
        decisions = resumption(session, told, changed)
        if changed:
            run.write_toml("config.toml", to_config(options))
    except BaseException:
        run.close()
        raise
    return session, decisions


def same_data(options: BoxOptions, dataset: BoxDataset, saved: dict[str, Any], classes: int) -> BoxView:
    """The view of a training that goes on. Raises DataError where its data have become others."""
    if dataset.fingerprint != saved["data"] and not options.accept_changes:
        raise DataError(
            f"{options.data} is not the data that {options.resume} was begun with; --accept-changes takes it"
        )
    if len(dataset.classes) != classes:
        raise DataError(f"{options.data} has {len(dataset.classes)} classes, {options.resume} has {classes}")
    return BoxView.from_json(json.loads(saved["view"]))
