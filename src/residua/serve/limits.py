"""What a server allows, as numbers with units; and the one error that tells a client what it did not. No torch."""

from dataclasses import dataclass

from residua.errors import one_line


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is taken at a time.

    `batch_size` pictures go through a net together, gathered for at most `batch_wait_ms` after the first. `queue`
    pictures of a model may be on their way at once, `concurrency` requests of the server; more are sent away with 429.
    A body has at most `body_bytes`, all bodies together `bodies` times as many. A request may take `seconds` to arrive
    and as long to be answered; its header has to arrive in `header_seconds`. Files of models are looked at every
    `look_seconds`; when it is to end, the server listens for `farewell_seconds` more, telling clients to go.
    """

    batch_size: int = 16
    batch_wait_ms: float = 5.0
    queue: int = 256
    concurrency: int = 128
    body_bytes: int = 32 * 2**20
    bodies: int = 8
    seconds: float = 30.0
    header_seconds: float = 10.0
    look_seconds: float = 1.0
    farewell_seconds: float = 0.5
    explained: int = 16


class Refused(Exception):
    """A request that is not answered: the status of HTTP, why in one line, and when to come again."""

    def __init__(self, status: int, line: str, *, retry_after: int | None = None) -> None:
        """With `retry_after` in seconds, where coming again makes sense; what a client sent may stand in the line."""
        super().__init__(line)
        self.status, self.line, self.retry_after = status, one_line(line), retry_after


class Room:
    """The memory for bodies that all requests share."""

    def __init__(self, limits: Limits) -> None:
        """Empty."""
        self.free = limits.bodies * limits.body_bytes

    def take(self, n: int) -> None:
        """Room for so many bytes. Raises Refused (429) where there is none; nothing is taken then."""
        if n > self.free:
            raise Refused(429, "too many bodies are on their way: come again", retry_after=1)
        self.free -= n

    def give(self, n: int) -> None:
        """Give back what was taken."""
        self.free += n
