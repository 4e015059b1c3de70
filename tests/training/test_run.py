"""Laws of the run folder: never overwritten, whole or not at all, one writer, a torn state is not the end."""

import csv
import errno
import json
import math
import os
import subprocess
import sys
import threading
import time
import tomllib

import pytest
import torch

from residua.errors import DataError
from residua.training.run import Run, read_config, to_toml
from residua.training.saving import digest

STATE = {
    "step": 3,
    "w": torch.arange(6.0).reshape(2, 3),
    "n": {"half": torch.ones(2, dtype=torch.bfloat16), "none": None},
}


@pytest.fixture
def run(tmp_path):
    with Run.create(tmp_path / "a" / "run") as run:
        run.write_toml("config.toml", {"data": "digits"})
        yield run


def test_a_run_is_never_overwritten(tmp_path):
    with Run.create(tmp_path / "run") as run:
        run.write_toml("config.toml", {"data": "digits"})
    with pytest.raises(DataError, match=r"never overwritten.*--resume"):
        Run.create(tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="never overwritten"):
        Run.create(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    Run.create(tmp_path / "empty").close()


def test_only_a_run_folder_is_opened(tmp_path, run):
    with pytest.raises(DataError, match="not a run folder"):
        Run.open(tmp_path)
    with pytest.raises(DataError, match="give the run's folder"):
        Run.open(run.folder / "config.toml")
    with pytest.raises(DataError, match="not a run folder"):
        read_config(tmp_path)


def test_a_run_has_one_writer_at_a_time_and_a_dead_ones_lock_is_taken_over(run):
    with pytest.raises(DataError, match="this process already"):
        Run.open(run.folder)
    code = (
        "import os, sys; from residua.training.run import Run; from residua.errors import DataError\n"
        "try: Run.open(sys.argv[1])\n"
        "except DataError as e: print(e, flush=True)\n"
        "input(); Run.open(sys.argv[1]); os._exit(9)"
    )
    command = [sys.executable, "-c", code, str(run.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert f"being written by process {os.getpid()}" in other.stdout.readline()
        run.close()
        other.communicate("\n")
    assert other.returncode == 9  # it died with the lock in its hands
    Run.open(run.folder).close()


def test_a_state_comes_back_and_loads_without_pickle(run):
    run.save_state(STATE)
    state, told = run.load_state()
    assert told is None
    assert state["step"] == 3 and torch.equal(state["w"], STATE["w"]) and state["n"]["half"].dtype == torch.bfloat16
    torch.load(run.folder / "state" / "last.pt", weights_only=True)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone", "foreign"])
def test_a_torn_state_falls_back_to_the_one_before_and_says_so(run, damage):
    run.save_state({"step": 1, "w": torch.zeros(300)})
    run.save_state({"step": 2, "w": torch.ones(300)})
    last = run.folder / "state" / "last.pt"
    content = last.read_bytes()
    at = content.index(torch.ones(300).numpy().tobytes())
    if damage == "gone":
        last.unlink()
    else:
        torn = {
            "cut": content[: len(content) // 2],
            "flip": content[: at + 9] + bytes([content[at + 9] ^ 1]) + content[at + 10 :],
            "empty": b"",
            "foreign": b"hello",
        }
        last.write_bytes(torn[damage])
    state, told = run.load_state()
    assert state["step"] == 1
    assert damage == "gone" or "damaged: going on from the state before it" in told


def test_without_a_whole_state_there_is_one_line(run):
    with pytest.raises(DataError, match="no whole state"):
        run.load_state()
    for _ in range(2):
        run.save_state(STATE)
    for file in ("last.pt", "previous.pt"):
        (run.folder / "state" / file).write_bytes(b"x")
    with pytest.raises(DataError, match=r"no whole state to resume from.*damaged"):
        run.load_state()


def test_a_digest_depends_on_every_bit_name_and_kind():
    same = digest({"a": torch.zeros(2, 3), "b": 1})
    assert same == digest({"a": torch.zeros(2, 3), "b": 1})
    others = [
        {"a": torch.zeros(3, 2), "b": 1},
        {"a": torch.zeros(2, 3, dtype=torch.int32), "b": 1},
        {"a": torch.zeros(2, 3), "b": 1.0},
        {"a": torch.zeros(2, 3), "b": True},
        {"a": torch.zeros(2, 3), "c": 1},
        {"b": 1, "a": torch.zeros(2, 3)},
        {"a": torch.tensor([0, 0, 0, 0, 0, 1e-45]).reshape(2, 3), "b": 1},
    ]
    assert len({same, *map(digest, others)}) == len(others) + 1
    assert digest(float("nan")) == digest(float("nan"))


def test_a_full_disk_is_one_line_and_leaves_the_state_before(run, monkeypatch):
    run.save_state({"step": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        run.save_state({"step": 2})
    with pytest.raises(DataError, match="No space left on device"):
        run.write_json("decisions.json", [])
    assert run.load_state()[0]["step"] == 1
    assert not [p for p in run.folder.rglob("*") if ".tmp" in p.name or p.name == "decisions.json"]


def test_metrics_after_the_resumed_step_are_forgotten_and_a_cut_line_is_no_row(run):
    for step in range(1, 5):
        run.log({"event": "step", "step": step, "loss": math.nan if step == 2 else 0.5})
    with run.path("metrics.jsonl").open("a") as f:
        f.write('{"event": "st')
    run.forget_after(3)
    lines = run.path("metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    assert json.loads(lines[1])["loss"] is None
    run.log({"event": "epoch", "step": 4, "epoch": 1, "val_error": 0.25})
    run.log({"event": "epoch", "step": 8, "epoch": 2, "val_error": 0.125, "lr": 0.1})
    run.write_metrics_csv()
    rows = list(csv.DictReader(run.path("metrics.csv").read_text().splitlines()))
    assert [r["val_error"] for r in rows] == ["0.25", "0.125"]
    assert rows[0]["lr"] == ""


def test_toml_comes_back(run):
    value = {
        "data": 'a "b"\n\x7fé', "n": 3, "x": 1e-5, "big": 1e20, "yes": True, "none": None, "words": ["a", "b"],
        "recipe": {"lr": 0.1, "augment": [], "drops": (0.5, 0.75)},
    }  # fmt: skip
    run.write_toml("config.toml", value)
    expected = {k: v for k, v in value.items() if v is not None}
    expected["recipe"] = value["recipe"] | {"drops": [0.5, 0.75]}
    assert read_config(run.folder) == expected == tomllib.loads(to_toml(value))


def test_a_state_saved_aside_is_that_of_its_moment(run):
    w = torch.zeros(1_000_000)
    for step in range(3):
        w.fill_(step)
        run.save_state({"step": step, "inner": [{"w": w}]}, aside=True)
    w.fill_(9)  # the training goes on
    run.close()
    with Run.open(run.folder) as again:
        state, told = again.load_state()
    assert told is None and state["step"] == 2 and bool((state["inner"][0]["w"] == 2).all())


def test_the_thread_that_wrote_a_state_ends_with_it(run):
    """Else the team of OpenMP's threads that it woke would slow down all steps that follow."""
    run.save_state({"w": torch.zeros(64, 64, 3, 3).to(memory_format=torch.channels_last)}, aside=True)
    end = time.monotonic() + 60
    while any(t.name.startswith("residua-states") for t in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_disk_that_was_full_aside_is_said_at_the_next_state_and_at_the_end(run, monkeypatch):
    run.save_state({"step": 1})
    replace = os.replace

    def full(source, target):
        if str(target).endswith("last.pt"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    run.save_state({"step": 2}, aside=True)
    with pytest.raises(DataError, match="No space left on device"):
        run.save_state({"step": 3}, aside=True)
    run.save_state({"step": 4}, aside=True)
    with pytest.raises(DataError, match="No space left on device"):
        run.close()
    monkeypatch.undo()
    with Run.open(run.folder) as again:
        assert again.load_state()[0]["step"] == 1
