"""The queue in front of a model: pictures of many requests become batches, and no more wait than there is room for."""

import asyncio
import hashlib
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from residua.data.decode import BadPicture
from residua.serve.answerer import Answerer, Wish
from residua.serve.limits import Limits, Refused
from residua.serve.meters import Meters
from residua.serve.stack import Stack

T = TypeVar("T")

#: Pictures, as the net sees them, that a model can be asked about again without sending them again.
REMEMBERED = 32


@dataclass(frozen=True, eq=False)
class Pools:
    """The threads of a server: some that read pictures, one that computes for all models in turn, and one that finds
    reasons, which take many passes: nobody who only wants an answer waits for them."""

    readers: ThreadPoolExecutor
    computer: ThreadPoolExecutor
    reasoner: ThreadPoolExecutor

    @staticmethod
    def made(readers: int) -> "Pools":
        """With so many readers."""
        return Pools(ThreadPoolExecutor(readers, "read"), ThreadPoolExecutor(1, "compute"),
                     ThreadPoolExecutor(1, "reason"))  # fmt: skip

    def close(self) -> None:
        """No thread is left."""
        for pool in (self.readers, self.computer, self.reasoner):
            pool.shutdown(cancel_futures=True)


def aside(work: Callable[[], T]) -> T:
    """The result of work that is computed in a thread of its own, which then ends.

    OpenMP keeps a team for every thread that ever computed in parallel, and where all teams together have more threads
    than there are cores each waits asleep: answers would take longer for as long as the server lives (docs/log.md).
    """
    with ThreadPoolExecutor(1, "aside") as once:
        return once.submit(work).result()


@dataclass(eq=False)
class Ticket:
    """A picture that waits: what the net shall see, and who waits for the answer."""

    seen: Any
    answer: asyncio.Future[Any]
    since: float = field(default_factory=time.monotonic)


class Lane:
    """One file's model with its queue. `held` pictures are on their way: being read, waiting, or in the net."""

    def __init__(self, name: str, model: Answerer, limits: Limits, pools: Pools, meters: Meters) -> None:
        """An empty queue."""
        self.name, self.model, self.limits, self.pools, self.meters = name, model, limits, pools, meters
        self.waiting: deque[Ticket] = deque()
        self.arrived = asyncio.Event()
        self.held, self.seconds_each = 0, 0.1
        self.remembered: OrderedDict[str, Any] = OrderedDict()
        self._work: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Answer from now on."""
        self._work = asyncio.get_running_loop().create_task(self._run())

    async def end(self) -> None:
        """Answer what was taken in, then nothing more."""
        while self.held:
            await asyncio.sleep(0.02)
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    @contextmanager
    def admitted(self, n: int) -> Iterator[None]:
        """Room for n pictures while the block lasts. Raises Refused: 413 for more than ever fit, 429 for now."""
        if n > self.limits.queue:
            raise Refused(413, f"{n:,} pictures in a request: at most {self.limits.queue:,} are taken")
        if self.held + n > self.limits.queue:
            self.meters.sent_away.labels(self.name).inc(n)
            wait = min(60, max(1, math.ceil(self.held * self.seconds_each)))
            raise Refused(429, f"model {self.name} has {self.held:,} pictures to answer: come again", retry_after=wait)
        self.held += n
        self.meters.waiting.labels(self.name).inc(n)
        try:
            yield
        finally:
            self.held -= n
            self.meters.waiting.labels(self.name).dec(n)
            self.arrived.set()  # a batch that waited for these pictures waits in vain

    async def answers(self, sources: Sequence[Any]) -> list[Any]:
        """For each source an answer, or the BadPicture that it is. Raises Refused where there is no room."""
        with self.admitted(len(sources)):
            loop = asyncio.get_running_loop()
            seen = await asyncio.gather(
                *(loop.run_in_executor(self.pools.readers, self._read, source) for source in sources)
            )
            tickets = [s if isinstance(s, BadPicture) else Ticket(s, loop.create_future()) for s in seen]
            good = [t for t in tickets if isinstance(t, Ticket)]
            self.waiting.extend(good)  # all at once: a request that fits is one batch, as `predict` makes it
            self.arrived.set()
            self.meters.pictures.labels(self.name, "unreadable").inc(len(tickets) - len(good))
            answers = iter(await asyncio.gather(*(t.answer for t in good)))
            return [t if isinstance(t, BadPicture) else next(answers) for t in tickets]

    async def explained(self, sources: Sequence[Any], wish: Wish) -> list[dict[str, Any]]:
        """The reasons for each picture. Raises Refused, BadPicture."""
        with self.admitted(len(sources)):
            return await self._attended(lambda: self.model.explain(sources, wish))

    async def of_stack(self, work: Callable[[Stack], T]) -> T:
        """What the net taken apart says, of a model that `check_units` let pass. Raises Refused: there is no room."""
        with self.admitted(1):
            return await self._attended(lambda: work(self.model.stack))

    async def remember(self, picture: bytes) -> str:
        """The name of a picture (its SHA-256), by which `recalled` gives what the net sees of it.

        Raises Refused where there is no room, BadPicture.
        """
        with self.admitted(1):
            read = asyncio.get_running_loop().run_in_executor
            name = await read(self.pools.readers, lambda: hashlib.sha256(picture).hexdigest())
            if name not in self.remembered:
                self.remembered[name] = await read(self.pools.readers, self.model.read, picture)
            self.remembered.move_to_end(name)
            while len(self.remembered) > REMEMBERED:
                self.remembered.popitem(last=False)
            return name

    def recalled(self, name: str) -> Any:
        """What the net sees of a picture. Raises Refused (410) for one that is not remembered."""
        if name not in self.remembered:
            raise Refused(410, "this picture is not in memory any more: send it again")
        self.remembered.move_to_end(name)
        return self.remembered[name]

    def _read(self, source: Any) -> Any:
        try:
            return self.model.read(source)
        except BadPicture as e:
            return e

    async def _compute(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pools.computer, work)

    async def _attended(self, work: Callable[[], T]) -> T:
        """The result of long work beside all answers: it ends early where nobody waits for it any more."""
        gone = threading.Event()

        def watched() -> T:
            with self.model.given_up(gone):
                return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self.pools.reasoner, aside, watched)
        finally:
            gone.set()

    async def _run(self) -> None:
        """Answer batch after batch, for ever."""
        while True:
            await self._gathered()
            batch = [self.waiting.popleft() for _ in range(min(self.limits.batch_size, len(self.waiting)))]
            batch = [t for t in batch if not t.answer.done()]  # nobody waits for the others any more
            if batch:
                await self._through(batch)

    async def _gathered(self) -> None:
        """Wait until a batch is worth its while: it is full, all that is on its way is here, or the time is over."""
        while not self.waiting:
            self.arrived.clear()
            await self.arrived.wait()
        until = self.waiting[0].since + self.limits.batch_wait_ms / 1000
        while len(self.waiting) < min(self.limits.batch_size, self.held):
            self.arrived.clear()
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    await self.arrived.wait()
            except TimeoutError:
                return

    async def _through(self, batch: list[Ticket]) -> None:
        began = time.monotonic()
        try:
            answers: list[Any] = await self._compute(lambda: self.model.answer([t.seen for t in batch]))
        except Exception as e:  # a net that fails must not end the server
            for t in batch:
                if not t.answer.done():
                    t.answer.set_exception(e)
            return
        seconds = time.monotonic() - began
        self.seconds_each += 0.2 * (seconds / len(batch) - self.seconds_each)
        self.meters.batch.labels(self.name).observe(len(batch))
        self.meters.batch_seconds.labels(self.name).observe(seconds)
        self.meters.pictures.labels(self.name, "answered").inc(len(batch))
        for t, answer in zip(batch, answers, strict=True):
            if not t.answer.done():
                t.answer.set_result(answer)
