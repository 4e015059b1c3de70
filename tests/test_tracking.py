"""Laws of tracking: what the run folder says, others say too, at the same steps, once; and none can end a training."""

import json
import struct

import pytest

from residua.errors import UsageError
from residua.job import Decided, Finished, resumed, tracking, train
from residua.job.tracking import Tracking, scalars
from residua.training.loop import Step
from test_job import finished, options, until


class Told:
    """A tracker that remembers."""

    exact = False

    def __init__(self, run, config, step, kept):
        self.config, self.rows, self.ends, self.pictures = config, [], [], []
        kept["known"] = True
        Told.made.append(self)

    def scalars(self, values, step):
        self.rows.append((step, dict(values)))

    def final(self, values, step):
        self.test = dict(values)

    def picture(self, path, step):
        self.pictures.append(path.name)

    def flush(self):
        pass

    def close(self, finished):
        self.ends.append(finished)


@pytest.fixture
def told(monkeypatch):
    Told.made = []
    monkeypatch.setattr(tracking, "KINDS", {"mlflow": Told, "tensorboard": Told, "wandb": Told})
    monkeypatch.setattr(tracking, "find_spec", lambda name: True)
    return Told.made


def measured(folder):
    """(step, name, value) of every measurement that metrics.jsonl holds."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(r["step"], k, v) for r in rows for k, v in scalars(r).items()]


def test_without_the_word_nothing_is_tracked_and_no_library_is_asked_for(tmp_path):
    finished(options(tmp_path))
    assert not (tmp_path / "run/tracking.json").exists()
    assert Tracking().trackers == {}


def test_rows_are_told_by_their_names_at_their_steps_and_the_test_at_the_end(tmp_path, told):
    for event in train(options(tmp_path, track="mlflow,wandb")):
        if isinstance(event, Finished):
            (event.run / "curves.png").write_bytes(b"")
    for one in told:
        assert [(s, k, v) for s, values in one.rows for k, v in values.items()] == measured(tmp_path / "run")
        names = {k for _, values in one.rows for k in values}
        assert names >= {"loss", "error", "lr", "train_loss", "train_error", "val_loss", "val_error"}
        kept = json.loads((tmp_path / "run/evaluation.json").read_text())
        assert one.test["test_top1_error"] == kept["top1_error"]
        assert (one.pictures, one.ends) == (["curves.png"], [True])
        assert one.config["arch"] == "cifar_resnet20:1-1-1" and one.config["batch_size"] == 16
    assert len(told) == 2


def test_a_resumed_run_tells_everything_once(tmp_path, told):
    until(options(tmp_path, track="mlflow", save_every=0), lambda e: isinstance(e, Step) and e.step == 6)
    assert told[0].ends == [False]
    finished(resumed(tmp_path / "run"))
    both = [(s, k, v) for one in told for s, values in one.rows for k, v in values.items()]
    assert both == measured(tmp_path / "run") and told[1].ends == [True]


def test_what_a_run_that_died_had_told_is_not_told_again(tmp_path, told):
    until(options(tmp_path, track="mlflow"), lambda e: isinstance(e, Step) and e.step == 5)
    folder = tmp_path / "run"
    lost = {"event": "step", "step": 7, "epoch": 1.75, "lr": 0.1, "loss": 1.0, "error": 0.5}
    with (folder / "metrics.jsonl").open("a") as file:  # steps 6 and 7 were told, and died with the process
        file.write(json.dumps(lost | {"step": 6}) + "\n" + json.dumps(lost) + "\n")
    until(resumed(folder), lambda e: isinstance(e, Step) and e.step == 6)
    finished(resumed(folder))
    steps = [s for one in told[1:] for s, values in one.rows if "loss" in values]
    assert steps == sorted(set(steps)) and steps[0] == 8


def test_a_tracker_that_is_new_to_a_run_hears_all_of_it(tmp_path, told):
    until(options(tmp_path), lambda e: isinstance(e, Step) and e.step == 6)
    finished(resumed(tmp_path / "run", track="wandb"))
    assert [(s, k, v) for s, values in told[0].rows for k, v in values.items()] == measured(tmp_path / "run")


@pytest.mark.parametrize("where", ["__init__", "scalars", "final", "flush", "close"])
def test_a_tracker_that_fails_is_one_line_and_the_training_goes_on(tmp_path, told, monkeypatch, where):
    def fails(self, *args):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(Told, where, fails)
    events = finished(options(tmp_path, track="mlflow"))
    said = [d for e in events if isinstance(e, Decided) for d in e.decisions if d.what == "track"]
    assert [(d.value, d.flag) for d in said] == [("mlflow off", "--track")]
    assert "ConnectionError: no network;" not in said[0].why and "no network)" in said[0].why
    assert (tmp_path / "run/evaluation.json").exists()
    assert said[0].__dict__ in json.loads((tmp_path / "run/decisions.json").read_text())


def test_an_unknown_tracker_and_one_that_is_not_installed_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="unknown tracker 'tensorbord': did you mean tensorboard"):
        options(tmp_path, track="tensorbord")
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--track wandb needs wandb.*pip install 'residua\[wandb\]'"):
        finished(options(tmp_path, track="wandb"))
    assert not (tmp_path / "run").exists()


def test_tensorboard_reads_back_what_the_run_folder_says(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    until(options(tmp_path, track="tensorboard"), lambda e: isinstance(e, Step) and e.step == 6)
    finished(resumed(folder))
    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    found = {(s.step, tag, s.value) for tag in read.Tags()["scalars"] for s in read.Scalars(tag)}
    assert len(found) == len(measured(folder)) + 5  # and the test
    by_place = {(s, k): v for s, k, v in found}
    assert all(by_place[s, k] == pytest.approx(v, rel=1e-6) for s, k, v in measured(folder))
    assert by_place[12, "test_top1_error"] == pytest.approx(
        json.loads((folder / "evaluation.json").read_text())["top1_error"]
    )


@pytest.mark.slow
def test_mlflow_reads_back_what_the_run_folder_says(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "run"
    until(options(tmp_path, track="mlflow"), lambda e: isinstance(e, Step) and e.step == 6)
    finished(resumed(folder))
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("residua").experiment_id])
    assert (run.info.status, run.info.run_name, run.data.params["arch"]) == ("FINISHED", "run", "cifar_resnet20:1-1-1")
    for name in ("loss", "lr", "train_loss", "val_error"):
        history = [(m.step, name, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        assert sorted(history) == sorted(m for m in measured(folder) if m[1] == name)
    assert 0 <= run.data.metrics["test_top1_error"] <= 1


def records(log):
    """The records of a W&B file: LevelDB's log format (blocks of 32 KiB) behind a header of seven bytes."""
    at, parts = 7, []
    while at + 7 <= len(log):
        if 32768 - at % 32768 < 7:  # the end of a block that cannot hold a header
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", log, at + 4)
        parts.append(log[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []


@pytest.mark.slow
def test_wandb_offline_holds_what_the_run_folder_says(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "run"
    finished(options(tmp_path, track="wandb"))
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found = []
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            row = {(i.key or ".".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item}
            found += [(row["_step"], k, v) for k, v in row.items() if not k.startswith("_")]
    assert sorted(found) == sorted(measured(folder))
