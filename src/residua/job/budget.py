"""As big a network as the budget allows: which depth and how many epochs fit into a time, and which pair is best."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from residua.amounts import duration
from residua.depth.speed import Speed, between
from residua.engine import Decision
from residua.errors import UsageError
from residua.job.course import AIM, Clock, Course
from residua.job.forecast import course, course_of, speed_of
from residua.job.options import TrainOptions
from residua.job.plan import Plan, complete, data_decisions, row_for
from residua.job.space import in_memory
from residua.nn.arch import Arch, Row
from residua.nn.cost import cost
from residua.nn.zoo import find, stem_for
from residua.training.schedule import total_steps


def late(units: int, base: str = "cifar_resnet20") -> str:
    """The net for small pictures with so many units, of which nearly 1, 3 and 6 in 10 are in the first, second and
    third stage: late units have as many multiply-adds as early ones and smaller maps, so they take less time, and
    more of them learn more in the same time (studies/budget).
    """  # fmt: skip
    first, second = max(1, round(units / 10)), max(1, round(0.3 * units))
    return f"{base}:{first}-{second}-{units - first - second}"


#: Units of the nets to choose from for small pictures: up to where the paper's still gained (He 2015, table 6: 110
#: layers).
UNITS = (3, 4, 5, 6, 8, 10, 12, 14, 17, 20, 24, 28, 34, 40, 47, 54)
SMALL = tuple(late(units) for units in UNITS)
#: From 57 to 112 px, behind a stem with stride: twice as wide, since maps have a quarter of the pixels.
MIDDLING = tuple(late(units, "cifar_resnet20_w2") for units in UNITS)
LARGE = (
    "resnet18:1-1-1-1", "resnet18", "resnet18:3-3-3-3", "resnet34", "resnet50", "resnet101", "resnet152",
)  # fmt: skip
FAMILIES = {"3x3": SMALL, "5x5": MIDDLING, "7x7": LARGE}
#: What stays of the error, in points, when a net of d layers is trained to the end, is nearly 5.9 + DEEPER / d: a fit
#: to He 2015, table 6 (20 to 110 layers: 8.75 to 6.43 %).
DEEPER = 57.0
#: ... and what one-cycle training leaves over after n pictures is nearly LONGER / n: 12.7 % after 10 epochs of 45,000
#: with 20 layers (docs/log.md), 3.9 points of which go away with time.
LONGER = 2.1e6
#: No set is seen more often than the paper's: 64,000 batches of 128 from 45,000 pictures.
MOST_EPOCHS = 182.0
#: The share of a budget that measuring one net may take, and its bounds in seconds.
PROBE, PROBE_BOUNDS = 0.01, (0.3, 4.0)


@dataclass(frozen=True)
class Candidate:
    """A net and the course of its training."""

    row: Row
    course: Course


@dataclass(frozen=True)
class Choice:
    """A net, its steps and epochs, and what is left of the error by the rule, in points, but for a constant."""

    candidate: Candidate
    steps: int
    epochs: float
    left: float


def expected(layers: int, pictures: float) -> float:
    """Points of error that more depth or more pictures would still take away."""
    return DEEPER / layers + LONGER / pictures


def options(candidates: Iterable[Candidate], left: float, per_epoch: int, batch_size: int) -> list[Choice]:
    """Each candidate with as many steps as `left` seconds allow; without those that cannot see every picture once."""
    made = []
    for c in candidates:
        steps = min(c.course.steps_within(left, per_epoch), round(MOST_EPOCHS * per_epoch))
        if steps >= per_epoch:
            made.append(Choice(c, steps, steps / per_epoch, expected(c.row.layers, steps * batch_size)))
    return made


def choose(candidates: Iterable[Candidate], left: float, per_epoch: int, batch_size: int) -> Choice | None:
    """The pair of which the least error is expected; None if nothing fits. More time never gives a shallower net."""
    return min(options(candidates, left, per_epoch, batch_size), key=lambda c: c.left, default=None)


# -- on this machine ------------------------------------------------------------------------------------------------


def within(plan: Plan, asked: TrainOptions, clock: Clock) -> Plan:
    """The plan fitted into memory and into the clock's budget: another net, another number of epochs, or both.

    Raises UsageError if the budget is too small, or if there is nothing to choose.
    """
    assert clock.budget is not None
    free_net = asked.arch == "auto" and not asked.weights and not asked.depths
    if not free_net and asked.fixed_length:
        raise UsageError("--budget chooses the net or the epochs: leave --arch (--weights, --depths) or --epochs out")
    seconds = min(max(PROBE * clock.budget, PROBE_BOUNDS[0]), PROBE_BOUNDS[1])
    if not free_net:
        plan = in_memory(plan)
        return _as_long_as_it_lasts(plan, Candidate(plan.row, course_of(plan, seconds)), clock)
    if asked.grow:
        raise UsageError("--grow says which net: give --arch too, and --budget chooses the epochs")
    plans = _fitting(_with_row(plan, asked, name) for name in FAMILIES[stem_for(plan.view.side_px)])
    if asked.fixed_length:
        return _as_deep_as_it_goes(plans, clock, seconds)
    return _best(plans, clock, seconds)


def _with_row(plan: Plan, asked: TrainOptions, name: str) -> Plan:
    """The plan with another net, behind the stem that suits the images."""
    named = replace(asked, arch=name)
    if asked.stem == "auto":
        named = replace(named, stem=stem_for(plan.view.side_px))
    row, _ = row_for(named, plan.dataset, plan.view, None)
    told = data_decisions(plan.dataset, plan.view, asked)
    return complete(named, plan.dataset, plan.view, row, decisions=told)


def _fitting(plans: Iterable[Plan]) -> list[Plan]:
    """The plans, ever deeper, as far as they fit into memory. Raises UsageError if the first does not."""
    fitted: list[Plan] = []
    for plan in plans:
        try:
            fitted.append(in_memory(plan))
        except UsageError:
            if not fitted:
                raise
            break
    return fitted


class Known:
    """The courses of a family's nets, from as few measurements as possible."""

    def __init__(self, plans: list[Plan], seconds: float) -> None:
        """Nothing is measured yet; each measurement takes about `seconds`."""
        self.plans, self.seconds = plans, seconds
        self.macs = [cost(p.row, p.view.side_px).macs for p in plans]
        self.measured: dict[int, Speed] = {}

    def look(self, i: int) -> None:
        """Measure the i-th net."""
        if i not in self.measured:
            self.measured[i] = speed_of(self.plans[i], self.seconds)

    def candidates(self) -> list[Candidate]:
        """All of them, by what is known."""
        known = [(self.macs[i], speed) for i, speed in self.measured.items()]
        speeds = [self.measured.get(i) or between(known, macs) for i, macs in enumerate(self.macs)]
        return [Candidate(p.row, course(p, s)) for p, s in zip(self.plans, speeds, strict=True)]

    def settle(self, pick: Callable[[list[Candidate]], Row | None]) -> list[Candidate]:
        """The candidates once the smallest net and the one picked by what is known, twice over, are measured."""
        self.look(0)
        for _ in range(2):
            row = pick(self.candidates())
            if row is not None:
                self.look(next(i for i, p in enumerate(self.plans) if p.row == row))
        return self.candidates()


def _best(plans: list[Plan], clock: Clock, seconds: float) -> Plan:
    """The plan of the best pair of depth and epochs."""
    per_epoch, batch_size = plans[0].batches().steps_per_epoch, plans[0].recipe.batch_size

    def pick(candidates: list[Candidate]) -> Row | None:
        found = choose(candidates, clock.left(), per_epoch, batch_size)
        return found.candidate.row if found else None

    candidates = Known(plans, seconds).settle(pick)
    ranked = options(candidates, clock.left(), per_epoch, batch_size)
    chosen = choose(candidates, clock.left(), per_epoch, batch_size)
    if chosen is None:
        raise too_small(clock, candidates[0], per_epoch)
    chosen_layers = chosen.candidate.row.layers
    near = sorted(ranked, key=lambda c: abs(c.candidate.row.layers - chosen_layers))[1:3]
    beside = " and ".join(f"{c.candidate.row.layers} x {c.epochs:.1f}" for c in near)
    why = f"{chosen_layers} layers x {chosen.epochs:.1f} epochs" + (f" promise more than {beside}" if near else "")
    plan = next(p for p in plans if p.row == chosen.candidate.row)
    rule = f"{why}: error falls as {DEEPER:g}/layers and {LONGER:.1e}/pictures seen (docs/log.md)"
    return _timed(plan, chosen.candidate.course, chosen.steps, clock, _named(plan, rule))


def _as_deep_as_it_goes(plans: list[Plan], clock: Clock, seconds: float) -> Plan:
    """The plan of the deepest net that takes the recipe's length within the budget."""
    per_epoch = plans[0].batches().steps_per_epoch
    steps = total_steps(plans[0].recipe, per_epoch)

    def fitting(candidates: list[Candidate]) -> Candidate | None:
        fits = [c for c in candidates if c.course.seconds(steps, per_epoch) <= clock.left()]
        return max(fits, key=lambda c: c.row.layers, default=None)

    def pick(candidates: list[Candidate]) -> Row | None:
        found = fitting(candidates)
        return found.row if found else None

    candidates = Known(plans, seconds).settle(pick)
    chosen = fitting(candidates)
    if chosen is None:
        raise too_small(clock, candidates[0], per_epoch, steps)
    plan = next(p for p in plans if p.row == chosen.row)
    why = f"the deepest net that takes {steps / per_epoch:.3g} epochs within the budget"
    return _timed(plan, chosen.course, steps, clock, _named(plan, why))


def _named(plan: Plan, why: str) -> tuple[Decision, ...]:
    """The net that was chosen, and its stem where that is not the net's own."""
    told = Decision("arch", plan.row.name, why, "--arch")
    own = find(plan.row.name)
    if not isinstance(own, Arch) or not isinstance(plan.row, Arch) or plan.row.stem == own.stem:
        return (told,)
    return told, Decision("stem", plan.row.stem, f"suits images of {plan.view.side_px} px", "--stem")


def _as_long_as_it_lasts(plan: Plan, candidate: Candidate, clock: Clock) -> Plan:
    """The plan with as many epochs as fit."""
    per_epoch = plan.batches().steps_per_epoch
    steps = candidate.course.steps_within(clock.left(), per_epoch)
    if steps < per_epoch:
        raise too_small(clock, candidate, per_epoch)
    return _timed(plan, candidate.course, steps, clock, ())


def _timed(plan: Plan, course: Course, steps: int, clock: Clock, chosen: tuple[Decision, ...]) -> Plan:
    """The plan with its steps, and three lines that say why."""
    assert clock.budget is not None
    per_epoch, spent = plan.batches().steps_per_epoch, clock.spent()
    lasts = course.seconds(steps, per_epoch)
    budget = Decision(
        "budget",
        duration(clock.budget),
        f"{duration(spent)} are gone; {duration(course.tail)} are kept for the test and the report",
        "--budget",
    )
    length = Decision(
        "epochs",
        f"{steps / per_epoch:.4g}",
        f"at {1000 * course.phases[-1][1]:.3g} ms a step, as measured here; forecast {duration(spent + lasts)} in all",
        "--epochs",
    )
    recipe = replace(plan.recipe, epochs=None, steps=steps)
    if plan.recipe.epochs is not None and total_steps(plan.recipe, per_epoch) == steps:
        recipe = plan.recipe
    return replace(
        plan,
        recipe=recipe,
        options=replace(plan.options, recipe=recipe),
        course=course,
        forecast_seconds=spent + lasts,
        decisions=(budget, *chosen, length, *plan.decisions),
    )


def too_small(clock: Clock, smallest: Candidate, per_epoch: int, steps: int | None = None) -> UsageError:
    """The line to say when nothing fits."""
    assert clock.budget is not None
    needed = (clock.spent() + smallest.course.seconds(steps or per_epoch, per_epoch)) / AIM
    once = "these epochs" if steps else "seeing every picture once"
    return UsageError(
        f"--budget {duration(clock.budget)} is too little: {once} with {smallest.row.name} takes "
        f"{duration(needed)} here, start, test and report included"
    )
