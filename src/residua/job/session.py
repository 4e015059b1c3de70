"""A training under way: fit and evaluate in turn, keep the best, save, stop when asked, test once."""

import copy
import json
import math
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from torch import Tensor, nn

from residua.data.batches import Batch, Batches, in_order
from residua.data.dataset import Split
from residua.engine import Decision
from residua.errors import Interrupted
from residua.evaluate import (
    Evaluation,
    Fitted,
    answers,
    evaluate,
    fit_temperature,
    logits_of,
    per_class_csv,
    predictions_csv,
)
from residua.job import explaining, record
from residua.job.best import Best, better, candidate, hopeless, stopped_early
from residua.job.course import Clock
from residua.job.events import Decided, Event, Finished, Paced, Started, Tested, Validated
from residua.job.growth import stops, turn
from residua.job.plan import Plan
from residua.job.stopping import Stop, Stopped
from residua.job.tracking import Tracking
from residua.job.waiting import news, slow
from residua.job.watching import Watch, look
from residua.nn import modelfile
from residua.nn.arch import to_json
from residua.training import recipe as recipes
from residua.training.loop import Epoch, State, Step, fit
from residua.training.run import Run
from residua.training.schedule import remember, total_steps

#: Rows of metrics.jsonl for the steps of one epoch, at most.
ROWS_PER_EPOCH = 20
#: Images to one pass of an evaluation, at most.
EVALUATION_BATCH = 256


@dataclass
class Session:
    """A training under way: the plan, the state, and what is kept beside it."""

    plan: Plan
    run: Run
    stop: Stop
    state: State
    batches: Batches
    clock: Clock = field(default_factory=Clock)
    best: Best | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)  # the weights of `best`
    pending: Epoch | None = None  # an epoch that is trained and not yet validated
    before: float = 0.0  # seconds of earlier sessions
    began: float = field(default_factory=time.perf_counter)
    saved: float = field(default_factory=time.perf_counter)
    seen: tuple[float, float] = (0.0, 0.0)  # images and seconds of training alone
    told: list[str] = field(default_factory=list)  # by the engine, later
    slices: int = 1  # of a batch, as far as it was said
    watch: Watch | None = None  # made when it is needed
    paced: int = 0  # looks at the clock so far
    mark: tuple[int, float, float] | None = None  # the last of them: step, time, `aside`
    aside: float = 0.0  # seconds of this session that were not training
    tracking: Tracking = field(default_factory=Tracking)
    waited: float = 0.0  # seconds of training that were spent waiting for data
    heard: set[str] = field(default_factory=set)  # what was said of the data
    closed: int = 0  # epochs of this session

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return self.before + time.perf_counter() - self.began

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.plan.dataset.classes

    @property
    def steps(self) -> int:
        """How many steps the training takes."""
        return total_steps(self.plan.recipe, self.batches.steps_per_epoch)

    def events(self) -> Iterator[Event]:
        """Train from where the state is to the end, growing and keeping to the budget on the way; then test."""
        self.slices = self.state.slices
        yield self.started()
        if self.pending is not None:
            yield from self.validate(self.pending)
        while True:
            yield from self.turn()
            if self.done:
                break
            yield from self.train(next(iter(stops(self)), self.steps))
        if self.state.step < self.steps:
            yield self.decide(stopped_early(self))
        self.save()
        yield from self.test()

    @property
    def done(self) -> bool:
        """Whether all steps are taken, or no better epoch is to be hoped for."""
        return self.state.step >= self.steps or hopeless(self.plan.recipe, self.best, self.epochs)

    @property
    def epochs(self) -> int:
        """Whole epochs so far that were validated."""
        return 0 if self.pending is not None else self.state.step // self.batches.steps_per_epoch

    def turn(self) -> Iterator[Decided | Paced]:
        """Grow, and look at the clock, where that is due."""
        steps = self.steps
        if decided := turn(self):
            record.decisions(self.run, decided)
            self.save()
            yield Decided(decided)
        if self.steps != steps:
            yield Paced(self.steps, math.ceil(self.steps / self.batches.steps_per_epoch))

    def train(self, stop: int) -> Iterator[Event]:
        """Train until step `stop`."""
        per_epoch, steps = self.batches.steps_per_epoch, self.steps
        rarely = max(1, per_epoch // ROWS_PER_EPOCH)
        every = 1 if self.plan.engine.kind == "cpu" else rarely
        for event in fit(self.state, self.batches, self.plan.recipe, self.plan.engine, stop=stop, every=every):
            if isinstance(event, Step):
                if event.step % rarely == 0 or event.step in (1, steps):
                    self.log({"event": "step", **{k: v for k, v in asdict(event).items() if k != "images"}})
                    if self.plan.options.watch_gradients:
                        self.run.log(record.gradients(event, self.state.net))
                look(self, event, steps, every)
                yield event
                if event.step % per_epoch == 0 or event.step == steps:
                    continue  # its epoch follows at once
            else:
                began = time.perf_counter()
                yield event
                yield from self.validate(event)
                yield from map(self.decide, slow(self.plan, event, self.heard, first=not self.closed))
                self.closed += 1
                self.aside += time.perf_counter() - began
            yield from self.say()
            if self.done:
                break
            if self.stop.asked:
                self.interrupted()
            if time.perf_counter() - self.saved >= self.plan.options.save_every:
                self.save()

    def started(self) -> Started:
        """What begins."""
        plan, per_epoch, steps = self.plan, self.batches.steps_per_epoch, self.steps
        return Started(
            run=self.run.folder,
            arch=plan.row.name,
            data=plan.dataset.name,
            classes=len(self.classes),
            images={name: len(split) for name, split in plan.dataset.splits.items()},
            params=sum(p.numel() for p in self.state.net.parameters()),
            layers=plan.row.layers,
            side_px=plan.view.side_px,
            step=self.state.step,
            steps=steps,
            steps_per_epoch=per_epoch,
            epochs=math.ceil(steps / per_epoch),
        )

    def say(self) -> Iterator[Decided]:
        """What the engine, the loop, the cache and the trackers had to decide since."""
        while self.tracking.failed:
            yield self.decide(self.tracking.failed.pop(0))
        yield from map(self.decide, news(self.plan, self.heard))
        if self.told:
            yield self.decide(Decision("compile", "off", self.told.pop(), "--compile off"))
        if self.state.slices != self.slices:
            self.slices = self.state.slices
            why = (
                f"memory ran out: slices of {self.plan.recipe.batch_size // self.slices} pictures, the batch as it was"
            )
            yield self.decide(Decision("accumulate", str(self.slices), why, f"--set accumulate={self.slices}"))

    def decide(self, decision: Decision) -> Decided:
        """Write a decision down and say it."""
        record.decisions(self.run, (decision,))
        return Decided((decision,))

    def shown(self, split: Split) -> Iterator[Batch]:
        """The images of a split; raises Stopped if the user asks to stop."""
        size = min(EVALUATION_BATCH, max(32, self.plan.recipe.batch_size // self.plan.recipe.accumulate))
        return self.stop.between(in_order(split, self.plan.view, size, self.plan.engine.workers, self.plan.cache))

    def evaluated(self, net: nn.Module, split: Split, temperature: float | None = None) -> Evaluation:
        """The evaluation of a split; saves and raises Interrupted if the user asks to stop."""
        try:
            return evaluate(net, self.shown(split), self.classes, self.plan.engine, temperature=temperature)
        except Stopped:
            self.interrupted()

    def fitted(self, net: nn.Module) -> Fitted:
        """The temperature that suits the held-out images; saves and raises Interrupted if the user asks to stop."""
        split = self.plan.dataset.splits.get("val")
        if split is None:
            return Fitted(None, "not fitted: there are no validation images")
        try:
            found = answers(net, self.shown(split), len(self.classes), self.plan.engine)
            return fit_temperature(*logits_of(found))
        except Stopped:
            self.interrupted()

    def validate(self, epoch: Epoch) -> Iterator[Validated]:
        """Evaluate the held-out images after an epoch, keep the weights if they are the best, write the row."""
        self.pending = epoch
        split, net = self.plan.dataset.splits.get("val"), self.state.ema.net
        row = {"event": "epoch", **asdict(epoch), "lr": self.state.optimiser.param_groups[0]["lr"]}
        if self.plan.options.watch_test and (test := self.plan.dataset.splits.get("test")) is not None:
            row["test_error"] = self.evaluated(net, test).top1_error
        if split is None:
            self.keep(Best(epoch.epoch))
            self.close(epoch, row)
            return
        found = self.evaluated(net, split)
        error, loss = found.top1_error, found.loss
        now = candidate(epoch.epoch, found, self.plan.recipe.best_by)
        if best := better(now, self.best):
            self.keep(now)
        self.state.memory = remember(self.plan.recipe, self.state.memory, step=epoch.step, val_error=error)
        self.close(epoch, row | {"val_loss": loss, "val_error": error})
        yield Validated(epoch.epoch, found, best)

    def log(self, row: dict[str, Any]) -> None:
        """Write a row of metrics.jsonl, and tell those who follow."""
        self.run.log(row)
        self.tracking.log(row)

    def close(self, epoch: Epoch, row: dict[str, Any]) -> None:
        """The epoch is done."""
        self.log(row)
        self.pending = None
        self.waited += epoch.waiting * epoch.seconds
        self.seen = (self.seen[0] + epoch.images_per_second * epoch.seconds, self.seen[1] + epoch.seconds)

    def keep(self, best: Best) -> None:
        """The present weights are the ones to keep."""
        self.best = best
        self.kept = {k: v.detach().cpu().clone() for k, v in self.state.ema.net.state_dict().items()}
        self.write_model(self.state.ema.net)

    def write_model(self, net: nn.Module, test: Evaluation | None = None, temperature: float | None = None) -> None:
        """model.safetensors, with all that is needed to use it."""
        plan, best = self.plan, self.best
        metrics: dict[str, Any] = {}
        if best is not None and best.n:
            metrics["val"] = {"n": best.n, "wrong": best.wrong, "top1_error": best.top1_error, "epoch": best.epoch}
        if test is not None:
            metrics["test"] = {k: getattr(test, k) for k in ("n", "wrong", "top1_error", "top5_error")}
        header = modelfile.Header(
            row=plan.row,
            classes=self.classes,
            view=plan.view.to_json(),
            recipe=recipes.to_json(plan.recipe),
            metrics=metrics,
            lineage=plan.lineage,
            data=record.origin(plan),
            temperature=temperature,
        )
        modelfile.save(self.run.path("model.safetensors"), net, header, overwrite=True)

    # -- saving, stopping -------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Everything that going on needs."""
        began = time.perf_counter()
        self.tracking.flush()
        self.run.save_state(
            {
                "train": self.state.state_dict(),
                "best": None if self.best is None else asdict(self.best),
                "kept": self.kept,
                "pending": None if self.pending is None else asdict(self.pending),
                "seconds": self.seconds,
                "seen": list(self.seen),
                "waited": self.waited,
                "row": json.dumps(to_json(self.plan.row)),
                "view": json.dumps(self.plan.view.to_json()),
                "lineage": json.dumps(self.plan.lineage),
                "data": self.plan.dataset.fingerprint,
                "steps": None if self.plan.recipe == self.plan.options.recipe else self.steps,
                "paced": self.paced,
                "spent": self.clock.spent(),
                "course": None if self.plan.course is None else json.dumps(self.plan.course.to_json()),
                "forecast_seconds": self.plan.forecast_seconds,
            }
        )
        self.saved = time.perf_counter()
        self.aside += self.saved - began

    def load(self, saved: dict[str, Any]) -> None:
        """Take up what `save` kept; rows and weights of a later time that was lost go away."""
        self.state.load_state_dict(saved["train"])
        self.best = None if saved["best"] is None else Best(**saved["best"])
        self.kept = saved["kept"]
        self.pending = None if saved["pending"] is None else Epoch(**saved["pending"])
        self.before, self.seen = saved["seconds"], tuple(saved["seen"])
        self.waited = saved.get("waited", 0.0)
        self.paced = saved.get("paced", 0)
        self.clock.add(saved.get("spent", 0.0))
        self.run.forget_after(self.state.step)
        if self.kept:
            self.write_model(self.kept_net())

    def interrupted(self) -> NoReturn:
        """Save and leave."""
        self.save()
        step, steps = self.state.step, self.steps
        again = f"residua train --resume {shlex.quote(str(self.run.folder))}"
        raise Interrupted(f"stopped at step {step} of {steps}, saved; go on with: {again}")

    # -- the end ----------------------------------------------------------------------------------------------------

    def kept_net(self) -> nn.Module:
        """A net with the weights that are kept; the one in training stays as it is."""
        net = copy.deepcopy(self.state.ema.net)
        if self.kept:
            net.load_state_dict(self.kept)
        return net

    def test(self) -> Iterator[Decided | Tested | Finished]:
        """Look at the test images, once, and write all that comes of it; evaluation.json comes last."""
        run, split, net = self.run, self.plan.dataset.splits.get("test"), self.kept_net()
        run.write_metrics_csv()
        fitted = self.fitted(net)
        evaluation = None if split is None else self.evaluated(net, split, fitted.temperature)
        self.write_model(net, evaluation, fitted.temperature)
        rate = self.seen[0] / self.seen[1] if self.seen[1] else None
        chosen = self.best.epoch if self.best is not None else None
        run.write_json(
            "summary.json",
            record.summary(self.plan)
            | {
                "temperature": asdict(fitted),
                "seconds": self.seconds,
                "train_images_per_second": rate,
                "waiting": self.waited / self.seen[1] if self.seen[1] else None,
                "best_epoch": chosen,
            }
            | record.spent(self.plan, self.clock.spent()),
        )
        explaining.write(self, net, evaluation, fitted.temperature)
        if evaluation is not None and split is not None:
            predictions_csv(evaluation, split.names, run.path("predictions.csv"))
            per_class_csv(evaluation, run.path("per_class.csv"))
            record.gallery(run, split, evaluation, self.classes)
            run.write_json("evaluation.json", evaluation.to_json())
            yield Tested(evaluation)
        self.tracking.tested(evaluation)
        yield from self.say()
        yield Finished(run.folder, self.seconds)
