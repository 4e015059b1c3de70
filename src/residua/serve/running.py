"""The server as a process: sockets, signals, HTTP and gRPC side by side until it is told to end."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn

from residua.errors import UsageError
from residua.serve.app import application
from residua.serve.connection import protocol
from residua.serve.hosted import Hall

#: Accepted connections whose request is still on its way have so long once nothing more is accepted.
LAST_WORDS_SECONDS = 0.2
#: How long answers on their way out are waited for, beside the time that a request may take.
GRACE_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where the server listens, and the token that whoever asks has to know. Port 0 is any free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    token: str | None = None

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("127.0.0.1", "::1", "localhost")


class _Server(uvicorn.Server):
    """uvicorn without its own signals: it would end the process by the signal that it got."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError for an address that cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as e:
        why = getattr(e, "strerror", None) or e
        raise UsageError(f"cannot listen on {host} port {port}: {why}; choose another --host or --port") from e


def serve(hall: Hall, door: Door, started: Callable[[str, str | None], None]) -> None:
    """Answer until SIGTERM or Ctrl-C; `started` hears the addresses of HTTP and gRPC. Raises UsageError."""
    with listening(door.host, door.port) as http:
        asyncio.run(_serve(hall, door, http, started))


async def _serve(hall: Hall, door: Door, http: socket.socket, started: Callable[[str, str | None], None]) -> None:
    limits = hall.limits
    config = uvicorn.Config(
        application(hall, door.token), http=protocol(limits), ws="none", lifespan="on", log_config=None,
        log_level="critical", access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=5,
        timeout_graceful_shutdown=round(2 * limits.seconds) + GRACE_SECONDS,
    )  # fmt: skip
    server, told = _Server(config), asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, _told, server, told)
    rpc = None
    if door.grpc_port is not None:
        from residua.serve.rpc import Rpc

        rpc = Rpc(hall, door.token)
    serving = asyncio.create_task(server.serve([http]))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        at = None if rpc is None else await rpc.start(door.host, door.grpc_port or 0)
        started(f"http://{_address(door.host, http.getsockname()[1])}", at)
        leaving = asyncio.create_task(told.wait())
        await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        await _leave(hall, server)
        if rpc is not None:
            await rpc.stop(0 if server.force_exit else limits.seconds)
    finally:
        server.should_exit = True
        await serving


def _told(server: uvicorn.Server, told: asyncio.Event) -> None:
    """End well; told a second time, at once."""
    server.force_exit = told.is_set()
    told.set()


async def _leave(hall: Hall, server: uvicorn.Server) -> None:
    """Tell clients to go, then stop accepting; what was accepted may still ask, and is answered."""
    hall.leaving = True
    await asyncio.sleep(0 if server.force_exit else hall.limits.farewell_seconds)
    for listener in server.servers:
        listener.close()
    await asyncio.sleep(0 if server.force_exit else LAST_WORDS_SECONDS)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
