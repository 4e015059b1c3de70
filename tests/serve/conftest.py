"""Small models of all kinds with random weights, and servers of them: in this thread, or on a port."""

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from residua.boxes.view import BoxView
from residua.data.view import View
from residua.detect import detector
from residua.detect import modelfile as detector_file
from residua.detect.row import detector_row
from residua.localize import localizer
from residua.localize import modelfile as localizer_file
from residua.localize.row import LocalizerRow
from residua.nn import modelfile
from residua.nn.zoo import build, find
from residua.serve.app import application
from residua.serve.hosted import Hall, Hosted, Machine
from residua.serve.limits import Limits
from residua.serve.running import Door, Server, listening
from residua.serve.runs import Runs

CLASSES = ("ant", "bee", "cat", 'dög, "big"')
VIEW = View(12, "crop", 14, "RGB", (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
ROOM = BoxView(64, 96, "RGB", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
SQUARE = BoxView(64, 64, "RGB", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "squash")


def classifier(path: Path, seed: int = 0, classes: tuple[str, ...] = CLASSES, name: str = "cifar_resnet8") -> Path:
    torch.manual_seed(seed)
    row = replace(find(name), classes=len(classes), channels=3)
    net = build(row)
    header = modelfile.Header(row=row, classes=classes, view=VIEW.to_json(), temperature=1.3)
    modelfile.save(path, net, header, overwrite=True)
    return path


def detector_model(path: Path) -> Path:
    torch.manual_seed(0)
    row = detector_row(find("resnet18"), 3, norm="frozen")
    header = detector_file.DetectorHeader(row=row, classes=("a", "b", "c"), view=ROOM)
    detector_file.save(path, detector.build(row), header)
    return path


def localizer_model(path: Path) -> Path:
    torch.manual_seed(0)
    row = LocalizerRow(net=replace(find("cifar_resnet20"), classes=3), anchors=((24.0, 24.0), (40.0, 20.0)))
    boxes = np.tile([0.2, 0.2, 0.8, 0.8], (3, 1))
    header = localizer_file.LocalizerHeader(row=row, classes=("a", "b", "c"), view=SQUARE, mean_boxes=boxes)
    localizer_file.save(path, localizer.build(row), header)
    return path


def picture(seed: int = 0, size: tuple[int, int] = (31, 23), kind: str = "PNG") -> bytes:
    """The bytes of a file: width and height, noise."""
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@dataclass(frozen=True)
class Kinds:
    """Files of a model of each kind."""

    classifier: Path
    detector: Path
    localizer: Path


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    root = tmp_path_factory.mktemp("served")
    makers = {"classifier": classifier, "detector": detector_model, "localizer": localizer_model}
    return Kinds(**{name: make(root / f"{name}.safetensors") for name, make in makers.items()})


@pytest.fixture(scope="session")
def hosted(kinds: Kinds) -> dict[str, Hosted]:
    """Each loaded once for all tests: halls come and go."""
    return {name: Hosted(name, file, Machine("cpu")) for name, file in vars(kinds).items()}


@dataclass(eq=False)
class Asked:
    """A hall in this thread, a client of it, and what the hall said."""

    hall: Hall
    client: httpx.AsyncClient
    heard: list[dict[str, Any]]


def within(
    models: list[Hosted], test: Callable[[Asked], Awaitable[Any]], token: str | None = None,
    runs: Path | None = None, **limits: Any,
) -> Any:  # fmt: skip
    """Run a test against an application in this thread."""

    async def run() -> Any:
        heard: list[dict[str, Any]] = []
        hall = Hall(models, Limits(**limits), heard.append)
        transport = httpx.ASGITransport(application(hall, token, Runs(runs)))
        await hall.open()
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await asyncio.wait_for(test(Asked(hall, client, heard)), 60)
        finally:
            await hall.close()

    return asyncio.run(run())


@dataclass(frozen=True, eq=False)
class Served:
    """A server on ports of this machine, and what it said."""

    url: str
    rpc: str
    heard: list[dict[str, Any]]
    hall: Hall
    end: Callable[[], None]

    @property
    def address(self) -> tuple[str, int]:
        """Of HTTP."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)


@contextmanager
def serving(
    models: list[Hosted], token: str | None = None, runs: Path | None = None, **limits: Any
) -> Iterator[Served]:
    """A server in a thread of its own, until the block ends."""
    heard: list[dict[str, Any]] = []
    hall = Hall(models, Limits(**limits), heard.append)
    there: list[Any] = []
    ready = threading.Event()

    async def run() -> None:
        with listening("127.0.0.1", 0) as http:
            server = Server(hall, Door(port=0, grpc_port=0, token=token, runs=Runs(runs)))
            loop = asyncio.get_running_loop()
            there.append(lambda: loop.call_soon_threadsafe(server.end))

            def started(url: str, rpc: str | None) -> None:
                there.extend((url, rpc))
                ready.set()

            await server.answer(http, started)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(30)
    try:
        yield Served(there[1], there[2], heard, hall, there[0])
    finally:
        if thread.is_alive():
            there[0]()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def served(hosted: dict[str, Hosted]) -> Iterator[Served]:
    """All kinds of models on a port."""
    with serving(list(hosted.values()), farewell_seconds=0.05) as server:
        yield server
