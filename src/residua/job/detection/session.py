"""The training of a detector: what it learns from, how an epoch is judged, and what comes of the test."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from residua.boxes.found import Found
from residua.boxes.tables import detections_csv
from residua.detect import modelfile
from residua.detect.counts import BoxEvaluation, check_installed
from residua.detect.detector import Detector
from residua.detect.row import row_from_json, row_to_json
from residua.detect.run import Lesson, evaluate, learning
from residua.detect.tables import per_class_csv
from residua.job.best import Chosen
from residua.job.boxes.session import BoxSession, same_data
from residua.job.boxes.session import train as begin
from residua.job.detection import drawings
from residua.job.detection.options import DetectOptions
from residua.job.detection.plan import Plan, complete, data_of, engine_of, prepare
from residua.job.events import Event, Finished, Started, Tested
from residua.job.stopping import Stopped
from residua.job.underway import length
from residua.ranks import now
from residua.training import recipe as recipes
from residua.training.loop import Epoch
from residua.training.step import Learn

#: Pictures to one pass of an evaluation.
EVALUATION_BATCH = 8


@dataclass(frozen=True)
class Best:
    """The epoch to keep so far: the one with the highest mean of COCO's AP and AP at overlap 0.5."""

    epoch: int
    n: int = 0
    ap: float = 0.0
    ap50: float = 0.0

    @property
    def score(self) -> float:
        """What is to be high."""
        return (self.ap + self.ap50) / 2


@dataclass
class Session(BoxSession):
    """The training of a detector under way."""

    plan: Plan
    best: Best | None = None

    command = "residua detect train"

    def learn(self) -> Learn:
        """The gradient of all four losses."""
        assert isinstance(self.state.net, Detector)
        self.state.lesson = Lesson(self.state.net)
        return learning(self.plan.recipe, self.plan.engine)

    @classmethod
    def name(cls, plan: Plan) -> tuple[str, ...]:
        """What a run folder is called after, beside the data."""
        return plan.row.net.name, plan.row.form

    def summary(self) -> dict[str, Any]:
        """What the report says of the detector before its results."""
        return {"detector": row_to_json(self.plan.row)}

    def started(self) -> Started:
        """What begins."""
        plan = self.plan
        return Started(
            run=self.run.folder, arch=f"{plan.row.net.name} {plan.row.form}", data=plan.dataset.name,
            classes=len(plan.dataset.classes),
            images={name: len(split) for name, split in plan.dataset.splits.items()},
            params=sum(p.numel() for p in self.state.net.parameters()), layers=plan.row.net.layers,
            side_px=plan.view.short_px, **length(self), metric="AP50",
        )  # fmt: skip

    def evaluated(self, net: nn.Module, name: str) -> tuple[BoxEvaluation, list[Found]]:
        """The evaluation of a split; saves and raises Interrupted if the user asks to stop."""
        assert isinstance(net, Detector)
        plan = self.plan
        batches = self.shown(name, EVALUATION_BATCH)
        try:
            return evaluate(
                net, plan.pictures[name], batches, plan.dataset.classes, plan.engine, tell=self.thinned.append
            )  # fmt: skip
        except Stopped:
            self.interrupted()

    def judge(self, epoch: Epoch) -> tuple[BoxEvaluation, Best, dict[str, Any]] | None:
        """Evaluate the held-out images."""
        if "val" not in self.plan.dataset.splits:
            return None
        found, _ = self.evaluated(self.state.ema.net, "val")
        now = Best(epoch.epoch, found.n, found.coco["ap"] or 0.0, found.coco["ap50"] or 0.0)
        return found, now, {"val_ap": now.ap, "val_ap50": now.ap50, "val_voc12": found.voc12}

    def better(self, now: Chosen) -> bool:
        """Whether to keep this epoch rather than the best so far."""
        assert isinstance(now, Best)
        return not math.isnan(now.score) and (self.best is None or now.score >= self.best.score)

    def unjudged(self, epoch: int) -> Best:
        """An epoch without held-out images."""
        return Best(epoch)

    def recalled(self, words: dict[str, Any]) -> Best:
        """An epoch that was saved."""
        return Best(**words)

    def write_model(self, net: nn.Module, test: BoxEvaluation | None = None) -> None:
        """model.safetensors, with all that is needed to use it."""
        plan, best = self.plan, self.best
        metrics: dict[str, Any] = {}
        if best is not None and best.n:
            metrics["val"] = {"n": best.n, "ap": best.ap, "ap50": best.ap50, "epoch": best.epoch}
        if test is not None:
            metrics["test"] = {"n": test.n, "boxes": test.boxes, "ap": test.coco["ap"], "ap50": test.coco["ap50"],
                               "voc07": test.voc07, "voc12": test.voc12, "threshold": test.threshold}  # fmt: skip
        header = modelfile.DetectorHeader(
            row=plan.row, classes=plan.dataset.classes, view=plan.view, recipe=recipes.to_json(plan.recipe),
            metrics=metrics, lineage=plan.lineage,
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
        evaluation, found = self.evaluated(net, "test") if "test" in plan.dataset.splits else (None, [])
        if not now().first:  # the first process writes for all
            yield Finished(run.folder, self.seconds)
            return
        self.write_model(net, evaluation)
        chosen = None if self.best is None else self.best.epoch
        run.write_json("summary.json", self.summarised() | {
            "seconds": self.seconds, "train_images_per_second": self.pace, "best_epoch": chosen,
            "params": sum(p.numel() for p in net.parameters()),
        })  # fmt: skip
        if evaluation is not None:
            split = plan.dataset.splits["test"]
            detections_csv(run.path("detections.csv"), split.names, found, plan.dataset.classes)
            per_class_csv(run.path("per_class.csv"), evaluation)
            drawings.write(run, plan, evaluation, found)
            run.write_json("evaluation.json", evaluation.to_json())
            yield Tested(evaluation)
        yield from self.say()
        yield Finished(run.folder, self.seconds)


# -- beginning ------------------------------------------------------------------------------------------------------


def train(options: DetectOptions) -> Iterator[Event]:
    """Train a detector as the options say, or go on with `options.resume`, and write a run folder.

    Raises UsageError and DataError for what does not fit, NumericError for a loss that is not finite, and Interrupted
    after Ctrl-C or SIGTERM, when everything is saved.
    """
    check_installed()
    yield from begin(options, Session, prepare, reopened)


def reopened(options: DetectOptions, saved: dict[str, Any]) -> Plan:
    """The plan of a run that is resumed: the same detector and view, on the same data."""
    dataset, row = data_of(options), row_from_json(json.loads(saved["row"]))
    view = same_data(options, dataset, saved, row.classes)
    plan = complete(options, dataset, view, row, engine_of(options))
    return replace(plan, options=options, lineage=json.loads(saved["lineage"]))
