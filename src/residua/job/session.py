"""The training of a classifier: it grows, keeps to a budget, watches, and tells trackers on the way."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from residua.data.batches import Batch, Batches, in_order
from residua.data.dataset import Split
from residua.engine import Decision
from residua.evaluate import (
    Answers,
    Evaluation,
    Fitted,
    answers,
    counted,
    evaluate,
    fit_temperature,
    logits_of,
    per_class_csv,
    predictions_csv,
)
from residua.job import explaining, record
from residua.job.best import Best, Chosen, better, candidate
from residua.job.course import Clock
from residua.job.events import Decided, Event, Finished, Paced, Started, Tested
from residua.job.growth import stops, turn
from residua.job.plan import Plan
from residua.job.space import at_once
from residua.job.stopping import Stopped
from residua.job.tracking import Tracking
from residua.job.underway import UnderWay, length
from residua.job.waiting import news, slow
from residua.job.watching import Watch, look
from residua.nn import modelfile
from residua.nn.arch import to_json
from residua.ranks import now
from residua.training import recipe as recipes
from residua.training.loop import Epoch, Step
from residua.training.schedule import remember


@dataclass
class Session(UnderWay):
    """A training under way: the plan, the state, and what is kept beside it."""

    plan: Plan
    batches: Batches
    best: Best | None = None
    clock: Clock = field(default_factory=Clock)
    told: list[str] = field(default_factory=list)  # by the engine, later
    watch: Watch | None = None  # made when it is needed
    paced: int = 0  # looks at the clock so far
    mark: tuple[int, float, float] | None = None  # the last of them: step, time, `aside`
    aside: float = 0.0  # seconds of this session that were not training
    tracking: Tracking = field(default_factory=Tracking)
    waited: float = 0.0  # seconds of training that were spent waiting for data
    heard: set[str] = field(default_factory=set)  # what was said of the data
    over: int = 0  # epochs of this session

    patience = "--early-stop"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.plan.dataset.classes

    def turn(self) -> Iterator[Decided | Paced]:
        """Grow, and look at the clock, where that is due."""
        steps = self.steps
        if decided := turn(self):
            record.decisions(self.run, decided)
            self.save()
            yield Decided(decided)
        if self.steps != steps:
            yield Paced(self.steps, math.ceil(self.steps / self.batches.steps_per_epoch))

    def trained(self) -> Iterator[Event]:
        """Train to the end, growing and keeping to the budget on the way."""
        while True:
            yield from self.turn()
            if self.done:
                return
            yield from self.train(next(iter(stops(self)), self.steps))

    def until(self, step: int) -> Iterator[Event]:
        """Train until a step, growing and pacing on the way as `trained` does."""
        while self.state.step < step:
            yield from self.turn()
            yield from self.train(min(step, next(iter(stops(self)), self.steps)))

    def every(self, rarely: int) -> int:
        """How often a step's numbers are read: a GPU is not kept waiting."""
        return 1 if self.plan.engine.kind == "cpu" else rarely

    def stepped(self, step: Step, logged: bool, every: int) -> None:
        """Watch the gradients and the units where that is asked for."""
        if logged and self.plan.options.watch_gradients:
            self.run.log(record.gradients(step, self.state.net))
        look(self, step, self.steps, every)

    def closed(self, epoch: Epoch) -> Iterator[Event]:
        """An epoch is trained: judge it; the time that this takes is no training."""
        began = time.perf_counter()
        yield from super().closed(epoch)
        self.aside += time.perf_counter() - began

    def after(self, epoch: Epoch) -> Iterator[Event]:
        """Say what made the epoch slow."""
        yield from map(self.decide, slow(self.plan, epoch, self.heard, first=not self.over))
        self.over += 1

    def started(self) -> Started:
        """What begins."""
        plan = self.plan
        return Started(
            run=self.run.folder,
            arch=plan.row.name,
            data=plan.dataset.name,
            classes=len(self.classes),
            images={name: len(split) for name, split in plan.dataset.splits.items()},
            params=sum(p.numel() for p in self.state.net.parameters()),
            layers=plan.row.layers,
            side_px=plan.view.side_px,
            **length(self),
        )

    def say(self) -> Iterator[Decided]:
        """What the engine, the loop, the cache and the trackers had to decide since."""
        while self.tracking.failed:
            yield self.decide(self.tracking.failed.pop(0))
        yield from map(self.decide, news(self.plan, self.heard))
        if self.told:
            yield self.decide(Decision("compile", "off", self.told.pop(), "--compile off"))
        yield from super().say()

    def shown(self, split: Split) -> Iterator[Batch]:
        """This process's images of a split; alone, raises Stopped if the user asks to stop."""
        size = at_once(self.plan)
        ranks, workers = now(), self.plan.engine.workers
        batches = in_order(
            split, self.plan.view, size, workers, self.plan.cache, rank=ranks.rank, world=ranks.world,
            device=self.plan.device,
        )  # fmt: skip
        return self.stop.between(batches) if ranks.alone else batches

    def answered(self, net: nn.Module, split: Split, temperature: float | None = None) -> list[Answers]:
        """What the net says of a split: of each image once, however many processes share them."""
        now().align(net)
        shown, k = self.shown(split), len(self.classes)
        found = answers(net, shown, k, self.plan.engine, temperature, tell=self.thinned.append)
        if now().alone:
            return list(found)
        mine = [Answers(a.index, a.labels, a.scores.cpu(), a.raw.cpu()) for a in found]
        every = now().gather(mine)
        return [of[i] for i in range(max(map(len, every))) for of in every if i < len(of)]

    def evaluated(self, net: nn.Module, split: Split, temperature: float | None = None) -> Evaluation:
        """The evaluation of a split; saves and raises Interrupted if the user asks to stop."""
        try:
            if now().alone:
                shown, engine = self.shown(split), self.plan.engine
                return evaluate(net, shown, self.classes, engine, temperature=temperature, tell=self.thinned.append)
            return counted(self.answered(net, split, temperature), self.classes, temperature)
        except Stopped:
            self.interrupted()

    def fitted(self, net: nn.Module) -> Fitted:
        """The temperature that suits the held-out images; saves and raises Interrupted if the user asks to stop."""
        split = self.plan.dataset.splits.get("val")
        if split is None:
            return Fitted(None, "not fitted: there are no validation images")
        try:
            return fit_temperature(*logits_of(self.answered(net, split)))
        except Stopped:
            self.interrupted()

    def beside(self) -> dict[str, Any]:
        """The error on the test images, where it is watched."""
        test = self.plan.dataset.splits.get("test")
        if not self.plan.options.watch_test or test is None:
            return {}
        return {"test_error": self.evaluated(self.state.ema.net, test).top1_error}

    def judge(self, epoch: Epoch) -> tuple[Evaluation, Best, dict[str, Any]] | None:
        """Evaluate the held-out images."""
        split = self.plan.dataset.splits.get("val")
        if split is None:
            return None
        found = self.evaluated(self.state.ema.net, split)
        error = found.top1_error
        self.state.memory = remember(self.plan.recipe, self.state.memory, step=epoch.step, val_error=error)
        now = candidate(epoch.epoch, found, self.plan.recipe.best_by)
        return found, now, {"val_loss": found.loss, "val_error": error}

    def better(self, now: Chosen) -> bool:
        """Whether to keep this epoch rather than the best so far."""
        assert isinstance(now, Best)
        return better(now, self.best)

    def unjudged(self, epoch: int) -> Best:
        """An epoch without held-out images."""
        return Best(epoch)

    def recalled(self, words: dict[str, Any]) -> Best:
        """An epoch that was saved."""
        return Best(**words)

    def stopped_early(self) -> Decision:
        """What to say where patience ended."""
        recipe, best = self.plan.recipe, self.best
        assert best is not None
        why = f"{recipe.early_stop_epochs} epochs brought no lower {recipe.best_by} than epoch {best.epoch}"
        return Decision("stopped early", f"after epoch {self.epochs}", why, self.patience)

    def log(self, row: dict[str, Any]) -> None:
        """Write a row of metrics.jsonl, and tell those who follow."""
        self.run.log(row)
        self.tracking.log(row)

    def close(self, epoch: Epoch, row: dict[str, Any]) -> None:
        """The epoch is done."""
        super().close(epoch, row)
        self.waited += epoch.waiting * epoch.seconds

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

    def save(self, *, aside: bool = False) -> None:
        """Everything that going on needs; the time that it takes is no training."""
        began = time.perf_counter()
        self.tracking.flush()
        super().save(aside=aside)
        self.aside += self.saved - began

    def words(self) -> dict[str, Any]:
        """What else going on needs to be saved."""
        plan = self.plan
        return {
            "waited": self.waited,
            "row": json.dumps(to_json(plan.row)),
            "view": json.dumps(plan.view.to_json()),
            "steps": None if plan.recipe == plan.options.recipe else self.steps,
            "paced": self.paced,
            "spent": self.clock.spent(),
            "course": None if plan.course is None else json.dumps(plan.course.to_json()),
            "forecast_seconds": plan.forecast_seconds,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take up what `save` kept."""
        self.waited = saved.get("waited", 0.0)
        self.paced = saved.get("paced", 0)
        self.clock.add(saved.get("spent", 0.0))
        super().load(saved)

    # -- the end ----------------------------------------------------------------------------------------------------

    def test(self) -> Iterator[Decided | Tested | Finished]:
        """Look at the test images, once, and write all that comes of it; evaluation.json comes last."""
        run, split, net = self.run, self.plan.dataset.splits.get("test"), self.kept_net()
        run.write_metrics_csv()
        fitted = self.fitted(net)
        evaluation = None if split is None else self.evaluated(net, split, fitted.temperature)
        if not now().first:  # the first process writes for all
            yield Finished(run.folder, self.seconds)
            return
        self.write_model(net, evaluation, fitted.temperature)
        chosen = self.best.epoch if self.best is not None else None
        run.write_json(
            "summary.json",
            record.summary(self.plan)
            | {
                "temperature": asdict(fitted),
                "seconds": self.seconds,
                "train_images_per_second": self.pace,
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
