"""Pictures per second of `residua serve` under 32 clients, beside `Model.predict` on the same pictures; what is lost.

Makes a model (ResNet-18 with random weights, 224 pixels: what it says does not matter here) and JPEG photos, crops of
scikit-learn's two sample photos, in a temporary folder. The raw predictor has all files in memory, and the server's
batch size, device and threads. The server is a process of its own; the clients are 32 connections of one process on the
same machine, each asking for one picture at a time, and again once it is answered: what they cost is in the figure.
Turn by turn, round by round. Then a reload (the file is replaced while all clients ask) and a shutdown (SIGTERM while
they ask): a request is lost where its connection was accepted and no whole answer came.

And one picture at a time: one connection beside `Model.predict` of the same bytes in this process (goal: at most 1.25
times as long).

Prints a JSON line each: medians over the rounds, ratio and range, latencies, hardware and versions.

    python bench/serve.py
    python bench/serve.py --rounds 1 --seconds 4
"""

import argparse
import asyncio
import http.client
import io
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import torch
from PIL import Image

from residua.data.view import STATISTICS, View
from residua.nn import modelfile
from residua.nn.zoo import build, find
from residua.predict import Model, load
from side_by_side import Side, case, milliseconds, tell

IMAGENET = STATISTICS["imagenet"]
VIEW = View(side_px=224, fit="crop", resize_px=256, mode="RGB", mean=IMAGENET.mean, std=IMAGENET.std)
CLASSES = tuple(f"class {i}" for i in range(10))
PHOTO = (500, 375)  # ImageNet's usual size
PHOTOS = 64


def make(path: Path, arch: str, seed: int) -> Path:
    """A model file with random weights."""
    torch.manual_seed(seed)
    row = replace(find(arch), classes=len(CLASSES))
    modelfile.save(path, build(row), modelfile.Header(row=row, classes=CLASSES, view=VIEW.to_json()), overwrite=True)
    return path


def photos() -> list[bytes]:
    """JPEG files."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    samples = [Image.fromarray(image) for image in load_sample_images().images]
    made = []
    for i in range(PHOTOS):
        whole, side = samples[i % len(samples)], rng.uniform(0.5, 1.0)
        w, h = whole.width * side, whole.height * side
        left, top = rng.uniform(0, whole.width - w), rng.uniform(0, whole.height - h)
        out = io.BytesIO()
        whole.resize(PHOTO, Image.Resampling.BICUBIC, (left, top, left + w, top + h)).save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made


class Process:
    """`residua serve` on a free port."""

    def __init__(self, model: Path, words: list[str]) -> None:
        """Start it, with more words."""
        command = [sys.executable, "-m", "residua", "serve", str(model), "--port", "0", *words]
        self.log = open(model.with_suffix(".log"), "w", encoding="utf-8")  # noqa: SIM115
        self.run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        assert self.run.stdout is not None
        found = re.search(r"http://[^ ,]+", self.run.stdout.readline())
        if found is None:
            sys.exit(f"the server did not start: {model.with_suffix('.log').read_text()}")
        self.url = found[0]

    def end(self) -> int:
        """Its exit code after SIGTERM."""
        self.run.send_signal(signal.SIGTERM)
        code = self.run.wait(120)
        self.log.close()
        return code


class Clients:
    """Many connections that ask again and again until it is time."""

    def __init__(self, url: str, pictures: list[bytes], clients: int) -> None:
        """So many of a server."""
        self.url, self.pictures, self.clients = f"{url}/v1/predict", pictures, clients
        self.seconds: list[float] = []
        self.outcomes: Counter[str] = Counter()

    async def ask(self, session: aiohttp.ClientSession, number: int, stop: Callable[[], bool]) -> None:
        """One client, from picture `number` on."""
        while not stop():
            began = time.perf_counter()
            try:
                async with session.post(
                    self.url, data=self.pictures[number % len(self.pictures)], headers=JPEG
                ) as answer:
                    await answer.read()
                self.outcomes[str(answer.status)] += 1
                self.seconds.append(time.perf_counter() - began)
            except aiohttp.ClientConnectorError:
                self.outcomes["not accepted"] += 1
                return
            except (aiohttp.ClientError, OSError) as e:
                self.outcomes[f"lost: {type(e).__name__}"] += 1
            number += self.clients

    async def run(self, stop: Callable[[], bool], meanwhile: Callable[[], Any] | None = None) -> None:
        """All of them, while something else happens."""
        connector = aiohttp.TCPConnector(limit=self.clients)
        async with aiohttp.ClientSession(connector=connector) as session:
            asking = [asyncio.create_task(self.ask(session, i, stop)) for i in range(self.clients)]
            if meanwhile is not None:
                await asyncio.to_thread(meanwhile)
            await asyncio.gather(*asking)


JPEG = {"Content-Type": "image/jpeg"}


def raw(model: Model, pictures: list[bytes], batch: int, seconds: float) -> float:
    """Pictures/s of the predictor alone, in one long stream."""
    began, done = time.perf_counter(), 0
    for _ in model.stream(cycle(pictures), batch_size=batch):
        done += 1
        if time.perf_counter() - began > seconds:
            break
    return done / (time.perf_counter() - began)


def served(url: str, pictures: list[bytes], clients: int, seconds: float) -> tuple[float, Clients]:
    """Pictures/s under clients, and what they met."""
    asked = Clients(url, pictures, clients)
    began = time.perf_counter()
    asyncio.run(asked.run(lambda: time.perf_counter() - began > seconds))
    return len(asked.seconds) / (time.perf_counter() - began), asked


def reloaded(url: str, file: Path, arch: str, pictures: list[bytes], clients: int) -> Counter[str]:
    """What clients met while the file was replaced and taken up."""
    asked, over = Clients(url, pictures, clients), [False]

    def replace_it() -> None:
        time.sleep(1)
        os.replace(make(file.with_name("new.safetensors"), arch, 1), file)
        until = time.monotonic() + 60
        while '"outcome": "taken"' not in file.with_suffix(".log").read_text() and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(1)
        over[0] = True

    asyncio.run(asked.run(lambda: over[0], replace_it))
    taken = '"outcome": "taken"' in file.with_suffix(".log").read_text()
    return asked.outcomes + Counter({"reloads": int(taken)})


def ended(server: Process, pictures: list[bytes], clients: int) -> tuple[Counter[str], int]:
    """What clients met while the server was told to end, and its exit code."""
    asked, codes = Clients(server.url, pictures, clients), []

    def end() -> None:
        time.sleep(1)
        codes.append(server.end())

    asyncio.run(asked.run(lambda: False, end))
    return asked.outcomes, codes[0]


def latency(url: str, model: Model, picture: bytes, seconds: float, rounds: int) -> dict[str, object]:
    """Milliseconds of one picture over one connection, beside the predictor's."""
    where = urlsplit(url)

    def ask(connection: http.client.HTTPConnection) -> None:
        connection.request("POST", "/v1/predict", picture, JPEG)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200

    def served() -> float:
        with closing(http.client.HTTPConnection(where.hostname or "", where.port)) as connection:
            return milliseconds(lambda: ask(connection), seconds)

    return case(
        "serve: one photo over one connection", "ms", Side("served", "HTTP", served),
        [Side("Model.predict", "in this process", lambda: milliseconds(lambda: model.predict(picture), seconds))],
        rounds=rounds, more=False, goal="at most 1.25 of the predictor",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        file, pictures = make(folder / "m.safetensors", args.arch, 0), photos()
        model = load(file, threads=args.threads)
        server = Process(file, ["--batch-size", str(args.batch_size), "--threads", str(args.threads)])
        raw(model, pictures, args.batch_size, 1)
        served(server.url, pictures, args.clients, 2)
        met: list[Clients] = []

        def under() -> float:
            rate, asked = served(server.url, pictures, args.clients, args.seconds)
            met.append(asked)
            return rate

        how = f"{args.threads} threads, batch {args.batch_size}"
        line = case(
            f"serve {args.arch} at 224 px, {args.clients} clients of one photo a request", "pictures/s",
            Side("served", how, under),
            [Side("Model.stream", how, lambda: raw(model, pictures, args.batch_size, args.seconds))],
            rounds=args.rounds, goal="0.85 of the predictor",
        )  # fmt: skip
        tell(latency(server.url, model, pictures[0], args.seconds / 3, args.rounds))
        over_reload = reloaded(server.url, file, args.arch, pictures, args.clients)
        over_end, code = ended(server, pictures, args.clients)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = [s for asked in met for s in asked.seconds]
    quantiles = statistics.quantiles(seconds, n=100)
    tell(line | {
        "p50_ms": round(1000 * quantiles[49], 1), "p99_ms": round(1000 * quantiles[98], 1), "requests": len(seconds),
        "outcomes": sum((asked.outcomes for asked in met), Counter[str]()), "over_a_reload": over_reload,
        "over_a_shutdown": over_end, "exit_code": code, "load": round(os.getloadavg()[0], 1),
    })  # fmt: skip


if __name__ == "__main__":
    main()
