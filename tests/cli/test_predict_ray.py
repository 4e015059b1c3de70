"""`residua predict --engine ray`: the very file that this machine alone writes, whoever is killed on the way."""

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
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
        (("--engine", "ray", "--address", "rubbish"), 3, "no way to a Ray cluster at rubbish"),
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


#: Here a runtime would be chosen, and said; a cluster takes the net as it is unless another is named.
EAGER = ("--runtime", "eager")

# -- on a real cluster ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """A cluster of two workers on this machine, and what a process that joins it has in its environment."""

    address: str
    environment: dict[str, str]

    @property
    def words(self) -> tuple[str, ...]:
        return ("--engine", "ray", "--address", self.address)

    def start(self, *words: object) -> "subprocess.Popen[bytes]":
        """Begin a command line."""
        line = [sys.executable, "-m", "residua", *map(str, words)]
        return subprocess.Popen(
            line, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *words: object, given: bytes = b"") -> tuple[int, bytes, bytes]:
        """Exit code, stdout and stderr of a command line."""
        running = self.start(*words)
        out, err = running.communicate(given, timeout=SECONDS)
        return running.returncode, out, err


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    program = Path(sys.executable).with_name("ray")
    folder = tempfile.mkdtemp(prefix="ray-")  # Ray's sockets bear no longer a path, and others' folder is not ours
    process = subprocess.Popen(
        [program, "start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false",
         "--disable-usage-stats", f"--temp-dir={folder}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        _until(lambda: _listens(port), "the cluster to start")
        yield Head(f"127.0.0.1:{port}", environment)
    finally:
        process.terminate()
        process.wait(SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


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


@pytest.mark.slow
def test_a_cluster_writes_the_very_file_that_this_machine_writes(residua, trained, many, tmp_path, head, monkeypatch):
    other = tmp_path / "other"
    assert residua("train", "--arch", "cifar_resnet14", "--epochs", "1", "--limit", "96", "--out", other).code == 0
    monkeypatch.chdir(many)  # names are relative, and the workers are elsewhere
    how = ("--batch-size", "7", "--with", other, "--top", "2")
    words = ("predict", trained, ".", "nothing.png", *EAGER, *how, "--out")
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"  # .csv and .json: where somebody is killed
    one, two = residua(*words, here), head.run(*words, there, *head.words)
    assert one.code == two[0] == 3 and one.err == two[2].decode() and here.read_bytes() == there.read_bytes()


@pytest.mark.slow
def test_answers_stream_from_a_cluster_that_is_started_for_the_command(trained, many, head):
    words = ("predict", trained, "-", *EAGER, "--batch-size", "16", "--threads", "1")
    names = b"\n".join(sorted(os.fsencode(p) for p in many.rglob("*.png") if "\n" not in p.name))
    here = head.run(*words, given=names)
    assert here[0] == 3 and head.run(*words, "--engine", "ray", given=names) == here


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_goes_on_on_either_engine(residua, trained, many, tmp_path, head):
    words = ("predict", trained, many, *EAGER, "--batch-size", "3", "--threads", "1", "--out")
    whole, out, fate = tmp_path / "whole.csv", tmp_path / "answers.csv", random.Random(0)
    assert residua(*words, whole).code == 3
    part, kept = tmp_path / "answers.csv.part", 0
    for engine, how in ((head.words, signal.SIGKILL), ((), signal.SIGINT)):
        running = head.start(*words, out, *engine, *(("--resume",) if part.exists() else ()))
        wanted = kept + fate.randrange(1, 40)
        _until(lambda n=wanted, r=running: _lines(part) > n or r.poll() is not None, "answers")
        running.send_signal(how)
        told = running.communicate(timeout=SECONDS)[1].decode().splitlines()
        assert not out.exists() and _lines(part) > kept
        kept = _lines(part)
        if how == signal.SIGINT:
            assert running.returncode == 130 and "--resume goes on" in told[-1]
    assert head.run(*words, out, *head.words, "--resume")[0] == 3
    assert out.read_bytes() == whole.read_bytes() and not part.exists()


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_nobody_notices(residua, trained, many, tmp_path, head):
    words = ("predict", trained, many, *EAGER, "--batch-size", "3", "--threads", "1", "--out")
    here, there = tmp_path / "here.json", tmp_path / "there.json"
    running = head.start(*words, there, *head.words)
    _until(lambda: _lines(Path(f"{there}.part")) > 9 or running.poll() is not None, "answers")
    workers = _workers()
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    told = running.communicate(timeout=SECONDS)[1]
    assert workers and not there.with_name("there.json.part").exists()
    assert residua(*words, here).err == told.decode() and here.read_bytes() == there.read_bytes()


def _workers() -> list[int]:
    """The processes that answer: those of this cluster, whose raylet descends from this process."""
    parents, titles = dict[int, int](), dict[int, bytes]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            titles[int(folder.name)] = (folder / "cmdline").read_bytes()
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue  # it has ended

    def ours(process: int) -> bool:
        return process == os.getpid() or (process in parents and ours(parents[process]))

    return [p for p, title in titles.items() if title.startswith(b"ray::Worker") and ours(p)]
