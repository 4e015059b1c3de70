"""Pictures and pages of a run, drawn from its folder alone: no model, no data, no network."""

from pathlib import Path

from residua.report.confusion import confusion
from residua.report.curves import curves
from residua.report.finder import finder
from residua.report.page import page
from residua.report.watched import watched

__all__ = ["confusion", "curves", "draw", "finder", "page", "watched"]


def draw(run: Path) -> Path:
    """Draw the run folder's pictures and ``report.html``: ``curves.png``, ``confusion.png``, ``units.png`` of watched
    units, ``lr_finder.png`` where rates were tried.

    Return the page's path. Raises DataError if `run` is no run folder or cannot be written.
    """
    curves(run, run / "curves.png")
    confusion(run, run / "confusion.png")
    watched(run, run / "units.png")
    finder(run, run / "lr_finder.png")
    return page(run)
