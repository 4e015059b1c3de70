"""Pictures and pages of a run, drawn from its folder alone: no model, no data, no network."""

from pathlib import Path

from residua.report.confusion import confusion
from residua.report.curves import curves
from residua.report.page import page
from residua.report.watched import watched

__all__ = ["confusion", "curves", "draw", "page", "watched"]


def draw(run: Path) -> Path:
    """Draw ``curves.png``, ``confusion.png``, ``units.png`` (of watched units) and ``report.html`` in the run folder.

    Return the page's path. Raises DataError if `run` is no run folder or cannot be written.
    """
    curves(run, run / "curves.png")
    confusion(run, run / "confusion.png")
    watched(run, run / "units.png")
    return page(run)
