"""The metrics of a run, sent to TensorBoard, MLflow or Weights & Biases as well. Off unless asked for.

Each takes the rows of metrics.jsonl under the names that they have there, at their step. ``tracking.json`` keeps under
which name a run is known to each, and how far they have heard of it, so that a resumed run goes on without repeating.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, Self
from uuid import uuid4

from residua.engine import Decision
from residua.errors import UsageError
from residua.evaluate import Evaluation
from residua.job.options import TrainOptions, flat, tracked
from residua.training.run import Run

Scalars = Mapping[str, float]

#: Of a row, what is no measurement; an epoch's learning rate is that of its last step, which has told it.
ASIDE = {"step": ("event", "step"), "epoch": ("event", "step", "epoch", "lr")}
#: Pictures of a finished run that are sent along, where whoever trains has drawn them.
PICTURES = ("curves.png", "confusion.png")
#: MLflow takes so many parameters at a time, and so many characters of each.
PARAMETERS, CHARACTERS = 100, 500
#: How each library is asked for: what it is called where one looks for it.
MODULES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
#: Nothing but what was asked for leaves the machine: neither MLflow's nor W&B's own reports on their use.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true", "WANDB_ERROR_REPORTING": "false"}


def title(folder: Path, config: Mapping[str, Any]) -> str:
    """What a run is called elsewhere: as its folder, a fold with the cross-validation's in front."""
    own = folder.resolve()
    return f"{own.parent.name}-{own.name}" if config.get("fold") else own.name


class Tracker(Protocol):
    """One place that metrics go to. Any call may raise anything: `Tracking` then goes on without it."""

    exact: bool  # whether steps that are told again replace the earlier ones

    def scalars(self, values: Scalars, step: int) -> None:
        """Measurements at a step, which counts from 1."""

    def final(self, values: Scalars, step: int) -> None:
        """What the test came to."""

    def picture(self, path: Path, step: int) -> None:
        """A PNG file of the run."""

    def flush(self) -> None:
        """Make sure that what was told so far is kept."""

    def close(self, finished: bool) -> None:
        """The training is finished, or stopped to go on later."""


class TensorBoard:
    """Event files in the run's folder ``tensorboard``."""

    exact = True

    def __init__(self, run: Run, config: Mapping[str, Any], step: int, kept: dict[str, Any]) -> None:
        """Begin, or go on after `step`: later events of before are taken back."""
        from torch.utils.tensorboard import SummaryWriter

        again = {"purge_step": step + 1} if kept else {}
        self.writer: Any = SummaryWriter(str(run.path("tensorboard")), **again)
        if not kept:
            self.writer.add_text("config", "".join(f"    {k} = {v}\n" for k, v in config.items()))
        kept["folder"] = "tensorboard"

    def scalars(self, values: Scalars, step: int) -> None:
        """As scalars of these names."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    final = scalars

    def picture(self, path: Path, step: int) -> None:
        """As an image under the file's name."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self.writer.add_image(path.stem, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def flush(self) -> None:
        """Write what is waiting."""
        self.writer.flush()

    def close(self, finished: bool) -> None:
        """Write and close the file."""
        self.writer.close()


class MLflow:
    """A run of the experiment ``residua`` at $MLFLOW_TRACKING_URI, or in ``mlruns`` beside the run's folder."""

    exact = False

    def __init__(self, run: Run, config: Mapping[str, Any], step: int, kept: dict[str, Any]) -> None:
        """Begin, or go on with the run that is kept."""
        from mlflow import MlflowClient

        beside = (run.folder.resolve().parent / "mlruns").as_uri()
        kept.setdefault("uri", os.environ.get("MLFLOW_TRACKING_URI") or beside)
        self.client: Any = MlflowClient(tracking_uri=kept["uri"])
        if "run" in kept:
            self.client.update_run(kept["run"], status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "residua"
            made = self.client.create_run(self._experiment(name), run_name=title(run.folder, config))
            kept["run"] = made.info.run_id
            self._parameters(kept["run"], config)
        self.id = kept["run"]

    def _experiment(self, name: str) -> str:
        """The number of the experiment, made if it is not there: perhaps by another process at this moment."""
        found = self.client.get_experiment_by_name(name)
        try:
            return str(found.experiment_id if found else self.client.create_experiment(name))
        except Exception:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _parameters(self, run: str, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        made = [Param(k, str(v)[:CHARACTERS]) for k, v in config.items()]
        for first in range(0, len(made), PARAMETERS):
            self.client.log_batch(run, params=made[first : first + PARAMETERS])

    def scalars(self, values: Scalars, step: int) -> None:
        """As metrics of these names."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self.id, metrics=[Metric(k, v, now, step) for k, v in values.items()])

    final = scalars

    def picture(self, path: Path, step: int) -> None:
        """As an artifact."""
        self.client.log_artifact(self.id, str(path))

    def flush(self) -> None:
        """Nothing waits."""

    def close(self, finished: bool) -> None:
        """FINISHED, or KILLED until it goes on."""
        self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


class Wandb:
    """A run of the project ``residua`` (or $WANDB_PROJECT); its files lie in the run's folder ``wandb``."""

    exact = False

    def __init__(self, run: Run, config: Mapping[str, Any], step: int, kept: dict[str, Any]) -> None:
        """Begin, or go on with the run that is kept. $WANDB_MODE=offline needs neither account nor network."""
        import wandb

        project = os.environ.get("WANDB_PROJECT") or "residua"
        kept.setdefault("run", uuid4().hex[:12])
        self.wandb: Any = wandb
        self.run: Any = wandb.init(
            project=project, name=title(run.folder, config), id=kept["run"], dir=str(run.folder), resume="allow",
            config=dict(config), settings=wandb.Settings(silent=True, console="off", disable_code=True),
        )  # fmt: skip

    def scalars(self, values: Scalars, step: int) -> None:
        """As metrics of these names."""
        self.run.log(dict(values), step=step)

    def final(self, values: Scalars, step: int) -> None:
        """Into the run's summary."""
        self.run.summary.update(dict(values))

    def picture(self, path: Path, step: int) -> None:
        """As an image under the file's name."""
        self.run.log({path.stem: self.wandb.Image(str(path))}, step=step)

    def flush(self) -> None:
        """Its own process writes."""

    def close(self, finished: bool) -> None:
        """End the run; one that is not finished is marked as failed until it goes on."""
        self.run.finish(exit_code=0 if finished else 1)


KINDS: Mapping[str, type[TensorBoard] | type[MLflow] | type[Wandb]] = {
    "tensorboard": TensorBoard, "mlflow": MLflow, "wandb": Wandb,
}  # fmt: skip


@dataclass
class Tracking:
    """All trackers of a run: none unless asked for. One that fails is left out from then on, and `failed` says so.

    `seen` is, by tracker, the last step of each kind of row that an earlier session told it.
    """

    folder: Path = Path()
    trackers: dict[str, Tracker] = field(default_factory=dict)
    seen: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: list[Decision] = field(default_factory=list)
    step: int = 0
    finished: bool = False

    def __enter__(self) -> Self:
        """The trackers."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def log(self, row: Mapping[str, Any]) -> None:
        """A row of metrics.jsonl."""
        values, step = scalars(row), row["step"]
        self.step = max(self.step, step)
        for name, tracker in list(self.trackers.items()):
            again = step <= self.seen.get(name, {}).get(row["event"], 0)
            if values and (tracker.exact or not again):
                self._try(name, lambda t=tracker: t.scalars(values, step))

    def flush(self) -> None:
        """Keep what was told so far."""
        for name, tracker in list(self.trackers.items()):
            self._try(name, tracker.flush)

    def tested(self, found: Evaluation | None) -> None:
        """The end of the training: what the test came to."""
        self.finished = True
        if found is None:
            return
        values = {
            "test_top1_error": found.top1_error, "test_top5_error": found.top5_error, "test_loss": found.loss,
            "test_macro_f1": found.means.macro.f1, "test_balanced_accuracy": found.means.balanced_accuracy,
        }  # fmt: skip
        numbers = {k: float(v) for k, v in values.items() if math.isfinite(v)}
        for name, tracker in list(self.trackers.items()):
            self._try(name, lambda t=tracker: t.final(numbers, self.step))

    def close(self) -> None:
        """End everything, once; of a finished run the pictures go along."""
        for name, tracker in list(self.trackers.items()):
            for path in (self.folder / p for p in PICTURES if self.finished):
                if path.is_file():
                    self._try(name, lambda t=tracker, p=path: t.picture(p, self.step))
            self._try(name, lambda t=tracker: t.close(self.finished))
        self.trackers.clear()

    def _try(self, name: str, act: Any) -> None:
        try:
            act()
        except Exception as e:  # whatever network, disk or library come up with must not end a training
            self.drop(name, e)

    def drop(self, name: str, error: Exception) -> None:
        """Go on without a tracker."""
        self.trackers.pop(name, None)
        line = (str(error).strip().splitlines() or [""])[0][:200]
        why = f"it failed ({type(error).__name__}: {line}); the run folder has everything"
        self.failed.append(Decision("track", f"{name} off", why, "--track"))


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The measurements of a row that are numbers, by their names."""
    aside = ASIDE.get(row["event"])
    if aside is None:
        return {}
    numbers = {k: v for k, v in row.items() if k not in aside and isinstance(v, int | float)}
    return {k: float(v) for k, v in numbers.items() if math.isfinite(v)}


def check_installed(options: TrainOptions) -> None:
    """Raise UsageError for a tracker that is asked for and not installed."""
    for word in tracked(options.track):
        if find_spec(MODULES[word]) is None:
            raise UsageError(f"--track {word} needs {word}, which is not installed: pip install 'residua[{word}]'")


def tracking(options: TrainOptions, run: Run, step: int = 0) -> Tracking:
    """The trackers that the options name, for a run that begins, or goes on after `step`.

    Called before the rows after `step` are taken away from metrics.jsonl, to know what was told already. A tracker that
    is new to a run hears all its rows up to `step`.
    """
    words = tracked(options.track)
    if not words:
        return Tracking()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    kept, rows = _kept(run.folder), run.metrics()
    config = {k: v for k, v in flat(options).items() if v is not None}
    made = Tracking(run.folder, step=step)
    for word in words:
        mine = dict(kept.get(word, {}))
        try:
            tracker = KINDS[word](run, config, step, mine)
            for row in rows if word not in kept else ():
                if row.get("step", 0) <= step and (values := scalars(row)):
                    tracker.scalars(values, row["step"])
        except Exception as e:
            made.drop(word, e)
            continue
        made.trackers[word] = tracker
        made.seen[word] = _seen(mine.get("seen", {}), rows if word in kept else ())
        kept[word] = mine | {"seen": made.seen[word]}
    run.write_json("tracking.json", kept)
    return made


def _seen(before: Mapping[str, int], rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The last step of each kind of row, of those told before and of the rows of the last session."""
    seen = dict(before)
    for row in rows:
        seen[row["event"]] = max(seen.get(row["event"], 0), row.get("step", 0))
    return seen


def _kept(folder: Path) -> dict[str, Any]:
    """What tracking.json holds, or what it begins with."""
    try:
        found = json.loads((folder / "tracking.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}
