"""What stands before every request: who may ask, how many at a time, what is counted, and one line for the log."""

import hmac
import re
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from residua.serve.hosted import Hall
from residua.serve.limits import Refused
from residua.serve.runs import Runs

#: Probes ask without a token, and are answered however busy the server is.
HEALTH = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
#: What shows nothing of the models: the page, and the description of the interface.
OPEN = (*HEALTH, "/", "/docs", "/openapi.json")
STEADY = (*HEALTH, "/metrics")
REPORT = re.compile("/runs/([^/]+)/report.html", re.DOTALL)
HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
GONE = 499  # what nginx logs for a client that did not wait

FAILED = Refused(500, "the server failed: its log says more")


def reply(refused: Refused) -> JSONResponse:
    """The error as a client sees it."""
    headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refused.status == 408:  # the rest of the body is not waited for
        headers["Connection"] = "close"
    return JSONResponse({"error": refused.line}, refused.status, headers)


def allowed(given: str | None, token: str | None) -> bool:
    """Whether an ``Authorization`` header is good; compared in constant time."""
    kind, _, word = (given or "").partition(" ")
    return token is None or (kind.lower() == "bearer" and hmac.compare_digest(word.strip().encode(), token.encode()))


def now() -> str:
    """The time as ISO 8601 has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Guard:
    """The application behind its door; no error of it comes out as anything but one line."""

    def __init__(self, app: ASGIApp, hall: Hall, token: str | None, runs: Runs) -> None:
        """With a `token`, whoever asks has to know it; a report of `runs` also opens with its own key."""
        self.app, self.hall, self.token, self.runs, self.inside = app, hall, token, runs, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        told: dict[str, Any] = {}
        scope.setdefault("state", {})["told"] = told

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                kept = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in HEADERS if h[0] not in kept)]
                if self.hall.leaving:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        self.inside += 1
        self.hall.meters.in_flight.inc()
        try:
            await self._inside(scope, receive, sending)
        except Exception as e:
            why = (str(e).splitlines() or [""])[0][:300]
            self.hall.hear({"event": "error", "time": now(), "error": type(e).__name__, "why": why})
            if not status:
                await reply(FAILED)(scope, receive, sending)
        finally:
            self.inside -= 1
            self.hall.meters.in_flight.dec()
            self._tell(scope, told, status or GONE, time.monotonic() - began)

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        given = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"authorization"), None)
        if not (path in OPEN or path.startswith("/page/") or allowed(given, self.token) or self._keyed(scope)):
            refused = Refused(401, "a token is needed: Authorization: Bearer TOKEN")
        elif path not in STEADY and self.inside > self.hall.limits.concurrency:
            refused = Refused(429, "too many requests at a time: come again", retry_after=1)
        else:
            await self.app(scope, receive, send)
            return
        await reply(refused)(scope, receive, send)

    def _keyed(self, scope: Scope) -> bool:
        """Whether this is the address of a report with its key."""
        report = REPORT.fullmatch(scope["path"])
        keys = parse_qs(scope["query_string"].decode("latin-1")).get("key", [])
        return report is not None and any(self.runs.opened(report[1], key) for key in keys)

    def _tell(self, scope: Scope, told: dict[str, Any], status: int, seconds: float) -> None:
        route = getattr(scope.get("endpoint"), "__name__", "none")
        self.hall.meters.requests.labels("http", route, status).inc()
        self.hall.meters.request_seconds.labels("http", route).observe(seconds)
        client = scope.get("client")
        self.hall.hear({
            "event": "request", "time": now(), "id": uuid4().hex[:12], "protocol": "http",
            "client": client[0] if client else None, "method": scope["method"], "path": scope["path"][:300],
            "status": status, "ms": round(1000 * seconds, 2), **told,
        })  # fmt: skip
