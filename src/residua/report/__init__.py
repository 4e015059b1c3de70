"""Pictures and pages of a run, drawn from its folder alone: no model, no data, no network."""

from pathlib import Path

from residua.report.confusion import confusion
from residua.report.curves import curves
from residua.report.page import page

__all__ = ["confusion", "curves", "draw", "page"]


def draw(run: Path) -> Path:
    """Draw ``curves.png``, ``confusion.png`` and ``report.html`` in the run folder; return the page's path.

    Raises DataError if `run` is no run folder or cannot be written.
    """
    curves(run, run / "curves.png")
    confusion(run, run / "confusion.png")
    return page(run)
