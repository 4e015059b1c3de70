"""Ctrl-C and SIGTERM as a wish that is heard between two steps, so that everything is saved."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

from residua.errors import Interrupted

Some = TypeVar("Some")  # a batch


class Stopped(Exception):
    """Leave an evaluation: the user has asked to stop."""


@dataclass
class Stop:
    """Whether the user has asked to stop. Before there is anything to save (`at_once`), a signal ends it there."""

    asked: bool = False
    at_once: bool = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT and SIGTERM; a second one does not wait."""
        if self.at_once:
            raise Interrupted("interrupted before training began: nothing was written that matters")
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def between(self, batches: Iterable[Some]) -> Iterator[Some]:
        """The batches, until the user asks to stop."""
        for batch in batches:
            if self.asked:
                raise Stopped
            yield batch


@contextmanager
def signals() -> Iterator[Stop]:
    """SIGINT and SIGTERM ask to stop, within; only the main thread can say so.

    A wish that came too late to be heard within is passed on, where this is within another such block.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
            if isinstance(handler, Stop):
                handler.asked |= stop.asked
