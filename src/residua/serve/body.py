"""The body of a request: read whole, never beyond what is allowed, never for longer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request

from residua.serve.hosted import Hall
from residua.serve.limits import Refused


@asynccontextmanager
async def bounded(request: Request, hall: Hall) -> AsyncIterator[bytes]:
    """The body, while the block lasts.

    Raises Refused: 413 for one that is too long, by its length or while it comes; 415 for a compressed one; 408 for
    one that is too slow; 429 where all bodies together are too long.
    """
    most, taken = hall.limits.body_bytes, 0
    too_long = Refused(413, f"the body is longer than {most:,} bytes")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "compressed bodies are not taken: pictures are compressed already")
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length[:20]) > most:
        raise too_long
    parts = []
    try:
        try:
            async with asyncio.timeout(hall.limits.seconds):
                async for chunk in request.stream():
                    if taken + len(chunk) > most:
                        raise too_long
                    hall.room.take(len(chunk))
                    taken += len(chunk)
                    parts.append(chunk)
        except TimeoutError:
            raise Refused(408, f"the body did not arrive within {hall.limits.seconds:g} s") from None
        request.state.told["bytes"] = taken
        yield b"".join(parts)
    finally:
        hall.room.give(taken)


def document(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises Refused (400) for anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise Refused(400, "the body is JSON, but no object")
    return found
