"""A connection that cannot be held for nothing: headers that come slowly, and answers that nobody reads, end it."""

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from residua.serve.limits import Limits


def protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's protocol with deadlines, which it leaves to a proxy in front."""

    class Connection(H11Protocol):
        """One connection: in a request (the application watches), or with a deadline."""

        deadline: asyncio.TimerHandle | None = None
        unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def _watch(self) -> None:
            """Outside a request the next header, or the rest of a body that was refused, has a deadline."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._forget()
            elif self.deadline is None:
                self.deadline = self.loop.call_later(limits.header_seconds, self._late)

        def _late(self) -> None:
            self.deadline = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

        def _forget(self) -> None:
            for timer in (self.deadline, self.unread):
                if timer is not None:
                    timer.cancel()
            self.deadline = self.unread = None

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            if self.unread is None:
                self.unread = self.loop.call_later(limits.seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.unread is not None:
                self.unread.cancel()
                self.unread = None

        def send_400_response(self, msg: str) -> None:
            """What is no HTTP is told so as everything else is: in JSON."""
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                body = json.dumps({"error": "this is no HTTP request"}).encode()
                headers = [
                    ("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close"),
                ]  # fmt: skip
                response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
                for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Connection
