"""Laws of runs that end at any moment: what is torn is noticed, the older state serves, nothing is lost in silence."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from localize.conftest import make
from residua.cli.main import run as residua
from residua.errors import DataError, NumericError
from residua.job import events as happened
from residua.job import resumed, train
from residua.job.options import TrainOptions
from residua.job.verify import verify
from residua.nn.modelfile import unseal
from residua.training.loop import Step
from residua.training.recipe import RECIPES
from residua.training.run import Run, check_free, read_metrics, unmade

QUICK = replace(RECIPES["quick"], epochs=2, batch_size=64, min_epoch_steps=0)


def options(out: Path) -> TrainOptions:
    return TrainOptions(
        data="digits", arch="cifar_resnet20:1-1-1", recipe=QUICK, limit=300, out=str(out), threads=1, save_every=0.0
    )


def stopped(wanted: TrainOptions, step: int) -> None:
    """Train to a step and leave the generator there, as a kill would: the state of the step before is saved."""
    for event in train(wanted):
        if isinstance(event, Step) and event.step == step:
            break


def weights(run: Path) -> dict[str, torch.Tensor]:
    return unseal(run / "model.safetensors")[1]


def timeless(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if "second" not in k and k != "waiting"} for r in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    list(train(options(out)))
    return out


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> Path:
    """A run that ended in the middle of its second epoch."""
    out = tmp_path_factory.mktemp("half") / "run"
    stopped(options(out), 6)
    return out


def same(run: Path, whole: Path) -> None:
    theirs = weights(whole)
    assert all(torch.equal(v, theirs[k]) for k, v in weights(run).items())
    assert (run / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


@pytest.mark.parametrize("name", ["last.pt", "previous.pt"])
def test_a_state_that_is_cut_off_anywhere_is_noticed_and_the_other_serves(half, whole, tmp_path, name):
    size = (half / "state" / name).stat().st_size
    for i in range(20):
        run = tmp_path / f"{i}"
        shutil.copytree(half, run)
        with open(run / "state" / name, "r+b") as file:
            file.truncate(size * i // 20)
        with Run.open(run) as opened:
            saved, told = opened.load_state()
        assert saved["train"]["step"] == (5 if name == "previous.pt" else 4)
        assert (told is None) == (name == "previous.pt")
    list(train(resumed(run)))
    same(run, whole)
    assert timeless(run) == timeless(whole)


def test_without_a_whole_state_it_is_one_line(half, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(half, run)
    for name in ("last.pt", "previous.pt"):
        (run / "state" / name).write_bytes((run / "state" / name).read_bytes()[:-9])
    with pytest.raises(DataError, match="no whole state to resume from"):
        list(train(resumed(run)))


def test_rows_that_were_lost_are_said(half, tmp_path):
    rows = (half / "metrics.jsonl").read_bytes()
    for i in range(20):
        run = tmp_path / f"{i}"
        shutil.copytree(half, run)
        (run / "metrics.jsonl").write_bytes(rows[: len(rows) * i // 20])
        before = sum(json.loads(line)["step"] <= 5 for line in rows.splitlines())
        left = sum(row["step"] <= 5 for row in read_metrics(run))
        told: list[str] = []
        for event in train(resumed(run)):
            if isinstance(event, happened.Decided):
                told += [d.value for d in event.decisions if d.what == "metrics.jsonl"]
            if isinstance(event, Step):
                break
        assert told == ([f"{before - left} rows are lost"] if left < before else []), i


def test_a_config_that_is_cut_off_anywhere_is_one_line(half, tmp_path):
    """Also where what is left is whole TOML: the options behind it would silently be the usual ones."""
    content = (half / "config.toml").read_bytes()
    run = tmp_path / "run"
    shutil.copytree(half, run)
    lines = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")][:-1]
    for length in (*(len(content) * i // 20 for i in range(20)), *lines):
        (run / "config.toml").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut off|cannot read config\.toml"):
            resumed(run)
    (run / "config.toml").write_bytes(content)
    assert resumed(run).limit == 300


def test_a_run_that_was_killed_while_it_was_made_is_begun_again(whole, tmp_path):
    out = tmp_path / "run"
    (out / "state").mkdir(parents=True)
    (out / "state" / "lock").write_text("1\n")
    (out / "decisions.json").write_text("[{}]")
    assert unmade(out)
    list(train(options(out)))
    same(out, whole)
    assert {} not in json.loads((out / "decisions.json").read_text())
    with pytest.raises(DataError, match="never overwritten"):
        check_free(out)
    (tmp_path / "mine" / "state").mkdir(parents=True)
    assert unmade(tmp_path / "mine")
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="never overwritten"):
        check_free(tmp_path / "mine")


def test_a_run_is_one_once_it_can_be_gone_on_with(tmp_path, monkeypatch):
    """Whatever is written before config.toml may be cut short: the folder is no run yet."""
    written: list[str] = []
    keep = Run.write_bytes

    def noted(self, name, content):
        written.append(name)
        keep(self, name, content)

    monkeypatch.setattr(Run, "write_bytes", noted)
    stopped(options(tmp_path / "run"), 1)
    first = written.index("config.toml")
    assert {"environment.json", "decisions.json", "summary.json", "data_check.json"} <= set(written[:first])


def test_a_user_can_prove_it(half, capsys):
    found = verify(half)
    assert (found.first, found.last) == (4, 5) and found.tensors > 20 and found.bytes > 10_000
    before = {p: p.stat().st_mtime_ns for p in half.rglob("*")}
    assert residua(["train", "--resume", str(half), "--verify"]) == 0
    assert "bit for bit" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in half.rglob("*")} == before
    assert residua(["train", "--verify"]) == 2


def test_a_state_of_another_training_is_no_proof(half, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(half, run)
    kept = torch.load(run / "state" / "last.pt", weights_only=True)
    name = next(k for k in kept["state"]["train"]["net"] if k.endswith("conv1.weight"))
    kept["state"]["train"]["net"][name].view(-1)[7] += 1e-6
    from residua.training.saving import digest

    torch.save({"sha256": digest(kept["state"]), "state": kept["state"]}, run / "state" / "last.pt")
    with pytest.raises(NumericError, match=r"from step 4 to 5 gives another .*net.*conv1\.weight"):
        verify(run)


def test_one_state_is_no_proof(half, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(half, run)
    (run / "state" / "previous.pt").unlink()
    with pytest.raises(DataError, match="no two whole states"):
        verify(run)


@pytest.mark.parametrize("task", ["detect", "localize"])
def test_detectors_and_localizers_can_be_proved_too(task, tmp_path, capsys):
    from boxes.shapes import make as shapes

    data = make(tmp_path / "data") if task == "localize" else shapes(tmp_path / "data")
    words = ["--arch", "cifar_resnet20:1-1-1", "--epochs", "1", "--batch-size", "4", "--threads", "1"]
    run = tmp_path / "run"
    more = ["--precision", "fp32", "--save-every", "0", "--out", str(run)]
    assert residua([task, "train", str(data), *words, *more]) == 0
    capsys.readouterr()
    assert residua([task, "train", "--resume", str(run), "--verify", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["same"] and document["last"] == document["first"] + 1
