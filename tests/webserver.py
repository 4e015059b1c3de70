"""A web server of one folder that behaves as badly as it is told to: for what is read from far away."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Server:
    """Where the folder is served, and how: with or without parts of files, with what goes wrong first."""

    url: str
    root: Path
    ranges: bool = True
    errors: list[int] = field(default_factory=list)  # answers to the next requests for shards
    drops: int = 0  # so many of the next answers for shards end in the middle
    asked: list[str] = field(default_factory=list)  # every request: method, path, range


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    wbufsize = 2**16  # headers and body in one piece: the other side would wait for the rest
    server: "ThreadingHTTPServer"

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        behaviour: Server = self.server.behaviour  # type: ignore[attr-defined]
        wanted = self.headers.get("Range", "")
        behaviour.asked.append(f"{self.command} {self.path} {wanted}".strip())
        path = behaviour.root / self.path.lstrip("/")
        shard = self.path.endswith(".tar")
        if shard and body and behaviour.errors:
            return self.short(behaviour.errors.pop(0))
        if not path.is_file():
            return self.short(404)
        data = path.read_bytes()
        first, last, status = 0, len(data) - 1, 200
        if behaviour.ranges and (match := re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)):
            first, last, status = int(match[1]), min(int(match[2] or last), last), 206
            if first > last:
                return self.short(416)
        part = data[first : last + 1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(part)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        if not body:
            return None
        if shard and behaviour.drops:
            behaviour.drops -= 1
            part = part[: len(part) // 2]
            self.close_connection = True
        self.wfile.write(part)
        return None

    def short(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(root: Path) -> Iterator[Server]:
    """A server of the folder, until the block ends."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    behaviour = Server(f"http://127.0.0.1:{server.server_address[1]}", root)
    server.behaviour = behaviour  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield behaviour
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
