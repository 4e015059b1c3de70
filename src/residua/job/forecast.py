"""How long a training takes: a few of its steps are measured, on the machine that it will run on."""

from dataclasses import replace

from residua.amounts import duration
from residua.depth.speed import Speed, measure
from residua.engine import Decision
from residua.job.course import Clock, Course, growths
from residua.job.plan import Plan
from residua.job.space import DEEP, segments_of
from residua.nn.cost import cost
from residua.nn.zoo import with_depths
from residua.training.schedule import total_steps

#: Multiply-adds a second that a machine reaches at best, about; only to tell minutes from hours.
PACE = {"cpu": 1e11, "cuda": 2e13, "mps": 2e12}
#: A training that would take longer than this even so is forecast, for at most this share of that time.
LONG_SECONDS, SHARE = 900.0, 0.02
PROBE_SECONDS = (1.0, 20.0)
#: Seconds from the test's end to the end of the command: the report.
REPORT = 5.0


def speed_of(plan: Plan, seconds: float) -> Speed:
    """How fast the plan's net trains on its pictures here."""
    return measure(plan.net(), plan.batches(), plan.recipe, plan.engine, seconds=seconds)


def course(plan: Plan, *speeds: Speed) -> Course:
    """The course of a plan whose net, and what it grows to, train at `speeds`."""
    ends = [*(g.at for g in growths(plan.options.grow)), 1.0][-len(speeds) :]
    last = speeds[-1]
    counts = {name: len(split) for name, split in plan.dataset.splits.items()}
    return Course(
        phases=tuple(zip(ends, (s.step for s in speeds), strict=True)),
        validation=counts.get("val", 0) * last.picture,
        tail=counts.get("test", 0) * last.picture + REPORT,
    )


def course_of(plan: Plan, seconds: float) -> Course:
    """The course of a plan, each of its nets measured for about `seconds`."""
    made = [plan]
    for growth in growths(plan.options.grow):
        row = with_depths(plan.row, growth.depths)
        made.append(replace(plan, row=row, start=None, segments=segments_of(plan, row, plan.recipe.accumulate)))
    return course(plan, *(speed_of(p, seconds) for p in made))


def in_time(plan: Plan, clock: Clock) -> Plan:
    """The plan with a forecast of its time, where it is deep or long: a few steps are measured."""
    batches = plan.batches()
    steps, batch = total_steps(plan.recipe, batches.steps_per_epoch), batches.batch_size
    best = 3 * cost(plan.row, plan.view.side_px).macs * batch * steps / PACE[plan.engine.kind]
    if best < LONG_SECONDS and plan.row.layers < DEEP and plan.options.memory is None:
        return plan
    low, high = PROBE_SECONDS
    found = course_of(plan, min(max(SHARE * best, low), high))
    lasts = clock.spent() + found.seconds(steps, batches.steps_per_epoch)
    why = f"forecast: {steps:,} steps of {found.phases[-1][1]:.3g} s, as measured here just now"
    told = Decision("time", duration(lasts), why, "--epochs")
    return replace(plan, course=found, forecast_seconds=lasts, decisions=(*plan.decisions, told))
