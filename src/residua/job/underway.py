"""A training under way, whatever it trains: fit and judge in turn, keep the best, save, stop when asked, test once."""

import copy
import json
import math
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, NoReturn, Protocol, TypedDict

from torch import Tensor, nn

from residua.engine import Decision, Engine
from residua.errors import Interrupted
from residua.job import record
from residua.job.best import Chosen, hopeless
from residua.job.events import Decided, Event, Judged, Started, Validated
from residua.job.offending import kept as kept_batch
from residua.job.stopping import Stop
from residua.ranks import now
from residua.training.finite import NotFinite
from residua.training.loop import Epoch, Step, Stream, fit
from residua.training.recipe import Recipe
from residua.training.run import Run
from residua.training.schedule import total_steps
from residua.training.state import State
from residua.training.step import Learn

#: Rows of metrics.jsonl for the steps of one epoch, at most.
ROWS_PER_EPOCH = 20


class Data(Protocol):
    """What every data set says of itself."""

    @property
    def fingerprint(self) -> str:
        """What tells it from any other."""


class Lasting(Protocol):
    """What every set of options says."""

    @property
    def save_every(self) -> float:
        """Seconds between two states that are saved."""


class Planned(Protocol):
    """What every plan of a training says."""

    @property
    def recipe(self) -> Recipe:
        """How to train."""

    @property
    def engine(self) -> Engine:
        """On what."""

    @property
    def dataset(self) -> Data:
        """On which data."""

    @property
    def options(self) -> Lasting:
        """As it was asked for."""

    @property
    def lineage(self) -> list[Any]:
        """Where the net comes from."""

    @property
    def view(self) -> Any:
        """How a picture becomes a tensor."""


@dataclass
class UnderWay(ABC):
    """A training under way: the plan, the state, and what is kept beside it. Each task says what is abstract here."""

    plan: Planned
    run: Run
    stop: Stop
    state: State
    batches: Stream
    best: Chosen | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)  # the weights of `best`
    pending: Epoch | None = None  # an epoch that is trained and not yet validated
    before: float = 0.0  # seconds of earlier sessions
    began: float = field(default_factory=time.perf_counter)
    saved: float = field(default_factory=time.perf_counter)
    seen: tuple[float, float] = (0.0, 0.0)  # images and seconds of training alone
    slices: int = 0  # of a batch, as far as it was said
    thinned: list[str] = field(default_factory=list)  # by evaluations that ran out of memory, to be said
    lost: int = 0  # rows of metrics.jsonl that were there when the state was saved, and no longer are

    #: The command that goes on with it, and the flag that says when to give up.
    command: ClassVar[str] = "residua train"
    patience: ClassVar[str] = "--set early_stop_epochs=none"

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return self.before + time.perf_counter() - self.began

    @property
    def steps(self) -> int:
        """How many steps the training takes."""
        return total_steps(self.plan.recipe, self.batches.steps_per_epoch)

    @property
    def epochs(self) -> int:
        """Whole epochs so far that were validated."""
        return 0 if self.pending is not None else self.state.step // self.batches.steps_per_epoch

    @property
    def done(self) -> bool:
        """Whether all steps are taken, or no better epoch is to be hoped for."""
        return self.state.step >= self.steps or hopeless(self.plan.recipe, self.best, self.epochs)

    # -- what a task says of itself ---------------------------------------------------------------------------------

    @abstractmethod
    def started(self) -> Started:
        """What begins."""

    @abstractmethod
    def judge(self, epoch: Epoch) -> tuple[Judged, Chosen, dict[str, Any]] | None:
        """How good the net is on the held-out images, the epoch by that, and its words for metrics.jsonl.

        None where no images are held out.
        """

    @abstractmethod
    def better(self, now: Chosen) -> bool:
        """Whether to keep this epoch rather than the best so far."""

    @abstractmethod
    def unjudged(self, epoch: int) -> Chosen:
        """An epoch that nothing is known of."""

    @abstractmethod
    def recalled(self, words: dict[str, Any]) -> Chosen:
        """An epoch of words that were saved."""

    @abstractmethod
    def write_model(self, net: nn.Module) -> None:
        """model.safetensors, with all that is needed to use it."""

    @abstractmethod
    def words(self) -> dict[str, Any]:
        """What else going on needs to be saved: words, numbers and tensors."""

    @abstractmethod
    def test(self) -> Iterator[Event]:
        """Look at the test images, once, and write all that comes of it; evaluation.json comes last."""

    def learn(self) -> Learn | None:
        """What a batch says to the net; None: to classify."""
        return None

    def recipe(self) -> Recipe:
        """How the loop is to train: the plan's recipe, its parts named as the net names them."""
        return self.plan.recipe

    def every(self, rarely: int) -> int:
        """How often a step's numbers are read from the device."""
        return 1

    def trained(self) -> Iterator[Event]:
        """Train to the end."""
        if not self.done:
            yield from self.train(self.steps)

    def until(self, step: int) -> Iterator[Event]:
        """Train until a step, as `trained` would."""
        yield from self.train(step)

    def beside(self) -> dict[str, Any]:
        """What metrics.jsonl says of an epoch before it is judged."""
        return {}

    def stepped(self, step: Step, logged: bool, every: int) -> None:  # noqa: B027 - most tasks have nothing to add
        """A step is done, and in metrics.jsonl if it is `logged`."""

    def after(self, epoch: Epoch) -> Iterator[Event]:
        """An epoch is done and judged."""
        yield from ()

    def say(self) -> Iterator[Decided]:
        """What had to be decided since: where memory ran out."""
        before, self.slices = self.slices or self.state.slices, self.state.slices
        if self.slices != before:
            size = self.plan.recipe.batch_size // self.slices
            why = f"memory ran out: slices of {size} pictures, the batch as it was"
            yield self.decide(Decision("accumulate", str(self.slices), why, f"--set accumulate={self.slices}"))
        while self.thinned:
            yield self.decide(Decision("evaluation", "in smaller batches", self.thinned.pop(0), ""))

    # -- the course of it -------------------------------------------------------------------------------------------

    def events(self) -> Iterator[Event]:
        """Train from where the state is to the end; then test."""
        yield self.started()
        if self.pending is not None:
            yield from self.validate(self.pending)
        yield from self.trained()
        if self.state.step < self.steps:
            yield self.decide(self.stopped_early())
        self.save()
        yield from self.test()

    def train(self, stop: int) -> Iterator[Event]:
        """Train until step `stop`."""
        per_epoch, last = self.batches.steps_per_epoch, self.steps
        rarely = max(1, per_epoch // ROWS_PER_EPOCH)
        every = self.every(rarely)
        learn, recipe = self.learn(), self.recipe()
        self.slices = self.slices or self.state.slices
        steps = fit(self.state, self.batches, recipe, self.plan.engine, learn=learn, stop=stop, every=every)
        for event in self.finite(steps):
            if isinstance(event, Step):
                if logged := event.step % rarely == 0 or event.step in (1, last):
                    self.log({"event": "step", **numbers(event)})
                self.stepped(event, logged, every)
                yield event
                if event.step % per_epoch == 0 or event.step == last:
                    continue  # its epoch follows at once
            else:
                yield from self.closed(event)
            yield from self.say()
            if self.done:
                break
            if now().any(self.stop.asked):
                self.interrupted()
            if time.perf_counter() - self.saved >= self.plan.options.save_every:
                self.save(aside=True)

    def finite(self, steps: Iterator[Step | Epoch]) -> Iterator[Step | Epoch]:
        """The same steps; a batch whose loss has no end is kept. Raises NotFinite, which names it."""
        try:
            yield from steps
        except NotFinite as e:
            if not now().first:
                raise
            plan = self.plan
            raise kept_batch(e, self.run, self.batches, view=plan.view, precision=plan.engine.precision) from e

    def closed(self, epoch: Epoch) -> Iterator[Event]:
        """An epoch is trained: judge it."""
        yield epoch
        yield from self.validate(epoch)
        yield from self.after(epoch)

    def validate(self, epoch: Epoch) -> Iterator[Validated]:
        """Judge an epoch by the held-out images, keep the weights if they are the best, write the row."""
        self.pending = epoch
        self.run.settle()  # the workers that show the images are better not forked beside that thread
        row = {"event": "epoch", **numbers(epoch), "lr": self.state.optimiser.param_groups[0]["lr"]} | self.beside()
        found = self.judge(epoch)
        if found is None:
            self.keep(self.unjudged(epoch.epoch))
            self.close(epoch, row)
            return
        evaluation, now, words = found
        if best := self.better(now):
            self.keep(now)
        self.close(epoch, row | words)
        yield Validated(epoch.epoch, evaluation, best)

    def stopped_early(self) -> Decision:
        """What to say where patience ended."""
        assert self.best is not None
        why = f"{self.plan.recipe.early_stop_epochs} epochs brought nothing better than epoch {self.best.epoch}"
        return Decision("stopped early", f"after epoch {self.epochs}", why, self.patience)

    def decide(self, decision: Decision) -> Decided:
        """Write a decision down and say it."""
        record.decisions(self.run, (decision,))
        return Decided((decision,))

    def log(self, row: dict[str, Any]) -> None:
        """Write a row of metrics.jsonl."""
        self.run.log(row)

    def close(self, epoch: Epoch, row: dict[str, Any]) -> None:
        """The epoch is done."""
        self.log(row)
        self.pending = None
        self.seen = (self.seen[0] + epoch.images_per_second * epoch.seconds, self.seen[1] + epoch.seconds)

    def keep(self, best: Chosen) -> None:
        """The present weights are the ones to keep."""
        self.best = best
        self.kept = {k: v.detach().cpu().clone() for k, v in self.state.ema.net.state_dict().items()}
        if now().first:
            self.write_model(self.state.ema.net)

    def kept_net(self) -> nn.Module:
        """A net with the weights that are kept; the one in training stays as it is."""
        net = copy.deepcopy(self.state.ema.net)
        if self.kept:
            net.load_state_dict(self.kept)
        return net

    @property
    def pace(self) -> float | None:
        """Images a second of training alone."""
        return self.seen[0] / self.seen[1] if self.seen[1] else None

    # -- saving, stopping -------------------------------------------------------------------------------------------

    def save(self, *, aside: bool = False) -> None:
        """Everything that going on needs; `aside` it is written while the training goes on."""
        self.run.save_state(
            {
                "train": self.state.state_dict(),
                "best": None if self.best is None else vars(self.best),
                "kept": self.kept,
                "pending": None if self.pending is None else asdict(self.pending),
                "seconds": self.seconds,
                "seen": list(self.seen),
                "lineage": json.dumps(self.plan.lineage),
                "data": self.plan.dataset.fingerprint,
                "rows": self.run.rows,
            }
            | self.words(),
            aside=aside,
        )
        self.saved = time.perf_counter()

    def load(self, saved: dict[str, Any]) -> None:
        """Take up what `save` kept; rows and weights of a later time that was lost go away."""
        self.state.load_state_dict(saved["train"])
        self.best = None if saved["best"] is None else self.recalled(saved["best"])
        self.kept = saved["kept"]
        self.pending = None if saved["pending"] is None else Epoch(**saved["pending"])
        self.before, self.seen = saved["seconds"], tuple(saved["seen"])
        self.run.forget_after(self.state.step)
        self.lost = max(0, saved.get("rows", 0) - self.run.rows)
        if self.kept and now().first:
            self.write_model(self.kept_net())

    def interrupted(self) -> NoReturn:
        """Save and leave."""
        self.save()
        again = f"{self.command} --resume {shlex.quote(str(self.run.folder))}"
        raise Interrupted(f"stopped at step {self.state.step} of {self.steps}, saved; go on with: {again}")


def numbers(event: Step | Epoch) -> dict[str, Any]:
    """What metrics.jsonl says of a step or an epoch: skipped steps where there are any."""
    return {k: v for k, v in asdict(event).items() if k != "images" and (k != "skipped" or v)}


def resumption(session: UnderWay, told: str | None, changed: Mapping[str, tuple[Any, Any]]) -> tuple[Decision, ...]:
    """What to say of a training that goes on: from where, what was damaged, what is other than before."""
    decisions = [
        Decision("resumed", f"step {session.state.step} of {session.steps}", told or "as it was saved", "--resume")
    ]
    if session.lost:
        why = "the file was damaged since; the training itself is whole"
        decisions.append(Decision("metrics.jsonl", f"{session.lost} rows are lost", why, ""))
    decisions += [Decision(k, str(b), f"changed on resuming, was {a}", "") for k, (a, b) in changed.items()]
    record.decisions(session.run, decisions)
    return tuple(decisions)


def course(session: UnderWay, decisions: Sequence[Decision]) -> Iterator[Event]:
    """The events of a training in its run folder, which is closed with them. Raises Interrupted after Ctrl-C."""
    with session.run:
        try:
            yield Decided(tuple(decisions))
            yield from session.events()
        except KeyboardInterrupt:
            again = f"{session.command} --resume {shlex.quote(str(session.run.folder))}"
            raise Interrupted(f"stopped at once; go on from the last saved step with: {again}") from None


class Length(TypedDict):
    """How far a training is and how long it takes, as `Started` says it."""

    step: int
    steps: int
    steps_per_epoch: int
    epochs: int


def length(session: UnderWay) -> Length:
    """That of a training."""
    per_epoch, steps = session.batches.steps_per_epoch, session.steps
    return {
        "step": session.state.step, "steps": steps, "steps_per_epoch": per_epoch,
        "epochs": math.ceil(steps / per_epoch),
    }  # fmt: skip
