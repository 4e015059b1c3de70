"""``residua serve MODELS...``: models that answer over HTTP, and over gRPC where it is asked for."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from residua.cli.options import Debug, Device, Exact, Threads, choice
from residua.errors import DataError, UsageError

#: Where a token may stand beside --token-file.
TOKEN = "RESIDUA_SERVE_TOKEN"
#: The libraries of the extras, by the names that they are imported by.
SERVE, GRPC = ("prometheus_client", "python_multipart", "starlette", "uvicorn"), ("google.protobuf", "grpc")


def serve(
    models: Annotated[list[str], typer.Argument(metavar="MODELS...", help="model files, or run folders")],
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="what a model is called, once for each in their order",
            show_default="after its file or folder",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="where to listen; 0.0.0.0 lets other machines in")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="the port of HTTP; 0 is any free one")
    ] = 8000,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            "--grpc-port",
            metavar="N",
            min=0,
            max=65535,
            help="answer over gRPC too, on this port",
            show_default="no gRPC",
        ),
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="a file with the token that clients have to send",
            show_default=f"${TOKEN}",
        ),
    ] = None,
    runs: Annotated[
        str | None,
        typer.Option(
            "--runs",
            metavar="FOLDER",
            help="a folder of run folders whose curves and reports the page shows",
            show_default="no runs",
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            metavar="N",
            min=1,
            help="pictures that go through a net together, at most",
            rich_help_panel="limits",
        ),
    ] = 16,
    batch_wait: Annotated[
        float,
        typer.Option(
            "--batch-wait",
            metavar="MS",
            min=0,
            max=10000,
            help="how long a picture waits for others that are on their way",
            rich_help_panel="limits",
        ),
    ] = 5.0,
    queue: Annotated[
        int,
        typer.Option(
            "--queue",
            metavar="N",
            min=1,
            help="pictures of a model on their way at once; more are sent away with 429",
            rich_help_panel="limits",
        ),
    ] = 256,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency",
            metavar="N",
            min=1,
            help="requests at once; more are sent away with 429",
            rich_help_panel="limits",
        ),
    ] = 128,
    max_body: Annotated[
        str, typer.Option("--max-body", metavar="SIZE", help="the longest body (32M)", rich_help_panel="limits")
    ] = "32M",
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            max=3600,
            help="how long a request may take to arrive, and to be answered",
            rich_help_panel="limits",
        ),
    ] = 30.0,
    device: Device = "auto",
    precision: Exact = "fp32",
    runtime: Annotated[
        str,
        choice(
            "--runtime",
            "what computes the answers of classifiers; each has to say what the net says; auto takes the fastest. "
            "Reasons come from the net itself",
            section="machine",
            shown="eager",
        ),
    ] = "eager",
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Answer over HTTP: what is on these pictures? Also by the Open Inference Protocol, over HTTP and gRPC.

    The page at / takes photos and shows what the net says, where it looked, and what each unit gave to it; units
    can be switched off. POST /v1/predict takes pictures, /v1/models says what is served, /docs describes all of it,
    /metrics is for Prometheus. One line a request goes to stderr, as JSON. A model file that is replaced is taken
    up; a bad one is refused, and the old one goes on. SIGTERM and Ctrl-C end the server once all that it took in is
    answered.

    Examples:
      residua serve runs/photos-resnet18-1
      residua serve runs/cifar10-resnet20 runs/cifar10-plain20 --runs runs
      residua serve a.safetensors runs/b --name cats --name cells --port 8080 --grpc-port 8081
      curl -F files=@photo.jpg http://127.0.0.1:8000/v1/predict
    """
    from residua.amounts import size
    from residua.cli.files import model_file

    files = [model_file(m) for m in models]
    names = names_of(files, name or [])
    body_bytes = size(max_body, "--max-body")
    token = secret(token_file)
    shown = runs_of(runs)
    from residua.runtimes.words import check, check_precision

    check(runtime)
    check_precision(runtime, precision)
    _needed("serve", SERVE)
    if grpc_port is not None:
        _needed("grpc", GRPC)
    from residua.cli.live import waiting

    with waiting("loading the models"):
        from residua.serve.hosted import Hall, Hosted, Machine
        from residua.serve.limits import Limits
        from residua.serve.running import Door, serve
        from residua.serve.runs import Runs

        limits = Limits(
            batch_size=batch_size, batch_wait_ms=batch_wait, queue=max(queue, batch_size), concurrency=concurrency,
            body_bytes=body_bytes, seconds=timeout,
        )  # fmt: skip
        machine = Machine(device, precision, threads, runtime, lambda line: _log({"event": "runtime", "why": line}))
        hall = Hall([Hosted(n, file, machine) for n, file in zip(names, files, strict=True)], limits, _log)
    door = Door(host=host, port=port, grpc_port=grpc_port, token=token, runs=Runs(shown))
    if token is None and not door.local:
        from residua.cli.terminal import say

        say(f"residua: whoever reaches {host} may ask: --token-file FILE makes clients send a token")
    serve(hall, door, lambda http, rpc: _started(names, http, rpc))


def names_of(files: Sequence[Path], given: Sequence[str]) -> list[str]:
    """The names of the models: those that are given, or after their files. Raises UsageError."""
    if given and len(given) != len(files):
        raise UsageError(f"--name: {len(given)} names for {len(files)} models: give one for each, in their order")
    from residua.cli.files import check_address, named_after

    names = list(given) or [named_after(file) for file in files]
    for one in names:
        check_address(one)
    if twice := [n for n in names if names.count(n) > 1]:
        raise UsageError(f"two models are called {twice[0]}: give each a --name, in their order")
    return names


def runs_of(folder: str | None) -> Path | None:
    """The folder whose runs are shown, as it really lies. Raises DataError, and UsageError for a run itself."""
    if folder is None:
        return None
    path = Path(folder)
    if not path.is_dir():
        raise DataError(f"no folder {folder}: --runs is the folder that holds run folders")
    if (path / "config.toml").is_file():
        raise UsageError(f"--runs {folder} is a run itself: give the folder that it lies in")
    return path.resolve()


def secret(file: str | None) -> str | None:
    """The token of a file or of the environment; None for no token. Raises DataError, UsageError."""
    if file is None:
        token, where = os.environ.get(TOKEN), f"${TOKEN}"
        if token is None:
            return None
    else:
        from residua.cli.files import existing

        where = f"--token-file {file}"
        try:
            token = existing(file, "token file").read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{where}: this is no text: put a token on its one line") from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"{where}: a token is one line of letters, digits and signs, without spaces")
    return token


def _needed(extra: str, libraries: Sequence[str]) -> None:
    """Raise UsageError where a library of an extra is missing."""
    for library in libraries:
        try:
            there = find_spec(library) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            raise UsageError(f"this needs {library}: pip install 'residua[{extra}]'")


def _log(told: dict[str, Any]) -> None:
    from residua.cli.terminal import as_json

    with suppress(OSError, ValueError):  # whoever read the log is gone: clients are answered all the same
        print(as_json(told, None), file=sys.stderr, flush=True)


def _started(names: Sequence[str], http: str, rpc: str | None) -> None:
    also = f", gRPC at {rpc}" if rpc else ""
    print(f"serving {', '.join(names)} at {http}{also} (Ctrl-C ends it)", flush=True)
