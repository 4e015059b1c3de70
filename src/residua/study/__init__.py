"""Many trainings side by side that answer one question: does depth help? Floor 4."""

from collections.abc import Iterator

from residua.study.events import Began, Done, Event, Failed, Finished, Moved, Planned
from residua.study.options import StudyOptions, resumed

__all__ = [
    "Began", "Done", "Event", "Failed", "Finished", "Moved", "Planned", "StudyOptions", "resumed", "study",
]  # fmt: skip


def study(options: StudyOptions) -> Iterator[Event]:
    """Train every cell of a study that is not finished yet, side by side, and say what came out.

    Raises UsageError and DataError for what does not fit, and Interrupted after Ctrl-C or SIGTERM, when every cell is
    saved. A cell that fails does not end the study: it is told as `Failed`.
    """
    from residua.study.runner import run

    return run(options)
