"""The classes of an evaluation as a table."""

from pathlib import Path

from residua.detect.counts import BoxEvaluation
from residua.files import write_csv


def per_class_csv(path: Path, of: BoxEvaluation) -> None:
    """A row a class: its boxes and its average precisions."""
    columns = ("class", "boxes", "ap", "ap50", "voc07", "voc12")
    write_csv(path, columns, ((c.name, c.boxes, c.ap, c.ap50, c.voc07, c.voc12) for c in of.classes))
