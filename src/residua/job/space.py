"""Before a training begins: that it fits into memory, or what is changed so that it does."""

from dataclasses import replace

from residua.amounts import gigabytes
from residua.depth import memory
from residua.depth.memory import Demand, Fit
from residua.engine import Decision
from residua.errors import UsageError
from residua.job.course import growths
from residua.job.plan import Plan
from residua.nn.arch import Arch, Row
from residua.nn.zoo import with_depths

#: Of --memory, what is planned with: peaks of long trainings lie a little above their forecast (docs/log.md).
RESERVE = 0.95
#: From this share of the limit on a forecast is said without being asked for.
WORTH_SAYING = 0.25
#: Images to one pass of an evaluation at most, and at least where memory has room for them.
EVALUATION_BATCH, LEAST_BATCH = 256, 32
#: From this many layers on a training is forecast before it starts.
DEEP = 300


def in_memory(plan: Plan, *, begun: bool = False) -> Plan:
    """The plan with units to recompute, and with smaller slices unless it has `begun`, as far as memory asks for it.

    Raises UsageError in one line if nothing fits.
    """
    deepest = plan.row
    if isinstance(deepest, Arch) and (planned := growths(plan.options.grow)):
        deepest = with_depths(deepest, planned[-1].depths)
    demand = demand_of(plan, deepest)
    limit, whose = limit_of(plan)
    fitted = memory.fit(demand, limit, slices=not begun)
    if fitted is None and begun:
        fitted = memory.fit(demand, float("inf"), slices=False)
    if fitted is None:
        raise too_large(plan, demand, limit, whose)
    plan = replace(plan, limit=limit)
    recipe = replace(plan.recipe, accumulate=fitted.accumulate)
    told = decisions(plan, fitted, limit, whose)
    # The same demand as was fitted: what the process holds grows meanwhile, and a second look could say otherwise.
    own = replace(demand, row=plan.row, recipe=recipe)
    return replace(
        plan,
        recipe=recipe,
        options=replace(plan.options, recipe=recipe),
        segments=fitted.segments.sizes if deepest == plan.row else _segments(own, limit),
        decisions=plan.decisions + told,
    )


def demand_of(plan: Plan, row: Row) -> Demand:
    """What the plan's training of a net asks of memory."""
    return Demand(row, plan.view.side_px, plan.recipe, plan.engine, memory.held() if plan.engine.kind == "cpu" else 0)


def segments_of(plan: Plan, row: Row, accumulate: int) -> tuple[int, ...]:
    """The units of a net to recompute within the plan's limit; as many as help where that is not enough."""
    return _segments(demand_of(replace(plan, recipe=replace(plan.recipe, accumulate=accumulate)), row), plan.limit)


def _segments(demand: Demand, limit: float) -> tuple[int, ...]:
    found = memory.fit(demand, limit, slices=False)
    if found is not None:
        return found.segments.sizes
    return memory.segments(demand.maps, 0, recompute=not demand.engine.compile).sizes


def at_once(plan: Plan) -> int:
    """Pictures in one pass of an evaluation: no more than need what a step needs, and `EVALUATION_BATCH` at most."""
    pictures = plan.recipe.batch_size // plan.recipe.accumulate
    largest = memory.maps(plan.row, plan.view.side_px).largest
    room = pictures + int(kept(plan) / (memory.PASSING * largest))
    return max(1, min(EVALUATION_BATCH, max(LEAST_BATCH, pictures), room))


def kept(plan: Plan) -> int:
    """Bytes of maps that a step keeps for its gradients, which are free outside of one."""
    m = memory.maps(plan.row, plan.view.side_px)
    each = memory.recomputed(m, min(sum(plan.segments), len(m.inside))).bytes
    return plan.recipe.batch_size // plan.recipe.accumulate * each


def limit_of(plan: Plan) -> tuple[float, str]:
    """Bytes that the process (on a GPU: the device's share of it) may take, and who says so."""
    if plan.options.memory is not None:
        return RESERVE * plan.options.memory, f"--memory allows with {100 * (1 - RESERVE):.0f} % in reserve"
    before = memory.held() if plan.engine.kind == "cpu" else 0
    return memory.SHARE * (before + memory.free(plan.engine)), "the machine has for it"


def decisions(plan: Plan, fitted: Fit, limit: float, whose: str) -> tuple[Decision, ...]:
    """The forecast of memory, and what it led to; nothing if it is small and nobody asked."""
    asked, changed = (
        plan.options.memory is not None,
        fitted.segments.sizes or fitted.accumulate > plan.recipe.accumulate,
    )
    if not (asked or changed or fitted.bytes > WORTH_SAYING * limit or plan.row.layers >= DEEP):
        return ()
    told = [Decision("memory", gigabytes(fitted.bytes), f"forecast; {gigabytes(limit)} are what {whose}", "--memory")]
    if sizes := fitted.segments.sizes:
        share = f"{100 * fitted.segments.again:.0f} % of the units in {len(sizes)} segments"
        why = f"their maps are computed again: the same numbers, about {33 * fitted.segments.again:.0f} % more time"
        told.append(Decision("recompute", share, f"{why}; without it {gigabytes(fitted.plain)}", "--memory"))
    if fitted.accumulate > plan.recipe.accumulate:
        pictures = plan.recipe.batch_size // fitted.accumulate
        why = f"slices of {pictures} pictures, which is what the norms see: recomputing alone is not enough"
        told.append(Decision("accumulate", str(fitted.accumulate), why, "--set accumulate=N"))
    return tuple(told)


def too_large(plan: Plan, demand: Demand, limit: float, whose: str) -> UsageError:
    """The line to say when nothing fits."""
    most = plan.recipe.batch_size // memory.SMALLEST_SLICE
    small = replace(demand, recipe=replace(demand.recipe, accumulate=max(plan.recipe.accumulate, most)))
    m = small.maps
    pictures = small.recipe.batch_size // small.recipe.accumulate
    least = small.fixed(m, pictures) + pictures * memory.segments(m, 0).bytes
    return UsageError(
        f"{demand.row.name} does not fit: even recomputed and in slices of {pictures} pictures its training takes "
        f"{gigabytes(least)}, and {gigabytes(limit)} are what {whose}"
    )
