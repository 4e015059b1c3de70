"""The training of a detector: fit and evaluate in turn, keep the best, save, stop when asked, test once."""

import copy
import json
import math
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor, nn

from residua.boxes.batches import BoxBatches, each_once
from residua.boxes.view import BoxView
from residua.detect import modelfile
from residua.detect.counts import BoxEvaluation, Found, check_installed
from residua.detect.detector import Detector
from residua.detect.row import row_from_json, row_to_json
from residua.detect.run import evaluate, learning
from residua.detect.tables import detections_csv, per_class_csv
from residua.engine import Decision
from residua.errors import DataError, Interrupted, UsageError
from residua.job import record
from residua.job.best import hopeless
from residua.job.detection import drawings
from residua.job.detection.options import DetectOptions, changes, resumed, to_config
from residua.job.detection.plan import Plan, complete, data_of, engine_of, prepare
from residua.job.events import Decided, Event, Finished, Started, Tested, Validated
from residua.job.stopping import Stop, Stopped, signals
from residua.training import recipe as recipes
from residua.training.loop import Epoch, State, Step, begin, fit
from residua.training.run import Run, check_free, free_name
from residua.training.schedule import total_steps

#: Rows of metrics.jsonl for the steps of one epoch, at most.
ROWS_PER_EPOCH = 20
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
class Session:
    """A training under way: the plan, the state, and what is kept beside it."""

    plan: Plan
    run: Run
    stop: Stop
    state: State
    batches: BoxBatches
    best: Best | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)  # the weights of `best`
    pending: Epoch | None = None  # an epoch that is trained and not yet validated
    before: float = 0.0  # seconds of earlier sessions
    began: float = field(default_factory=time.perf_counter)
    saved: float = field(default_factory=time.perf_counter)
    seen: tuple[float, float] = (0.0, 0.0)  # images and seconds of training alone

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return self.before + time.perf_counter() - self.began

    @property
    def steps(self) -> int:
        """How many steps the training takes."""
        return total_steps(self.plan.recipe, self.batches.steps_per_epoch)

    def events(self) -> Iterator[Event]:
        """Train from where the state is to the end; then test."""
        yield self.started()
        if self.pending is not None:
            yield from self.validate(self.pending)
        if not self.done:
            yield from self.train()
        if self.state.step < self.steps:
            yield self.stopped_early()
        self.save()
        yield from self.test()

    def train(self) -> Iterator[Event]:
        """Train to the end."""
        plan, per_epoch, steps = self.plan, self.batches.steps_per_epoch, self.steps
        rarely = max(1, per_epoch // ROWS_PER_EPOCH)
        learn = learning(plan.recipe, plan.engine)
        recipe = replace(plan.recipe, freeze=tuple(BODY + name for name in plan.recipe.freeze))
        for event in fit(self.state, self.batches, recipe, plan.engine, learn=learn):
            if isinstance(event, Step):
                if event.step % rarely == 0 or event.step in (1, steps):
                    self.run.log({"event": "step", **{k: v for k, v in asdict(event).items() if k != "images"}})
                yield event
                if event.step % per_epoch == 0 or event.step == steps:
                    continue  # its epoch follows at once
            else:
                yield event
                yield from self.validate(event)
            if self.done:
                break
            if self.stop.asked:
                self.interrupted()
            if time.perf_counter() - self.saved >= plan.options.save_every:
                self.save()

    @property
    def done(self) -> bool:
        """Whether all steps are taken, or no better epoch is to be hoped for."""
        epochs = 0 if self.pending is not None else self.state.step // self.batches.steps_per_epoch
        return self.state.step >= self.steps or hopeless(self.plan.recipe, self.best, epochs)

    def stopped_early(self) -> Decided:
        """What to say then."""
        assert self.best is not None
        why = f"{self.plan.recipe.early_stop_epochs} epochs brought nothing better than epoch {self.best.epoch}"
        epochs = self.state.step // self.batches.steps_per_epoch
        decision = Decision("stopped early", f"after epoch {epochs}", why, "--set early_stop_epochs=none")
        record.decisions(self.run, (decision,))
        return Decided((decision,))

    def started(self) -> Started:
        """What begins."""
        plan, per_epoch, steps = self.plan, self.batches.steps_per_epoch, self.steps
        return Started(
            run=self.run.folder, arch=f"{plan.row.net.name} {plan.row.form}", data=plan.dataset.name,
            classes=len(plan.dataset.classes),
            images={name: len(split) for name, split in plan.dataset.splits.items()},
            params=sum(p.numel() for p in self.state.net.parameters()), layers=plan.row.net.layers,
            side_px=plan.view.short_px, step=self.state.step, steps=steps, steps_per_epoch=per_epoch,
            epochs=math.ceil(steps / per_epoch), metric="AP50",
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

    def validate(self, epoch: Epoch) -> Iterator[Validated]:
        """Evaluate the held-out images after an epoch, keep the weights if they are the best, write the row."""
        self.pending = epoch
        row = {"event": "epoch", **asdict(epoch), "lr": self.state.optimiser.param_groups[0]["lr"]}
        if "val" not in self.plan.dataset.splits:
            self.keep(Best(epoch.epoch))
            self.close(epoch, row)
            return
        found, _ = self.evaluated(self.state.ema.net, "val")
        now = Best(epoch.epoch, found.n, found.coco["ap"] or 0.0, found.coco["ap50"] or 0.0)
        if better := self.best is None or now.score >= self.best.score:
            self.keep(now)
        self.close(epoch, row | {"val_ap": now.ap, "val_ap50": now.ap50, "val_voc12": found.voc12})
        yield Validated(epoch.epoch, found, better)

    def close(self, epoch: Epoch, row: dict[str, Any]) -> None:
        """The epoch is done."""
        self.run.log(row)
        self.pending = None
        self.seen = (self.seen[0] + epoch.images_per_second * epoch.seconds, self.seen[1] + epoch.seconds)

    def keep(self, best: Best) -> None:
        """The present weights are the ones to keep."""
        self.best = best
        self.kept = {k: v.detach().cpu().clone() for k, v in self.state.ema.net.state_dict().items()}
        self.write_model(self.state.ema.net)

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

    # -- saving, stopping -------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Everything that going on needs."""
        plan = self.plan
        self.run.save_state({
            "train": self.state.state_dict(),
            "best": None if self.best is None else asdict(self.best),
            "kept": self.kept,
            "pending": None if self.pending is None else asdict(self.pending),
            "seconds": self.seconds,
            "seen": list(self.seen),
            "row": json.dumps(row_to_json(plan.row)),
            "view": json.dumps(plan.view.to_json()),
            "lineage": json.dumps(plan.lineage),
            "data": plan.dataset.fingerprint,
        })  # fmt: skip
        self.saved = time.perf_counter()

    def load(self, saved: dict[str, Any]) -> None:
        """Take up what `save` kept; rows and weights of a later time that was lost go away."""
        self.state.load_state_dict(saved["train"])
        self.best = None if saved["best"] is None else Best(**saved["best"])
        self.kept = saved["kept"]
        self.pending = None if saved["pending"] is None else Epoch(**saved["pending"])
        self.before, self.seen = saved["seconds"], tuple(saved["seen"])
        self.run.forget_after(self.state.step)
        if self.kept:
            self.write_model(self.kept_net())

    def interrupted(self) -> NoReturn:
        """Save and leave."""
        self.save()
        again = f"residua detect train --resume {shlex.quote(str(self.run.folder))}"
        raise Interrupted(f"stopped at step {self.state.step} of {self.steps}, saved; go on with: {again}")

    # -- the end ----------------------------------------------------------------------------------------------------

    def kept_net(self) -> nn.Module:
        """A net with the weights that are kept; the one in training stays as it is."""
        net = copy.deepcopy(self.state.ema.net)
        if self.kept:
            net.load_state_dict(self.kept)
        return net

    def test(self) -> Iterator[Tested | Finished]:
        """Look at the test images, once, and write all that comes of it; evaluation.json comes last."""
        run, plan, net = self.run, self.plan, self.kept_net()
        run.write_metrics_csv()
        evaluation, found = self.evaluated(net, "test") if "test" in plan.dataset.splits else (None, [])
        self.write_model(net, evaluation)
        rate = self.seen[0] / self.seen[1] if self.seen[1] else None
        chosen = None if self.best is None else self.best.epoch
        run.write_json("summary.json", summary(plan) | {
            "seconds": self.seconds, "train_images_per_second": rate, "best_epoch": chosen,
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
        with session.run:
            try:
                yield Decided(decisions)
                yield from session.events()
            except KeyboardInterrupt:
                again = f"residua detect train --resume {shlex.quote(str(session.run.folder))}"
                raise Interrupted(f"stopped at once; go on from the last saved step with: {again}") from None


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
