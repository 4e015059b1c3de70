"""The command as people run it: a process, its lines, its end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from residua.serve.running import listening
from serve.conftest import classifier, picture

PNG = {"content-type": "image/png"}


class Process:
    """`residua serve` with these words, on free ports."""

    def __init__(self, *words: object, **environment: str) -> None:
        self.run = subprocess.Popen(
            [sys.executable, "-m", "residua", "serve", *map(str, words), "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
        )  # fmt: skip
        self.log: list[str] = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.run.stderr))
        self.reader.start()
        self.line = self.run.stdout.readline()
        assert self.line, self.log
        self.url = re.search(r"http://[^ ,]+", self.line)[0]

    def ended(self, sign: signal.Signals, seconds: float = 60) -> int:
        self.run.send_signal(sign)
        code = self.run.wait(seconds)
        self.reader.join()
        self.run.stdout.close()
        self.run.stderr.close()
        return code

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *error: object) -> None:
        if self.run.poll() is None:
            self.run.kill()
            self.run.wait()


def test_the_command_says_one_line_answers_logs_json_and_ends_well_with_sigterm(tmp_path):
    file = classifier(tmp_path / "my model (2).safetensors")
    with Process(file) as server:
        assert re.fullmatch(r"serving my-model-2 at http://127\.0\.0\.1:\d+ \(Ctrl-C ends it\)\n", server.line)
        answers: list[int] = []
        stop = threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    answers.append(httpx.post(f"{server.url}/v1/predict", content=picture(), headers=PNG).status_code)
                except httpx.ConnectError:  # nothing is accepted any more
                    return

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        while len(answers) < 20:
            time.sleep(0.01)
        assert server.ended(signal.SIGTERM) == 0
        for client in clients:
            client.join()
    assert set(answers) == {200}
    log = [json.loads(line) for line in server.log]
    assert [e["status"] for e in log] == [200] * len(answers)


@pytest.mark.slow
def test_ctrl_c_ends_it_well_and_names_grpc_and_tokens_work(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    a, b = classifier(tmp_path / "a.safetensors"), classifier(tmp_path / "b.safetensors")
    with Process(a, b, "--name", "x", "--name", "y", "--grpc-port", "0", "--token-file", tmp_path / "token") as server:
        assert re.fullmatch(
            r"serving x, y at http://[\d.:]+, gRPC at 127\.0\.0\.1:\d+ \(Ctrl-C ends it\)\n", server.line
        )
        good = {"authorization": "Bearer s3cret"}
        assert httpx.get(f"{server.url}/v1/models").status_code == 401
        assert [m["name"] for m in httpx.get(f"{server.url}/v1/models", headers=good).json()["models"]] == ["x", "y"]
        assert server.ended(signal.SIGINT) == 0
    assert not any("Traceback" in line for line in server.log)


@pytest.mark.slow
def test_a_port_that_is_taken_is_said_in_one_line(tmp_path):
    file = classifier(tmp_path / "a.safetensors")
    with Process(file) as server:
        port = server.url.rpartition(":")[2]
        words = [sys.executable, "-m", "residua", "serve", str(file), "--port", port]
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr
        assert server.ended(signal.SIGTERM) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_are_sent_without_waiting_for_the_client_to_acknowledge_a_part(host):
    with listening(host, 0) as http, socket.create_connection(http.getsockname()[:2]):
        connection, _ = http.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


BAD = [
    (["nowhere"], 3, "no model file nowhere"),
    (["here.txt", "here.txt"], 2, "two models are called here: give each a --name"),
    (["here.txt", "--name", "a", "--name", "b"], 2, "2 names for 1 models"),
    (["here.txt", "--name", "a b"], 2, "--name a b: a name is made of"),
    (["here.txt", "--port", "70000"], 2, "--port 70000: give a whole number"),
    (["here.txt", "--token-file", "nowhere"], 3, "no token file nowhere"),
    (["here.txt", "--token-file", "empty"], 2, "a token is one line"),
    (["here.txt", "--max-body", "much"], 2, "--max-body much: give an amount"),
    (["here.txt"], 3, "here.txt is not a Residua model file"),
]


@pytest.mark.parametrize("words, code, said", BAD, ids=[" ".join(w) for w, _, _ in BAD])
def test_bad_words_are_one_line_before_anything_listens(words, code, said, tmp_path, monkeypatch, capfd):
    from residua.cli.main import run

    monkeypatch.chdir(tmp_path)
    Path("here.txt").write_text("here")
    Path("empty").touch()
    assert run(["serve", *words]) == code
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err


def test_a_missing_library_is_one_line_that_says_what_to_install(tmp_path, monkeypatch, capfd):
    from residua.cli.main import run

    file = classifier(tmp_path / "a.safetensors")
    for library, words, extra in (("uvicorn", [], "serve"), ("grpc", ["--grpc-port", "0"], "grpc")):
        with monkeypatch.context() as m:
            m.setitem(sys.modules, library, None)
            assert run(["serve", str(file), *words]) == 2
        assert f"this needs {library}: pip install 'residua[{extra}]'" in capfd.readouterr().err
