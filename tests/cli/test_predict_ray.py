"""`residua predict --engine ray`: the very file that this machine alone writes, whoever is killed on the way."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SECONDS = 240  # until something that was asked for must have happened


# -- what needs no cluster ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("--engine", "rya"), 2, "unknown value of --engine 'rya'"),
        (("--address", "head:6379"), 2, "--address is for a Ray cluster: say --engine ray as well"),
        (("--jobs", "2"), 2, "--jobs is for a Ray cluster"),
        (("--engine", "ray", "--device", "cuda:1"), 2, "a cluster chooses the GPU"),
        (("--engine", "ray", "--address", "rubbish"), 3, "no Ray cluster at rubbish"),
    ],
)
def test_bad_words_are_one_line(residua, trained, photos, words, code, line):
    pytest.importorskip("ray")
    ran = residua("predict", trained, photos, *words)
    assert ran.code == code and line in ran.line and ran.out == ""


def test_where_no_cluster_answers_is_said_at_once(residua, trained, photos):
    pytest.importorskip("ray")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        ran = residua("predict", trained, photos, "--engine", "ray", "--address", address)
    assert ran.code == 3 and ran.line.startswith(f"error: no Ray cluster at {address}: connection refused")
    assert time.monotonic() - began < SECONDS / 4


def test_without_ray_it_says_what_to_install(residua, trained, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    ran = residua("predict", trained, photos, "--engine", "ray")
    assert ran.code == 2 and "pip install 'residua[ray]'" in ran.line


def test_what_is_no_model_is_said_before_a_cluster_is_started(residua, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "m.safetensors").write_bytes(b"12345678901234567890")
    ran = residua("predict", tmp_path / "m.safetensors", photos, "--engine", "ray")
    assert ran.code == 3 and "not a Residua model file" in ran.line


# -- on a real cluster ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The address of a cluster of two workers on this machine."""
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("ray")
    process = subprocess.Popen(
        [program, "start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false",
         "--disable-usage-stats"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    address = f"127.0.0.1:{port}"
    try:
        _until(lambda: _listens(port), "the cluster to start")
        yield address
    finally:
        process.terminate()
        process.wait(SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _until(happened: Any, what: str) -> None:
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures under ordinary and unusual names, and files that are none."""
    folder = tmp_path_factory.mktemp("many") / "pictures"
    (folder / "deep").mkdir(parents=True)
    numbers = np.random.default_rng(0)
    for i in range(240):
        pixels = numbers.integers(0, 256, (20 + i % 9, 31, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("deep" if i % 3 else "") / f"{i:03}.png")
    for i, name in enumerate((b"two\nlines.png", b"no \xff text.png", b'=1+1, "x".png', "ü.png".encode())):
        os.rename(folder / f"{3 * i:03}.png", os.fsencode(folder) + b"/" + name)
    for i in (50, 51, 199):
        (folder / "deep" / f"{i:03}.png").unlink(missing_ok=True)
        (folder / "deep" / f"{i:03}.png").write_text("not a picture")
    return folder


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "residua", *map(str, words)]


@pytest.mark.slow
def test_a_cluster_writes_the_very_file_that_this_machine_writes(residua, trained, many, tmp_path, head, monkeypatch):
    other = tmp_path / "other"
    assert residua("train", "--arch", "cifar_resnet14", "--epochs", "1", "--limit", "96", "--out", other).code == 0
    monkeypatch.chdir(many)  # names are relative, and the workers are elsewhere
    for ending, extra in ((".csv", ()), (".json", ("--with", other)), (".parquet", ("--top", "2"))):
        words = ("predict", trained, ".", "nothing.png", "--batch-size", "7", *extra, "--out")
        here, there = tmp_path / f"here{ending}", tmp_path / f"there{ending}"
        one = residua(*words, here)
        two = residua(*words, there, "--engine", "ray", "--address", head)
        assert (one.code, two.code) == (3, 3) and one.err == two.err and here.read_bytes() == there.read_bytes()


@pytest.mark.slow
def test_answers_stream_from_a_cluster_that_is_started_for_the_command(trained, many):
    words = command("predict", trained, "-", "--batch-size", "16", "--threads", "1")
    names = b"\n".join(sorted(os.fsencode(p) for p in many.rglob("*.png") if "\n" not in p.name))
    here, there = (
        subprocess.run([*words, *more], input=names, capture_output=True, timeout=SECONDS)
        for more in ((), ("--engine", "ray"))
    )
    assert here.returncode == there.returncode == 3 and here.stdout == there.stdout and here.stderr == there.stderr


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_goes_on_on_either_engine(trained, many, tmp_path, head):
    words = ("predict", trained, many, "--batch-size", "3", "--threads", "1", "--out")
    whole, out, fate = tmp_path / "whole.csv", tmp_path / "answers.csv", random.Random(0)
    assert subprocess.run(command(*words, whole), capture_output=True).returncode == 3
    ray, part = ("--engine", "ray", "--address", head), tmp_path / "answers.csv.part"
    kept = 0
    for engine, how in ((ray, signal.SIGKILL), ((), signal.SIGKILL), (ray, signal.SIGINT)):
        resume = ("--resume",) if part.exists() else ()
        running = subprocess.Popen(command(*words, out, *engine, *resume), stderr=subprocess.PIPE)
        wanted = kept + fate.randrange(1, 40)
        _until(lambda n=wanted, r=running: _lines(part) > n or r.poll() is not None, "answers")
        running.send_signal(how)
        told = running.communicate(timeout=SECONDS)[1].decode().splitlines()
        assert not out.exists() and _lines(part) > kept
        kept = _lines(part)
        if how == signal.SIGINT:
            assert running.returncode == 130 and "--resume goes on" in told[-1]
    ran = subprocess.run(command(*words, out, *ray, "--resume"), capture_output=True, timeout=SECONDS)
    assert ran.returncode == 3 and out.read_bytes() == whole.read_bytes() and not part.exists()


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_nobody_notices(residua, trained, many, tmp_path, head):
    words = ("predict", trained, many, "--batch-size", "3", "--threads", "1", "--out")
    here, there, killed = tmp_path / "here.json", tmp_path / "there.json", list[int]()

    def kill() -> None:
        _until(lambda: _lines(Path(f"{there}.part")) > 9, "answers")
        for worker in _workers(head)[:2]:
            os.kill(worker, signal.SIGKILL)
            killed.append(worker)

    killer = threading.Thread(target=kill)
    killer.start()
    two = residua(*words, there, "--engine", "ray", "--address", head)
    killer.join()
    one = residua(*words, here)
    assert killed and one.code == two.code == 3 and one.err == two.err
    assert json.loads(here.read_text()) == json.loads(there.read_text())


def _workers(address: str) -> list[int]:
    """The processes on the cluster at an address that answer."""
    port, found = address.rpartition(":")[2], []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title, parent = (
                (folder / "cmdline").read_bytes(),
                (folder / "stat").read_text().rsplit(")", 1)[1].split()[1],
            )
            raylet = Path("/proc", parent, "cmdline").read_text(errors="replace")
        except OSError:
            continue  # it has ended
        if title.startswith(b"ray::Worker") and f":{port}" in raylet:
            found.append(int(folder.name))
    return found


@pytest.mark.slow
def test_a_model_that_the_workers_do_not_have_is_named(residua, trained, photos, tmp_path, head, monkeypatch):
    from residua.predict import spread as module

    monkeypatch.setattr(module, "digest", lambda path: "another")
    ran = residua("predict", trained, photos, "--engine", "ray", "--address", head)
    assert ran.code == 3 and f"{trained}/model.safetensors is another file on" in ran.line
