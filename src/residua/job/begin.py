"""Begin a training, or go on with one: from options to a session, from a run folder to a session."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from residua.data.batches import Batches
from residua.data.sources import write_split
from residua.data.view import View
from residua.engine import Decision
from residua.errors import DataError, Interrupted, UsageError
from residua.job import processes, record
from residua.job.budget import within
from residua.job.course import Clock, Course
from residua.job.events import Decided, Event
from residua.job.forecast import in_time
from residua.job.growth import check_growth
from residua.job.options import TrainOptions, check_changes, resumed, to_config
from residua.job.plan import Plan, complete, open_view, prepare
from residua.job.session import Session
from residua.job.space import in_memory
from residua.job.stopping import Stop, signals
from residua.job.tracking import check_installed, tracking
from residua.job.underway import resumption
from residua.nn.arch import from_json
from residua.ranks import Ranks, joined, now
from residua.training.carry import take_up
from residua.training.finder import sweep
from residua.training.run import Run, check_free
from residua.training.state import begin


def train(options: TrainOptions, *, spent: float = 0.0) -> Iterator[Event]:
    """Train a net as the options say, or go on with `options.resume`, and write a run folder.

    `spent` seconds of a budget are gone already.
    Raises UsageError and DataError for what does not fit, NumericError for a loss that is not finite, and Interrupted
    after Ctrl-C or SIGTERM, when everything is saved.
    """
    if options.folds is not None and options.fold is None:
        raise UsageError("--folds trains many nets: `residua train --folds`, or residua.study.folds.cross_validate")
    check_installed(options)
    with joined(options.device) as ranks, signals() as stop:
        options = begun_before(options, ranks)
        make = new_session if options.resume is None else resumed_session
        session, decisions = make(options, stop, Clock(spent, options.budget))
        with session.run, session.tracking:
            try:
                yield Decided(decisions)
                yield from session.events()
                processes.ended()
                session.tracking.close()  # after the last event, so that whoever trains may have drawn pictures by then
                yield from session.say()
            except KeyboardInterrupt:
                again = f"residua train --resume {shlex.quote(str(session.run.folder))}"
                raise Interrupted(f"stopped at once; go on from the last saved step with: {again}") from None


def begun_before(options: TrainOptions, ranks: Ranks) -> TrainOptions:
    """The options; where torchrun begins a training again that lost a process, those to go on with its run folder.

    Raises UsageError for what needs a process of its own.
    """
    for flag, given in (("--budget", options.budget), ("--find-lr", options.find_lr or None)):
        if given is not None and not ranks.alone:
            raise UsageError(f"{flag} measures one process: try it without torchrun, then give what it says")
    return processes.begun_before(options, ranks, resumed)


def new_session(options: TrainOptions, stop: Stop, clock: Clock) -> tuple[Session, tuple[Decision, ...]]:
    """A training before its first step, and a run folder that says so."""
    if options.out is not None:
        check_free(Path(options.out))
    now().share(None)  # all have looked before one makes it
    plan = prepare(options)
    processes.check_same(plan.dataset.fingerprint, options)
    heard = set(plan.cache.told)  # said with the plan's decisions
    check_growth(plan)
    if not now().alone:
        plan = alike(in_memory(plan))
    else:
        plan = in_time(in_memory(plan), clock) if options.budget is None else within(plan, options, clock)
    told, batches = record.summary(plan), plan.batches()
    stop.at_once = False
    run = processes.made(options, (Path(plan.dataset.name).name or "data", plan.row.name))
    try:
        lines: list[str] = []
        state = begin(plan.placed(lines.append), plan.recipe, plan.engine)
        decisions = (
            plan.decisions + take_up(state, plan.carried) + (rates(plan, batches, run) if options.find_lr else ())
        )
        session = Session(plan, run, stop, state, batches, clock=clock, told=lines, heard=heard)
        run.write_json("environment.json", record.environment(plan.engine))
        record.decisions(run, decisions)
        run.write_json("data_check.json", record.data_check(plan.dataset, plan.view))
        run.write_json("summary.json", told)
        write_split(plan.dataset, run.path("split.csv"))
        if now().first:
            session.tracking = tracking(plan.options, run)
        run.write_bytes("batches/step-0.png", record.png(record.sheet(batches)))
        session.save()
        run.write_toml("config.toml", to_config(plan.options))  # last: now it is a run
    except BaseException:
        run.close()
        raise
    return session, decisions


def alike(plan: Plan) -> Plan:
    """The plan with what the first process found of memory, and with what many processes mean for it."""
    ranks = now()
    segments, accumulate = ranks.share((plan.segments, plan.recipe.accumulate))
    recipe = replace(plan.recipe, accumulate=accumulate)
    size = min(recipe.batch_size, len(plan.dataset.splits["train"]))
    why = f"each takes {size // ranks.world} pictures of every batch of {size}"
    told = [Decision("processes", str(ranks.world), why, "torchrun --nproc-per-node")]
    told.append(processes.norm_decision(plan.options.sync_norm))
    if (larger := ranks.world * size) <= len(plan.dataset.splits["train"]) // 8:
        why = f"to use {ranks.world} times the pictures a step: Goyal et al. 2017 raise the rate alike, after a warm-up"
        flag = f"--batch-size {larger} --lr {recipe.lr * ranks.world:.3g} --set warmup_epochs=1"
        told.append(Decision("batch_size", f"{size}, as with one process", why, flag))
    return replace(
        plan, segments=segments, recipe=recipe, options=replace(plan.options, recipe=recipe),
        decisions=(*plan.decisions, *told),
    )  # fmt: skip


def rates(plan: Plan, batches: Batches, run: Run) -> tuple[Decision, ...]:
    """Try learning rates on a net of its own, write lr_finder.json, and say what they suggest."""
    recipe = replace(plan.recipe, ema=None)
    state = begin(plan.engine.place(plan.net()), recipe, plan.engine)
    take_up(state, plan.carried)
    found = sweep(state, batches, recipe, plan.engine)
    run.write_json("lr_finder.json", found.to_json() | {"used": recipe.lr})
    if found.suggestion is None:
        why = f"{len(found.lr)} steps at rising rates show no fall of the loss; training goes on with {recipe.lr:g}"
        return (Decision("find_lr", "no suggestion", why, "--lr"),)
    near = f"--lr {found.suggestion:.2g}"
    why = f"{len(found.lr)} steps at rising rates: lr_finder.png; training goes on with {recipe.lr:g}"
    return (Decision("find_lr", f"{found.suggestion:.2g} suggested", why, near),)


def resumed_session(options: TrainOptions, stop: Stop, clock: Clock) -> tuple[Session, tuple[Decision, ...]]:
    """A training as it was saved, and its run folder."""
    assert options.resume is not None
    run = processes.opened(options.resume)
    try:
        changed = check_changes(resumed(options.resume), options)
        saved, told = processes.saved(run)
        plan = reopened(options, saved)
        processes.check_same(plan.dataset.fingerprint, options)
        batches = plan.batches()
        lines: list[str] = []
        state = begin(plan.placed(lines.append), plan.recipe, plan.engine)
        session = Session(plan, run, stop, state, batches, clock=clock, told=lines)
        if now().first:
            session.tracking = tracking(plan.options, run, saved["train"]["step"])
        session.load(saved)
        if session.done and (Path(options.resume) / "evaluation.json").exists():
            raise UsageError(f"{run.folder} is finished: start a new run with --weights {run.folder} to go further")
        stop.at_once = False
        decisions = resumption(session, told, changed)
        if changed:
            run.write_toml("config.toml", to_config(plan.options))
    except BaseException:
        run.close()
        raise
    return session, decisions


def reopened(options: TrainOptions, saved: dict[str, Any]) -> Plan:
    """The plan of a run that is resumed: the same net and view, on the same data."""
    dataset, _ = open_view(options)
    if dataset.fingerprint != saved["data"] and not options.accept_changes:
        raise DataError(
            f"{options.data} is not the data that {options.resume} was begun with; --accept-changes takes it"
        )
    row, view = from_json(json.loads(saved["row"])), View.from_json(json.loads(saved["view"]))
    if len(dataset.classes) != row.classes:
        raise DataError(
            f"{options.data} has {len(dataset.classes)} classes, {options.resume} was begun with {row.classes}"
        )
    plan = complete(options, dataset, view, row)
    if (steps := saved.get("steps")) is not None:
        plan = replace(plan, recipe=replace(plan.recipe, epochs=None, steps=steps))
    if (course := saved.get("course")) is not None:
        plan = replace(plan, course=Course.from_json(json.loads(course)), forecast_seconds=saved["forecast_seconds"])
    return in_memory(replace(plan, lineage=json.loads(saved["lineage"])), begun=True)
