"""Pictures and pages of runs, drawn from their folders alone: no model, no data, no network."""

from pathlib import Path

from residua.report.card import write_card
from residua.report.compare import check_out, compare, compare_page
from residua.report.confusion import confusion
from residua.report.curves import curves
from residua.report.data_page import data_page
from residua.report.detection import detection_page
from residua.report.detection_card import write_detection_card
from residua.report.files import read
from residua.report.finder import finder
from residua.report.folds import folds_page
from residua.report.label_errors import label_errors
from residua.report.localization import localization_page
from residua.report.localization_card import write_localization_card
from residua.report.page import page
from residua.report.reliability import reliability
from residua.report.watched import watched

__all__ = [
    "check_out",
    "compare",
    "compare_page",
    "confusion",
    "curves",
    "data_page",
    "draw",
    "finder",
    "folds_page",
    "label_errors",
    "page",
    "reliability",
    "watched",
    "write_card",
]


def draw(run: Path) -> Path:
    """Draw ``curves.png``, ``confusion.png``, the pictures that the run folder has data for, ``model_card.md`` and
    ``report.html``; of a cross-validation its ``report.html`` alone.

    Return the page's path. Raises DataError if `run` is no run folder or cannot be written.
    """
    if (run / "folds.json").is_file():
        return folds_page(run)
    files = read(run)
    if files.task == "detection":
        write_detection_card(files)
        return detection_page(files)
    if files.task == "localization":
        write_localization_card(files)
        return localization_page(files)
    curves(run, run / "curves.png")
    confusion(run, run / "confusion.png")
    watched(run, run / "units.png")
    finder(run, run / "lr_finder.png")
    reliability(run, run / "reliability.png")
    write_card(read(run))
    return page(run)
