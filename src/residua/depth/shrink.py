"""Pruning to a goal: units leave until too much is lost, the net is fast, or so many are gone; then fine-tuning."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from residua.data.batches import Batches
from residua.depth.greedy import Cut, Whole, choose
from residua.depth.latency import latencies
from residua.depth.prune import removable
from residua.errors import UsageError
from residua.evaluate import wilson
from residua.nn.arch import Arch
from residua.nn.cost import cost
from residua.nn.resnet import Net
from residua.training.loop import Step, fit
from residua.training.recipe import Recipe
from residua.training.state import begin

#: Cuts beyond the allowed error that are still looked at: a count of a few thousand pictures trembles.
PATIENCE = 2
#: What a short fine-tune may win back: the path ends where the held-out error is this much above the whole net's.
BEYOND = 0.3


@dataclass(frozen=True)
class Goal:
    """When to stop; one of the three is given. `max_drop` is a fraction of the held-out pictures, not points.

    `max_drop`: at most so much more wrong; `speed`: so many times as fast; `units`: so many leave.
    """

    max_drop: float | None = None
    speed: float | None = None
    units: int | None = None

    def __post_init__(self) -> None:
        """Raise UsageError unless exactly one is given, and makes sense."""
        given = [v for v in (self.max_drop, self.speed, self.units) if v is not None]
        if len(given) != 1:
            raise UsageError("say when to stop, by one of --max-drop POINTS, --speed RATIO and --units K")
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise UsageError(f"--max-drop {100 * self.max_drop:g}: give 0 or more percentage points, and less than 100")
        if self.speed is not None and not 1 < self.speed < 1000:
            raise UsageError(f"--speed {self.speed:g}: give a ratio above 1, such as 1.5")
        if self.units is not None and self.units < 1:
            raise UsageError(f"--units {self.units}: give the number of units that leave, at least 1")


@dataclass(frozen=True)
class Tuning:
    """A short training of a net that has lost units: the batches and the recipe, in nothing "auto".

    `held_seen`: the net was trained on the held-out pictures. Then a fine-tune alone raises their error, and the whole
    net, fine-tuned just so, is what is compared with.
    """

    batches: Batches
    recipe: Recipe
    held_seen: bool


@dataclass(frozen=True)
class Reached:
    """One more unit has left; the net is `speed` times as fast as the whole one, measured in turn with it.

    `seconds` is what it takes for the timed batch: what the whole net took at first, over `speed`, so that another load
    of the machine later on is not taken for a slower net.
    """

    cut: Cut
    params: int
    macs: int
    seconds: float
    speed: float


@dataclass(frozen=True)
class Tuned:
    """A cut after its fine-tune. `within`: it may be kept; None where nothing was asked (the whole net's own)."""

    cut: Cut
    within: bool | None


@dataclass(frozen=True, eq=False)
class Chosen:
    """The end: the net to keep, whether it was fine-tuned, and the held-out error that it was compared with."""

    net: Net
    cut: Cut
    tuned: bool
    base: float


Event = Reached | Step | Tuned | Chosen


@dataclass(frozen=True, eq=False)
class Task:
    """What is pruned, the batch (N, C, H, W) whose latency is measured, and the fine-tune if there is one."""

    whole: Whole
    timed: Tensor
    tuning: Tuning | None = None


def shrink(task: Task, goal: Goal) -> Iterator[Event]:
    """Prune to the goal: a `Reached` for each cut from the whole net on, a `Tuned` for each fine-tune, one `Chosen`.

    Steps of a fine-tune pass through. The task's net is left as it is.
    Raises UsageError for a net without units that can leave, and where the goal cannot be reached.
    """
    _check_before(task.whole.row, goal)
    path: list[Reached] = []
    for cut, net in choose(task.whole):
        path.append(_reached(task, cut, net, path[0].seconds if path else None))
        yield path[-1]
        if _far_enough(path, goal, task.tuning):
            break
    _check(path, goal)
    if goal.max_drop is None:
        yield from _finish(task, path)
    else:
        yield from _search(task, path, goal.max_drop)


def _reached(task: Task, cut: Cut, net: Net, first: float | None) -> Reached:
    whole, seconds = latencies([task.whole.net, net], task.timed, task.whole.engine)
    price = cost(cut.row, task.timed.shape[-1])
    speed = whole / seconds if cut.removed else 1.0
    return Reached(cut, price.params, price.macs, (whole if first is None else first) / speed, speed)


def _far_enough(path: list[Reached], goal: Goal, tuning: Tuning | None) -> bool:
    """Whether no further cut is needed."""
    last = path[-1]
    if goal.units is not None:
        return len(last.cut.removed) >= goal.units
    if goal.speed is not None:
        return last.speed >= goal.speed
    assert goal.max_drop is not None
    base = path[0].cut.error
    if tuning is not None:
        return last.cut.error > base + max(goal.max_drop, BEYOND)
    return all(r.cut.error > base + goal.max_drop for r in path[-PATIENCE:])


def _check_before(row: Arch, goal: Goal) -> None:
    """Raise UsageError, before anything is measured, if nothing can leave, or not so many units."""
    able = {stage: 0 for stage in range(len(row.depths))}
    for path in removable(row):
        able[int(path.split(".")[1])] += 1
    most = sum(min(n, row.depths[stage] - 1) for stage, n in able.items())
    if most == 0:
        raise UsageError(f"{row.name}: no unit can leave, each stage has one or they change the shape")
    if goal.units is not None and most < goal.units:
        raise UsageError(f"--units {goal.units}: only {most} units of {row.name} can leave")


def _check(path: list[Reached], goal: Goal) -> None:
    most, name = len(path) - 1, path[0].cut.row.name
    if goal.speed is not None and path[-1].speed < goal.speed:
        fastest = f"without all {most} units that can leave {name} is {path[-1].speed:.2f} times as fast"
        raise UsageError(f"--speed {goal.speed:g}: {fastest}")


# -- the end of the path, with or without a fine-tune ---------------------------------------------------------------


def _finish(task: Task, path: list[Reached]) -> Iterator[Event]:
    """The last cut, fine-tuned if that is asked."""
    base, cut, tuned = path[0].cut.error, path[-1].cut, task.tuning is not None
    net, _ = task.whole.without(cut.removed)
    if task.tuning is not None:
        if task.tuning.held_seen:
            whole, _ = yield from _fine_tuned(task, task.tuning, path[0].cut)
            base = whole.error
        cut, net = yield from _fine_tuned(task, task.tuning, cut, within=1.0)
    yield Chosen(net, cut, tuned, base)


def _search(task: Task, path: list[Reached], max_drop: float) -> Iterator[Event]:
    """The deepest cut that is good enough; with a fine-tune by bisection: deeper cuts are taken to be worse."""
    base = path[0].cut.error
    low = max(i for i, r in enumerate(path) if r.cut.error <= base + max_drop)
    cut, tuned = path[low].cut, False
    net, _ = task.whole.without(cut.removed)
    if task.tuning is not None:
        if task.tuning.held_seen:
            whole, _ = yield from _fine_tuned(task, task.tuning, path[0].cut)
            base = whole.error
        high = len(path)
        while high - low > 1:
            middle = (low + high) // 2
            found = yield from _fine_tuned(task, task.tuning, path[middle].cut, within=base + max_drop)
            if found[0].error <= base + max_drop:
                low, tuned, (cut, net) = middle, True, found
            else:
                high = middle
    yield Chosen(net, cut, tuned, base)


def _fine_tuned(
    task: Task, tuning: Tuning, cut: Cut, within: float | None = None
) -> Generator[Event, None, tuple[Cut, Net]]:
    """Fine-tune a copy: yields the steps, then `Tuned`; returns the cut as it is now, and its net."""
    engine, (net, row) = task.whole.engine, task.whole.without(cut.removed)
    state = begin(net, tuning.recipe, engine)
    yield from (e for e in fit(state, tuning.batches, tuning.recipe, engine) if isinstance(e, Step))
    net = cast(Net, state.ema.net).eval()
    tuned = task.whole.counted(net, row, cut.removed)
    yield Tuned(tuned, None if within is None else tuned.error <= within)
    return tuned, net


def to_json(event: Reached | Tuned | Cut) -> dict[str, Any]:
    """The numbers of a cut, as words and numbers; of a `Reached` also what left and what the net costs."""
    if isinstance(event, Reached):
        cost = {"params": event.params, "macs": event.macs, "seconds": event.seconds, "speed": event.speed}
        return to_json(event.cut) | {"unit": event.cut.removed[-1] if event.cut.removed else None} | cost
    if isinstance(event, Tuned):
        return to_json(event.cut) | {"within": event.within}
    return {
        "units": event.units, "removed": list(event.removed), "depths": list(event.row.depths), "n": event.n,
        "wrong": event.wrong, "top1_error": event.error, "interval": list(wilson(event.wrong, event.n)),
        "loss": event.loss,
    }  # fmt: skip
