"""Models as files that other programs run, compared before they get their names. Floor 3: of models of every task."""

from residua.export.exported import Exported
from residua.export.parity import Accuracy, Parity, Row
from residua.export.session import Done, Options, export, opened, verify

__all__ = ["Accuracy", "Done", "Exported", "Options", "Parity", "Row", "export", "opened", "verify"]
