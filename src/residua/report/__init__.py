"""Pictures and pages of a run, drawn from its folder alone: no model, no data, no network."""

from pathlib import Path

from residua.report.confusion import confusion
from residua.report.curves import curves
from residua.report.data_page import data_page
from residua.report.finder import finder
from residua.report.label_errors import label_errors
from residua.report.page import page
from residua.report.reliability import reliability
from residua.report.watched import watched

__all__ = ["confusion", "curves", "data_page", "draw", "finder", "label_errors", "page", "reliability", "watched"]


def draw(run: Path) -> Path:
    """Draw ``curves.png``, ``confusion.png``, the pictures that the run folder has data for, and ``report.html``.

    Return the page's path. Raises DataError if `run` is no run folder or cannot be written.
    """
    curves(run, run / "curves.png")
    confusion(run, run / "confusion.png")
    watched(run, run / "units.png")
    finder(run, run / "lr_finder.png")
    reliability(run, run / "reliability.png")
    return page(run)
