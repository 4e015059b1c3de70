"""The server as a process: sockets, signals, HTTP and gRPC side by side until it is told to end."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvicorn

from residua.errors import UsageError
from residua.serve.app import application
from residua.serve.connection import protocol
from residua.serve.guard import now
from residua.serve.hosted import Hall
from residua.serve.runs import Runs

#: Accepted connections whose request is still on its way have so long once nothing more is accepted.
LAST_WORDS_SECONDS = 0.2
#: How long answers on their way out are waited for, beside the time that a request may take.
GRACE_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where the server listens, the token that whoever asks has to know, the runs that it shows. Port 0 is any free
    one."""

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    token: str | None = None
    runs: Runs = field(default_factory=Runs)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("127.0.0.1", "::1", "localhost")


class Server(uvicorn.Server):
    """HTTP and gRPC for the models of a hall, until `end` is called. Signals are left to whoever runs it: uvicorn would
    end the process by the one that it got."""

    def __init__(self, hall: Hall, door: Door) -> None:
        """Not started yet."""
        limits = hall.limits
        super().__init__(uvicorn.Config(
            application(hall, door.token, door.runs), http=protocol(limits), ws="none", lifespan="on", log_config=None,
            log_level="critical", access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=5,
            timeout_graceful_shutdown=round(2 * limits.seconds) + GRACE_SECONDS,
        ))  # fmt: skip
        self.hall, self.door, self.asked = hall, door, asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None."""
        yield

    def end(self) -> None:
        """Begin to end: well, or at once where it was asked before."""
        self.force_exit = self.asked.is_set()
        self.asked.set()

    async def answer(self, http: socket.socket, started: Callable[[str, str | None], None]) -> None:
        """Answer on this socket until the end; `started` hears the addresses of HTTP and gRPC. Raises UsageError."""
        door, rpc = self.door, None
        if door.grpc_port is not None:
            from residua.serve.rpc import Rpc

            rpc = Rpc(self.hall, door.token)
        serving = asyncio.create_task(self.serve([http]))
        try:
            while not self.started and not serving.done():
                await asyncio.sleep(0.01)
            at = None if rpc is None else await rpc.start(door.host, door.grpc_port or 0)
            started(f"http://{_address(door.host, http.getsockname()[1])}", at)
            asked = asyncio.create_task(self.asked.wait())
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            await self._leave()
            if rpc is not None:
                await rpc.stop(0 if self.force_exit else self.hall.limits.seconds)
        finally:
            self.should_exit = True
            await serving

    async def _leave(self) -> None:
        """Tell clients to go, then stop accepting; what was accepted may still ask, and is answered."""
        self.hall.leaving = True
        await asyncio.sleep(0 if self.force_exit else self.hall.limits.farewell_seconds)
        for listener in self.servers:
            listener.close()
        await asyncio.sleep(0 if self.force_exit else LAST_WORDS_SECONDS)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError for an address that cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as e:
        why = getattr(e, "strerror", None) or e
        raise UsageError(f"cannot listen on {host} port {port}: {why}; choose another --host or --port") from e
    # asyncio sets it only for sockets that name their protocol; without it an answer's second packet waits 40 ms.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def serve(hall: Hall, door: Door, started: Callable[[str, str | None], None]) -> None:
    """Answer until SIGTERM or Ctrl-C; `started` hears the addresses of HTTP and gRPC. Raises UsageError."""

    async def until_told(http: socket.socket) -> None:
        server = Server(hall, door)
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, server.end)
        await server.answer(http, started)

    _log_to(hall)
    with listening(door.host, door.port) as http:
        asyncio.run(until_told(http))


class _Heard(logging.Handler):
    """What libraries log, in the server's own log."""

    def __init__(self, hall: Hall) -> None:
        super().__init__(logging.WARNING)
        self.hall = hall

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(record.getMessage().split())[:300]
        self.hall.hear({"event": "log", "time": now(), "from": record.name, "level": record.levelname, "line": line})


def _log_to(hall: Hall) -> None:
    """Hear warnings of all libraries but of the parser of forms: it logs what clients send, who are told so anyway."""
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_Heard(hall)])
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
