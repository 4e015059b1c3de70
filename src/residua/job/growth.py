"""Growing on the way, and keeping to a budget: what a session does where its course says so."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from residua.amounts import duration
from residua.depth.deepen import grown, row_with
from residua.engine import Decision
from residua.errors import UsageError
from residua.job.budget import MOST_EPOCHS
from residua.job.course import PACE, WORTH, Growth, growths, pending
from residua.job.plan import Plan
from residua.job.space import segments_of
from residua.nn.arch import Arch
from residua.nn.resnet import Net
from residua.training.schedule import total_steps

if TYPE_CHECKING:
    from residua.job.session import Session


def check_growth(plan: Plan) -> None:
    """Raise UsageError for a net that cannot grow as the options say."""
    row = plan.row
    for growth in growths(plan.options.grow):
        if not isinstance(row, Arch):
            raise UsageError(f"--grow: {row.name} has no units; it is for residual and plain nets")
        deeper = row_with(row, growth.depths)
        assert isinstance(deeper, Arch)
        row = deeper


def stops(session: "Session") -> list[int]:
    """The steps at which something is to be done before the end."""
    found = [round(g.at * session.steps) for g in _growths(session)]
    if session.clock.budget is not None:
        found += [max(1, round(at * session.steps)) for at in PACE[session.paced :]]
    return sorted(s for s in found if s > session.state.step)


def turn(session: "Session") -> tuple[Decision, ...]:
    """Do what is due at this step; what was decided by it."""
    step, told = session.state.step, []
    for growth in _growths(session):
        if step >= round(growth.at * session.steps):
            told.append(grow(session, growth.depths))
    if session.clock.budget is not None and session.plan.course is not None:
        while session.paced < len(PACE) and step >= max(1, round(PACE[session.paced] * session.steps)):
            session.paced += 1
            told += keep_pace(session)
    return tuple(told)


def _growths(session: "Session") -> tuple[Growth, ...]:
    row = session.plan.row
    return pending(growths(session.plan.options.grow), row.depths) if isinstance(row, Arch) else ()


def grow(session: "Session", depths: tuple[int, ...]) -> Decision:
    """Deepen the net in training without changing what it computes; the epoch to keep is chosen anew from here on."""
    plan, old = session.plan, session.plan.row
    assert isinstance(old, Arch)
    session.state, row = grown(session.state, old, depths, plan.recipe, plan.engine)
    event = {"grown": row.name, "from": old.name, "step": session.state.step}
    session.plan = replace(plan, row=row, lineage=[*plan.lineage, event])
    segments = segments_of(session.plan, row, plan.recipe.accumulate)
    session.plan = replace(session.plan, segments=segments)
    for net in (session.state.net, session.state.ema.net):
        assert isinstance(net, Net)
        session.plan.thrifty(net)
    session.best, session.kept = None, {}
    why = f"after step {session.state.step:,} of {session.steps:,}: new units begin as the identity"
    return Decision("grown", f"{old.layers} to {row.layers} layers ({row.name})", why, "--grow")


def keep_pace(session: "Session") -> tuple[Decision, ...]:
    """Fit the number of steps to the pace since the last look, so that the budget is kept."""
    plan, state, now = session.plan, session.state, time.perf_counter()
    mark, session.mark = session.mark, (state.step, now, session.aside)
    assert plan.course is not None and session.clock.budget is not None
    if mark is None or state.step == mark[0]:
        return ()
    trained = now - mark[1] - (session.aside - mark[2])
    known = [plan.course.steps_seconds(step, session.steps) for step in (mark[0], state.step)]
    scale = trained / (known[0] - known[1])
    per_epoch = session.batches.steps_per_epoch
    steps = plan.course.steps_within(session.clock.left(), per_epoch, first=state.step, scale=scale)
    steps = max(state.step + 1, min(steps, _longest(session)))
    if abs(steps - session.steps) < WORTH * session.steps:
        return ()
    before = session.steps
    session.plan = replace(plan, recipe=replace(plan.recipe, epochs=None, steps=steps))
    pace = f"{100 * abs(scale - 1):.0f} % {'slower' if scale > 1 else 'faster'}"
    then = f"{before / per_epoch:.4g} would end {'after' if steps < before else 'before'}"
    why = f"steps are {pace} than forecast; {then} {duration(session.clock.budget)}"
    return (Decision("epochs", f"{steps / per_epoch:.4g}", why, "--budget"),)


def _longest(session: "Session") -> int:
    """The most steps that a training may come to have by being faster than forecast."""
    plan, per_epoch = session.plan, session.batches.steps_per_epoch
    if plan.options.fixed_length:
        return total_steps(plan.options.recipe, per_epoch)  # the user said how long
    return max(session.steps, min(2 * session.steps, round(MOST_EPOCHS * per_epoch)))
