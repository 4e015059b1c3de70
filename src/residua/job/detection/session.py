"""The training of a detector: what it learns from, how an epoch is judged, and what comes of the test."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from residua.boxes.batches import BoxBatches, each_once
from residua.boxes.found import Found
from residua.boxes.tables import detections_csv
from residua.boxes.view import BoxView
from residua.detect import modelfile
from residua.detect.counts import BoxEvaluation, check_installed
from residua.detect.detector import Detector
from residua.detect.row import row_from_json, row_to_json
from residua.detect.run import evaluate, learning
from residua.detect.tables import per_class_csv
from residua.engine import Decision
from residua.errors import DataError, UsageError
from residua.job import record
from residua.job.best import Chosen
from residua.job.detection import drawings
from residua.job.detection.options import DetectOptions, changes, resumed, to_config
from residua.job.detection.plan import Plan, complete, data_of, engine_of, prepare
from residua.job.events import Event, Finished, Started, Tested
from residua.job.stopping import Stop, Stopped, signals
from residua.job.underway import UnderWay, course, length
from residua.training import recipe as recipes
from residua.training.loop import Epoch, Learn, State, begin
from residua.training.recipe import Recipe
from residua.training.run import Run, check_free, free_name

#: Pictures to one pass of an evaluation.
EVALUATION_BATCH = 8
#: How the parts of the net are called within a detector.
BODY = "backbone.body."


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
class Session(UnderWay):
    """A training under way: the plan, the state, and what is kept beside it."""

    plan: Plan
    batches: BoxBatches
    best: Best | None = None

    command = "residua detect train"

    def learn(self) -> Learn:
        """The gradient of all four losses."""
        return learning(self.plan.recipe, self.plan.engine)

    def recipe(self) -> Recipe:
        """The plan's recipe, its parts named as within a detector."""
        return replace(self.plan.recipe, freeze=tuple(BODY + name for name in self.plan.recipe.freeze))

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
        batches = self.stop.between(each_once(plan.pictures[name], EVALUATION_BATCH, plan.engine.workers))
        try:
            return evaluate(net, plan.pictures[name], batches, plan.dataset.classes, plan.engine)
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
        return self.best is None or now.score >= self.best.score

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

    def test(self) -> Iterator[Tested | Finished]:
        """Look at the test images, once, and write all that comes of it; evaluation.json comes last."""
        run, plan, net = self.run, self.plan, self.kept_net()
        run.write_metrics_csv()
        evaluation, found = self.evaluated(net, "test") if "test" in plan.dataset.splits else (None, [])
        self.write_model(net, evaluation)
        chosen = None if self.best is None else self.best.epoch
        run.write_json("summary.json", summary(plan) | {
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
        yield Finished(run.folder, self.seconds)


def summary(plan: Plan) -> dict[str, Any]:
    """What the report says of the training before its results."""
    return {
        "task": "detection", "arch": plan.row.net.name, "detector": row_to_json(plan.row),
        "layers": plan.row.net.layers, "data": plan.dataset.name, "kind": plan.dataset.kind,
        "classes": list(plan.dataset.classes), "view": plan.view.to_json(),
        "images": {name: len(s) for name, s in plan.dataset.splits.items()},
        "boxes": {name: s.boxes for name, s in plan.dataset.splits.items()},
        "recipe": recipes.to_json(plan.recipe), "augment": list(plan.options.augment), "command": record.command(),
    }  # fmt: skip


# -- beginning ------------------------------------------------------------------------------------------------------


def train(options: DetectOptions) -> Iterator[Event]:
    """Train a detector as the options say, or go on with `options.resume`, and write a run folder.

    Raises UsageError and DataError for what does not fit, NumericError for a loss that is not finite, and Interrupted
    after Ctrl-C or SIGTERM, when everything is saved.
    """
    check_installed()
    with signals() as stop:
        session, decisions = (resumed_session if options.resume else new_session)(options, stop)
        yield from course(session, decisions)


def begun(plan: Plan) -> State:
    """The state before the first step; parts that are frozen are held."""
    net = plan.engine.place(plan.net(), lambda line: None)
    recipe = replace(plan.recipe, freeze=tuple(BODY + name for name in plan.recipe.freeze))
    return begin(net, recipe, plan.engine)


def new_session(options: DetectOptions, stop: Stop) -> tuple[Session, tuple[Decision, ...]]:
    """A training before its first step, and a run folder that says so."""
    if options.out is not None:
        check_free(Path(options.out))
    plan = prepare(options)
    state, batches = begun(plan), plan.batches()
    stop.at_once = False
    data = Path(plan.dataset.name).name or "data"
    run = Run.create(options.out or free_name(data, plan.row.net.name, plan.row.form))
    try:
        session = Session(plan, run, stop, state, batches)
        run.write_toml("config.toml", to_config(plan.options))
        run.write_json("environment.json", record.environment(plan.engine))
        record.decisions(run, plan.decisions)
        run.write_json("data_check.json", data_check(plan))
        run.write_json("summary.json", summary(plan))
        run.write_csv("split.csv", ("name", "boxes", "split"), (
            (name, len(target.labels), split)
            for split, of in plan.dataset.splits.items()
            for name, target in zip(of.names, of.targets, strict=True)
        ))  # fmt: skip
        run.write_bytes("batches/step-0.png", record.png(drawings.batch(plan, batches)))
        session.save()
    except BaseException:
        run.close()
        raise
    return session, plan.decisions


def resumed_session(options: DetectOptions, stop: Stop) -> tuple[Session, tuple[Decision, ...]]:
    """A training as it was saved, and its run folder."""
    assert options.resume is not None
    run = Run.open(options.resume)
    try:
        changed = changes(resumed(run.folder), options)
        saved, told = run.load_state()
        dataset = data_of(options)
        if dataset.fingerprint != saved["data"] and not options.accept_changes:
            raise DataError(
                f"{options.data} is not the data that {options.resume} was begun with; --accept-changes takes it"
            )
        row, view = row_from_json(json.loads(saved["row"])), BoxView.from_json(json.loads(saved["view"]))
        if len(dataset.classes) != row.classes:
            raise DataError(f"{options.data} has {len(dataset.classes)} classes, {options.resume} has {row.classes}")
        plan = complete(options, dataset, view, row, engine_of(options))
        plan = replace(plan, options=options, lineage=json.loads(saved["lineage"]))
        session = Session(plan, run, stop, begun(plan), plan.batches())
        session.load(saved)
        if session.done and (run.folder / "evaluation.json").exists():
            raise UsageError(f"{run.folder} is finished: there is nothing to go on with")
        stop.at_once = False
        step = f"step {session.state.step} of {session.steps}"
        decisions = (
            Decision("resumed", step, told or "as it was saved", "--resume"),
            *(Decision(k, str(b), f"changed on resuming, was {a}", "") for k, (a, b) in changed.items()),
        )
        record.decisions(run, decisions)
        if changed:
            run.write_toml("config.toml", to_config(options))
    except BaseException:
        run.close()
        raise
    return session, decisions


def data_check(plan: Plan) -> dict[str, Any]:
    """What the data are: pictures and boxes of each class in each split, and what was left out and why."""
    data = plan.dataset
    return {
        "name": data.name, "kind": data.kind, "fingerprint": data.fingerprint, "classes": list(data.classes),
        "channels": data.channels, "pictures": {name: len(s) for name, s in data.splits.items()},
        "splits": {
            name: dict(zip(data.classes, s.counts(len(data.classes)).tolist(), strict=True))
            for name, s in data.splits.items()
        },
        "skipped": [{"path": s.path, "reason": s.reason} for s in data.skipped],
        "bad_boxes": [asdict(b) for b in data.bad], "cut_boxes": len(data.cut), "notes": list(data.notes),
    }  # fmt: skip
