"""The training of a localizer: what it learns from, how an epoch is judged, and what comes of the test."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from residua.boxes.one_class import labels
from residua.job.best import Chosen
from residua.job.boxes.session import BoxSession, same_data
from residua.job.boxes.session import train as begin
from residua.job.events import Event, Finished, Started, Tested
from residua.job.localization import drawings
from residua.job.localization.options import LocalizeOptions
from residua.job.localization.plan import Plan, complete, data_of, engine_of, prepare
from residua.job.stopping import Stopped
from residua.job.underway import length
from residua.localize import modelfile
from residua.localize.counts import LocalizationEvaluation, Places
from residua.localize.learning import Lesson, learning
from residua.localize.localizer import Localizer
from residua.localize.row import row_from_json, row_to_json
from residua.localize.run import evaluate
from residua.localize.tables import localizations_csv, per_class_csv
from residua.ranks import now
from residua.training import recipe as recipes
from residua.training.loop import Epoch
from residua.training.step import Learn

#: Pictures to one pass of an evaluation.
EVALUATION_BATCH = 64
#: What a model file says of its own errors.
TOLD = ("n", "top1_localization_error", "top5_localization_error", "given_localization_error", "top1_error",
        "mean_box_given_error", "mean_box_top1_error")  # fmt: skip


@dataclass(frozen=True)
class Best:
    """The epoch to keep so far: the one with the lowest top-1 localization error, then with the known class."""

    epoch: int
    n: int = 0
    top1_localization_error: float = 1.0
    given_localization_error: float = 1.0
    top1_error: float = 1.0

    @property
    def score(self) -> tuple[float, float]:
        """What is to be low."""
        return self.top1_localization_error, self.given_localization_error


@dataclass
class Session(BoxSession):
    """The training of a localizer under way."""

    plan: Plan
    best: Best | None = None

    command = "residua localize train"

    @classmethod
    def name(cls, plan: Plan) -> tuple[str, ...]:
        """What a run folder is called after, beside the data."""
        return (plan.row.net.name, "refined" if plan.row.refined else "places")

    def learn(self) -> Learn:
        """The gradient of the class and of the places."""
        assert isinstance(self.state.net, Localizer)
        self.state.lesson = Lesson(self.state.net, self.plan.recipe)
        return learning(self.plan.recipe, self.plan.engine, labels(self.plan.pictures["train"].split))

    def started(self) -> Started:
        """What begins."""
        plan = self.plan
        return Started(
            run=self.run.folder, arch=f"{plan.row.net.name}{', a second look' * plan.row.refined}",
            data=plan.dataset.name, classes=len(plan.dataset.classes),
            images={name: len(split) for name, split in plan.dataset.splits.items()},
            params=sum(p.numel() for p in self.state.net.parameters()), layers=plan.row.net.layers,
            side_px=plan.view.short_px, **length(self), metric="loc error",
        )  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """What the report says of the localizer before its results."""
        return {"localizer": row_to_json(self.plan.row)}

    def evaluated(self, net: nn.Module, name: str) -> tuple[LocalizationEvaluation, Places]:
        """The evaluation of a split; saves and raises Interrupted if the user asks to stop."""
        assert isinstance(net, Localizer)
        plan, pictures = self.plan, self.plan.pictures[name]
        batches = self.shown(name, EVALUATION_BATCH)
        try:
            return evaluate(
                net, pictures, batches, plan.mean_boxes, plan.dataset.classes, plan.engine, tell=self.thinned.append
            )  # fmt: skip
        except Stopped:
            self.interrupted()

    def judge(self, epoch: Epoch) -> tuple[LocalizationEvaluation, Best, dict[str, Any]] | None:
        """Evaluate the held-out images."""
        if "val" not in self.plan.dataset.splits:
            return None
        found, _ = self.evaluated(self.state.ema.net, "val")
        words = {k: getattr(found, k) for k in TOLD[1:5]}
        now = Best(epoch.epoch, found.n, **{k: words[k] for k in vars(Best(0)) if k in words})
        return found, now, {f"val_{k}": v for k, v in words.items()}

    def better(self, now: Chosen) -> bool:
        """Whether to keep this epoch rather than the best so far."""
        assert isinstance(now, Best)
        return not any(map(math.isnan, now.score)) and (self.best is None or now.score <= self.best.score)

    def unjudged(self, epoch: int) -> Best:
        """An epoch without held-out images."""
        return Best(epoch)

    def recalled(self, words: dict[str, Any]) -> Best:
        """An epoch that was saved."""
        return Best(**words)

    def write_model(self, net: nn.Module, test: LocalizationEvaluation | None = None) -> None:
        """model.safetensors, with all that is needed to use it."""
        plan, best = self.plan, self.best
        metrics: dict[str, Any] = {"val": asdict(best)} if best is not None and best.n else {}
        if test is not None:
            metrics["test"] = {k: getattr(test, k) for k in TOLD}
        header = modelfile.LocalizerHeader(
            row=plan.row, classes=plan.dataset.classes, view=plan.view, mean_boxes=plan.mean_boxes,
            recipe=recipes.to_json(plan.recipe), metrics=metrics, lineage=plan.lineage,
            data={"name": plan.dataset.name, "fingerprint": plan.dataset.fingerprint, "kind": plan.dataset.kind},
        )  # fmt: skip
        modelfile.save(self.run.path("model.safetensors"), net, header, overwrite=True)

    def words(self) -> dict[str, Any]:
        """What else going on needs to be saved."""
        plan = self.plan
        return {"row": json.dumps(row_to_json(plan.row)), "view": json.dumps(plan.view.to_json())}

    def test(self) -> Iterator[Event]:
        """Look at the test images, once, and write all that comes of it; evaluation.json comes last."""
        run, plan, net = self.run, self.plan, self.kept_net()
        run.write_metrics_csv()
        evaluation, found = self.evaluated(net, "test") if "test" in plan.dataset.splits else (None, None)
        if not now().first:  # the first process writes for all
            yield Finished(run.folder, self.seconds)
            return
        self.write_model(net, evaluation)
        run.write_json("summary.json", self.summarised() | {
            "seconds": self.seconds, "train_images_per_second": self.pace,
            "best_epoch": None if self.best is None else self.best.epoch,
            "params": sum(p.numel() for p in net.parameters()),
        })  # fmt: skip
        if evaluation is not None and found is not None:
            split = plan.dataset.splits["test"]
            localizations_csv(run.path("localizations.csv"), split.names, found, plan.dataset.classes)
            per_class_csv(run.path("per_class.csv"), evaluation)
            drawings.write(run, plan, found)
            run.write_json("evaluation.json", evaluation.to_json())
            yield Tested(evaluation)
        yield from self.say()
        yield Finished(run.folder, self.seconds)


def train(options: LocalizeOptions) -> Iterator[Event]:
    """Train a localizer as the options say, or go on with `options.resume`, and write a run folder.

    Raises UsageError and DataError for what does not fit, NumericError for a loss that is not finite, and Interrupted
    after Ctrl-C or SIGTERM, when everything is saved.
    """
    yield from begin(options, Session, prepare, reopened)


def reopened(options: LocalizeOptions, saved: dict[str, Any]) -> Plan:
    """The plan of a run that is resumed: the same localizer and view, on the same data."""
    dataset, row = data_of(options), row_from_json(json.loads(saved["row"]))
    view = same_data(options, dataset, saved, row.classes)
    plan = complete(options, dataset, view, row, engine_of(options, view))
    return replace(plan, options=options, lineage=json.loads(saved["lineage"]))
