"""Laws of a whole study: every cell a run, nothing trained twice, nothing lost."""

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from residua import job
from residua.errors import DataError, Interrupted, UsageError
from residua.job.stopping import Stop
from residua.study import Done, Failed, Finished, Moved, Planned, StudyOptions, cell, engines, resumed, runner, study
from residua.study.cluster import Cluster
from residua.study.options import from_json, to_json
from study.conftest import document, finished


def left(folder: Path):
    """What a run leaves that does not depend on the time of day."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second", "waiting")} for r in rows]
    weights = {k: v.numpy().tobytes() for k, v in load_file(folder / "model.safetensors").items()}
    return rows, weights, (folder / "evaluation.json").read_bytes()


def test_every_cell_is_a_run_folder_and_a_row_of_the_results(tiny, tmp_path):
    events = finished(tiny())
    assert isinstance(events[0], Planned) and isinstance(events[-1], Finished)
    assert [e.cell for e in events if isinstance(e, Done)] != []
    found = document(events)
    assert [c["name"] for c in found["cells"]] == ["cifar_plain8-s0", "cifar_resnet8-s0"]
    for row in found["cells"]:
        run = tmp_path / "study" / row["run"]
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        epochs = [r for r in rows if r["event"] == "epoch"]
        assert row["train_error"] == epochs[-1]["train_error"]
        assert row["test_error"] == json.loads((run / "evaluation.json").read_text())["top1_error"]
        assert all(0 <= r["test_error"] <= 1 for r in epochs)
    assert json.loads((tmp_path / "study" / "results.json").read_text()) == found
    assert (tmp_path / "study" / "cells.csv").read_text().count("\n") == 3


def test_finished_cells_are_not_trained_again_and_new_ones_are_added(tiny, tmp_path):
    finished(tiny())
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "study" / "cells").rglob("*") if p.is_file()}
    events = finished(tiny(seeds=(0, 1)))
    assert set(events[0].finished) == {"cifar_plain8-s0", "cifar_resnet8-s0"}
    assert {e.cell for e in events if isinstance(e, Done)} == {"cifar_plain8-s1", "cifar_resnet8-s1"}
    assert {p: p.stat().st_mtime_ns for p in files} == files
    assert [g["n"] for g in document(events)["groups"]] == [2, 2]


def test_a_stopped_study_goes_on_bit_for_bit(tiny, tmp_path, monkeypatch):
    whole = tiny(out=str(tmp_path / "whole"))
    finished(whole)
    stop = Stop()
    monkeypatch.setattr(runner, "signals", lambda: nullcontext(stop))
    monkeypatch.setattr(cell, "PACE", 0)
    with pytest.raises(Interrupted, match="go on with: residua study --resume") as stopped:
        for event in study(tiny()):
            stop.asked |= isinstance(event, Moved) and event.step >= 2
    stop.asked = False
    assert not list((tmp_path / "study/cells").glob("*/evaluation.json"))
    assert "\n" not in str(stopped.value)
    finished(resumed(tmp_path / "study"))
    for name in ("cifar_plain8-s0", "cifar_resnet8-s0"):
        assert left(tmp_path / "study/cells" / name) == left(tmp_path / "whole/cells" / name)


def test_a_failed_cell_is_told_loses_no_other_and_is_tried_again(tiny, tmp_path):
    wrong = tmp_path / "study/cells/cifar_plain8-s0"
    wanted = tiny()
    study_json = tmp_path / "study/study.json"
    wrong.mkdir(parents=True)
    (wrong / "mine.txt").write_text("not a run")
    study_json.write_text(json.dumps({"options": to_json(wanted)}))
    events = finished(wanted)
    (failed,) = [e for e in events if isinstance(e, Failed)]
    assert failed.cell == "cifar_plain8-s0" and "exists: runs are never overwritten" in failed.error
    found = document(events)
    assert [f["name"] for f in found["failed"]] == ["cifar_plain8-s0"]
    assert [(g["n"], g["failed"]) for g in found["groups"]] == [(0, 1), (1, 0)]
    assert (wrong / "mine.txt").read_text() == "not a run"
    (wrong / "mine.txt").unlink()
    assert document(finished(wanted))["failed"] == []


def test_a_cell_that_ended_before_its_first_state_begins_anew(tiny, tmp_path):
    run = tmp_path / "cell"
    (run / "state").mkdir(parents=True)
    (run / "config.toml").write_text("")
    config = job.options.to_config(job.TrainOptions(arch="cifar_resnet8"))
    made = cell.options_of({"cell": "x", "folder": str(run), "options": config})
    assert made.resume is None and made.out == str(run) and not run.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "lr"}, "was begun with lr 0.02, not 0.5"),
        ({"limit": 32}, "was begun with limit 64, not 32"),
        ({"gradients": True}, "was begun with gradients False, not True"),
        ({"data": "mnist"}, "was begun with data digits, not mnist"),
    ],
)
def test_a_study_whose_cells_were_trained_otherwise_is_refused_and_stays_as_it_was(tiny, tmp_path, changes, message):
    (tmp_path / "study").mkdir()
    (tmp_path / "study/study.json").write_text(json.dumps({"options": to_json(tiny())}))
    before = {p: p.read_bytes() for p in (tmp_path / "study").rglob("*") if p.is_file()}
    if "recipe" in changes:
        changes = {"recipe": replace(tiny().recipe, lr=0.5)}
    with pytest.raises(DataError, match=message) as refused:
        finished(tiny(**changes))
    assert "\n" not in str(refused.value)
    assert {p: p.read_bytes() for p in (tmp_path / "study").rglob("*") if p.is_file()} == before


def test_a_folder_that_holds_something_else_is_refused(tiny, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="is no study"):
        finished(tiny())
    with pytest.raises(DataError, match="is no study"):
        resumed(tmp_path / "nothing")
    (tmp_path / "study" / "study.json").write_text("{")
    with pytest.raises(DataError, match=r"study\.json cannot be used"):
        resumed(tmp_path / "study")


def test_options_survive_a_round_trip(tiny):
    wanted = StudyOptions(kinds=("preact",), drop_depth=(0.0, 0.5), widths=(1, 2), norm=("none",), gradients=True)
    assert from_json(json.loads(json.dumps(to_json(wanted)))) == wanted


def test_gradients_are_logged_for_every_unit_and_said_in_the_verdict(tiny, tmp_path):
    found = document(finished(tiny(gradients=True, depths=(8, 14))))
    for row in found["cells"]:
        assert {len(v) for v in row["gradients"].values()} == {(row["depth"] - 2) // 2}
        assert all(n > 0 for norms in row["gradients"].values() for n in norms)
    about = [f for f in found["verdict"]["findings"] if f["about"] == "gradients"]
    assert len(about) == 4 and all(f["first_step"] > 0 for f in about)


def test_watching_the_test_images_changes_nothing_that_is_learned(tiny, tmp_path):
    made = {"arch": "cifar_resnet8", "recipe": tiny().recipe, "limit": 64, "threads": 1}
    for name, watch in (("a", True), ("b", False)):
        list(job.train(job.TrainOptions(**made, out=str(tmp_path / name), watch_test=watch, watch_gradients=watch)))
    weights = [load_file(tmp_path / n / "model.safetensors") for n in "ab"]
    assert all((weights[0][k] == weights[1][k]).all() for k in weights[1])
    assert (tmp_path / "a/evaluation.json").read_bytes() == (tmp_path / "b/evaluation.json").read_bytes()
    assert "test_error" not in (tmp_path / "b/metrics.jsonl").read_text()


def test_the_longest_cells_come_first(tiny, monkeypatch):
    began = [e.cell for e in study(tiny(depths=(8, 14), kinds=("residual",))) if isinstance(e, Done)]
    assert began == ["cifar_resnet14-s0", "cifar_resnet8-s0"]
    assert runner.WAIT < 1


@pytest.mark.slow
def test_processes_train_side_by_side_and_save_when_the_study_is_stopped(tiny, tmp_path):
    """The real engine, stopped by Ctrl-C from outside, goes on to what a study that nothing stopped comes to."""
    code = (
        "import sys\nfrom residua.study import resumed, study\n"
        "for e in study(resumed(sys.argv[1], jobs=2)):\n    print(type(e).__name__, flush=True)\n"
    )
    wanted = tiny(recipe=replace(tiny().recipe, epochs=24))
    (tmp_path / "study").mkdir()
    (tmp_path / "study/study.json").write_text(json.dumps({"options": to_json(wanted)}))
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "study")], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout is not None
    moved = 0
    for line in process.stdout:
        moved += line.strip() == "Moved"
        if moved == 4:
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=120)
    assert "Interrupted: stopped with 0 of 2 cells finished" in err
    states = list((tmp_path / "study/cells").glob("*/state/last.pt"))
    assert len(states) == 2 and not list((tmp_path / "study/cells").glob("*/evaluation.json"))
    found = document(finished(resumed(tmp_path / "study", jobs=2)))
    whole = document(finished(replace(wanted, out=str(tmp_path / "whole"), jobs=2)))
    for a, b in zip(found["cells"], whole["cells"], strict=True):
        assert left(tmp_path / "study" / a["run"]) == left(tmp_path / "whole" / b["run"])


@pytest.mark.slow
def test_a_process_that_is_killed_fails_its_cell_only(tiny, tmp_path):
    events = []
    for event in study(replace(tiny(recipe=replace(tiny().recipe, epochs=20)), jobs=1)):
        events.append(event)
        if isinstance(event, Moved) and not any(isinstance(e, Failed) for e in events):
            lock = tmp_path / "study/cells" / event.cell / "state/lock"
            os.kill(int(lock.read_text()), signal.SIGKILL)
    (failed,) = [e for e in events if isinstance(e, Failed)]
    assert "killed by signal 9" in failed.error
    assert sum(isinstance(e, Done) for e in events) == 1


@pytest.mark.slow
def test_a_ray_cluster_comes_to_the_same_results(tiny, tmp_path):
    pytest.importorskip("ray")
    here = document(finished(replace(tiny(), jobs=2)))
    there = document(finished(replace(tiny(out=str(tmp_path / "ray")), engine="ray", jobs=2)))
    assert [c["name"] for c in there["cells"]] == [c["name"] for c in here["cells"]]
    for a, b in zip(here["cells"], there["cells"], strict=True):
        assert left(tmp_path / "study" / a["run"]) == left(tmp_path / "ray" / b["run"])


def test_without_ray_the_engine_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'residua\[ray\]'"):
        Cluster(cells=1, jobs=None, threads=1, address=None, device="cpu")


def test_every_process_of_a_machine_with_gpus_sees_one_of_them(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert engines.visible_gpus("auto") == ["3", "5"] and engines.visible_gpus("cuda:1") == ["5"]
    assert engines.visible_gpus("cpu") == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert engines.local(cells=12, jobs=None, threads=4, device="auto").slots == 2
    assert engines.local(cells=12, jobs=4, threads=4, device="auto").slots == 4
    assert engines.local(cells=1, jobs=None, threads=4, device="auto").slots == 1
