"""Laws of many processes: the norm, the steps and the counts are those of one; a killed process changes nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from boxes.shapes import make as shapes
from localize.conftest import make as things
from norms_apart import batch, lively, norms, weights
from processes_apart import begun_again, differ
from residua.errors import UsageError
from residua.job.begin import begun_before
from residua.job.options import TrainOptions
from residua.nn.modelfile import unseal
from residua.ranks import Ranks, TogetherNorm, together

ARCH = ("--arch", "cifar_resnet20:1-1-1", "--threads", "1", "--device", "cpu", "--precision", "fp32")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "RESIDUA_TIMEOUT": "60"}


def torchrun(n: int, *words: object, restarts: int = 0) -> subprocess.Popen[str]:
    """A training in n processes, under way."""
    launch = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n), "--max-restarts", str(restarts),
        "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "-m", "residua",
    ]  # fmt: skip
    return subprocess.Popen(
        [*launch, *map(str, words)], env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def trained(n: int, out: Path, *words: object, verb: tuple[str, ...] = ()) -> list[dict]:
    """The rows of a training in n processes that ended well."""
    if n == 1:
        process = subprocess.Popen(
            [sys.executable, "-m", "residua", *verb, "train", *map(str, words), "--out", str(out)], env=environment(),
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    else:
        process = torchrun(n, *verb, "train", *words, "--out", out)
    said, told = process.communicate(timeout=300)
    assert process.returncode == 0, told[-3000:]
    assert said.count("report.html") == 1  # one process speaks
    return rows(out)


def rows(out: Path) -> list[dict]:
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# -- the parts, in two processes of a test's own --------------------------------------------------------------------


@pytest.mark.parametrize("world", [2, 4])
def test_norms_of_many_processes_are_torchs_norm_of_the_whole_batch(tmp_path, world):
    torch.multiprocessing.spawn(norms, (world, free_port(), str(tmp_path)), nprocs=world)
    found = [torch.load(tmp_path / f"{r}.pt") for r in range(world)]
    x, net = batch().requires_grad_(), lively()
    out = net(x)
    (out * weights(x)).sum().div(len(x)).backward()
    assert torch.allclose(torch.cat([f["out"] for f in found]), out, atol=1e-5)
    assert torch.allclose(torch.cat([f["x"] for f in found]), x.grad, atol=1e-5)
    for mine, theirs in zip(found[0]["grads"], net.parameters(), strict=True):
        assert torch.allclose(mine, theirs.grad, atol=1e-5)
    assert [float(f["aligned"]) for f in found] == [1.0] * world  # the first's statistics in all
    for key, value in net.state_dict().items():
        assert torch.allclose(found[1]["state"][key], value, atol=1e-6), key


def test_alone_and_in_evaluation_it_is_batch_norm():
    net, same = lively(), together(lively())
    assert isinstance(same[1], TogetherNorm) and same.state_dict().keys() == net.state_dict().keys()
    x = batch()
    assert torch.equal(net(x), same(x)) and torch.equal(net.eval()(x), same.eval()(x))


def test_a_process_with_other_data_or_options_is_named_by_all(tmp_path):
    torch.multiprocessing.spawn(differ, (3, free_port(), str(tmp_path)), nprocs=3)
    for rank in range(3):
        fine, data, options = torch.load(tmp_path / f"{rank}.pt")
        assert fine == ""
        assert data.startswith("process 2 of 3 sees other data than process 0")
        assert options.startswith("process 2 of 3 was given other options than process 0")


def test_what_measures_one_process_is_for_one():
    for words, flag in (({"budget": 60.0}, "--budget"), ({"find_lr": True}, "--find-lr")):
        with pytest.raises(UsageError, match=flag):
            begun_before(TrainOptions(data="digits", **words), Ranks(0, 2))
    assert begun_before(TrainOptions(data="digits"), Ranks()).resume is None


# -- the command under torchrun -------------------------------------------------------------------------------------


def test_two_processes_take_the_steps_of_one(tmp_path):
    words = ("digits", *ARCH, "--epochs", "2", "--limit", "500", "--seed", "3")
    one, two = (trained(n, tmp_path / str(n), *words) for n in (1, 2))
    losses = [[r["loss"] for r in of if r["event"] == "step"] for of in (one, two)]
    assert len(losses[0]) == len(losses[1]) > 10
    apart = [abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)]
    assert max(apart[:10]) < 1e-5 and max(apart) < 0.05  # rounding, and what steps make of it
    told = [json.loads((tmp_path / n / "evaluation.json").read_text()) for n in "12"]
    assert told[0]["n"] == told[1]["n"] and abs(told[0]["wrong"] - told[1]["wrong"]) <= 15
    assert [len((tmp_path / n / "predictions.csv").read_text().splitlines()) for n in "12"] == [told[0]["n"] + 1] * 2
    assert not list(Path("/tmp").glob("residua-aside-*/model.safetensors"))


@pytest.mark.slow
def test_a_localizer_takes_the_same_steps_in_two_processes(tmp_path):
    data = things(tmp_path / "things")
    words = (data, "--epochs", "3", "--batch-size", "8", "--threads", "1", "--device", "cpu", "--precision", "fp32")
    net = ("--arch", "cifar_resnet20:1-1-1")
    one, two = (trained(n, tmp_path / str(n), *words, *net, verb=("localize",)) for n in (1, 2))
    losses = [[r["loss"] for r in of if r["event"] == "step"] for of in (one, two)]
    assert len(losses[0]) == len(losses[1]) >= 6
    apart = [abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)]
    assert max(apart[:2]) < 1e-4 and max(apart) < 0.05  # rounding, and what steps of four pictures make of it
    told = [json.loads((tmp_path / n / "evaluation.json").read_text())["n"] for n in "12"]
    assert told[0] == told[1] == 12
    assert len((tmp_path / "2" / "localizations.csv").read_text().splitlines()) == 1 + 3 * 12
    # Which place is looked at again is drawn, in each process for its own pictures.
    again = (*words, "--epochs", "1", "--weights", tmp_path / "1", "--refine")
    assert len(trained(2, tmp_path / "again", *again, verb=("localize",))) >= 2


@pytest.mark.slow
def test_a_detector_is_trained_by_two_processes_and_its_counts_are_those_of_one(tmp_path):
    data = shapes(tmp_path / "shapes")
    out, net = tmp_path / "two", ("--arch", "cifar_resnet20", "--norm", "sync")
    words = (
        data,
        *net,
        "--epochs",
        "2",
        "--batch-size",
        "4",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--precision",
        "fp32",
    )
    told = trained(2, out, *words, verb=("detect",))
    assert all(r["loss"] > 0 for r in told if r["event"] == "step")
    again = subprocess.run(
        [sys.executable, "-m", "residua", "detect", "eval", str(out), str(data), "--json", "--threads", "1"],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    there, here = json.loads((out / "evaluation.json").read_text()), json.loads(again.stdout)
    assert {k: here[k] for k in there} == there


def test_processes_that_begin_again_do_not_look_for_those_that_died():
    # torchrun keeps one store, in which the addresses of the first attempt still stand
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    torch.multiprocessing.spawn(begun_again, (2, store.port, 3.0), nprocs=2)


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(p) for p in found.stdout.split()]


@pytest.mark.slow
def test_a_killed_process_is_begun_again_and_the_run_ends_as_if_it_had_not_been(tmp_path):
    words = ("train", "digits", *ARCH, "--epochs", "8", "--limit", "800", "--save-every", "0")
    process = torchrun(2, *words, "--out", tmp_path / "killed", restarts=2)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:  # until it trains
        if (tmp_path / "killed" / "config.toml").exists() and len(rows(tmp_path / "killed")) >= 5:
            break
        time.sleep(0.1)
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told[-3000:]
    assert "resumed" in json.dumps(json.loads((tmp_path / "killed" / "decisions.json").read_text()))
    trained(2, tmp_path / "whole", *words[1:])
    ours, theirs = (unseal(tmp_path / name / "model.safetensors")[1] for name in ("killed", "whole"))
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())
    steps = [[r["step"] for r in rows(tmp_path / name)] for name in ("killed", "whole")]
    assert steps[0] == steps[1]


@pytest.mark.slow
def test_an_interrupt_is_heard_by_all_and_saved_once(tmp_path):
    process = torchrun(2, "train", "digits", *ARCH, "--epochs", "50", "--out", tmp_path / "run")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (tmp_path / "run" / "config.toml").exists() and len(rows(tmp_path / "run")) >= 5:
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert told.count("saved; go on with: residua train --resume") == 1
    assert (tmp_path / "run" / "state" / "last.pt").is_file()


def test_an_error_is_said_once(tmp_path):
    process = torchrun(2, "train", tmp_path / "nowhere")
    _, told = process.communicate(timeout=120)
    assert process.returncode != 0 and told.count("no such") + told.count("does not exist") == 1, told[-1500:]
