"""Work for a client that may lose patience: it ends when the client is gone, or when its time is over."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from residua.serve.hosted import Hall
from residua.serve.limits import Refused

T = TypeVar("T")


async def attended(request: Request, hall: Hall, work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to. Raises Refused (503) where it takes too long, ClientDisconnect where nobody waits."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        first = asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait({task, gone}, timeout=hall.limits.seconds, return_when=first)
        if task in done:
            return task.result()
        if gone in done:
            raise ClientDisconnect
        raise too_slow(hall)
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


def too_slow(hall: Hall) -> Refused:
    """The answer did not come in time."""
    return Refused(503, f"not answered within {hall.limits.seconds:g} s: come again", retry_after=1)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
