"""Which labels are likely wrong: confident learning on predictions for images that the net was not trained on.

Source: Northcutt et al. 2021, "Confident Learning", arXiv:1911.00068. Predictions must be out of fold (of a
cross-validation) or of held-out images: of its training images a net repeats the wrong labels.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from residua.errors import DataError
from residua.files import FORMULA, cell, write_csv

Row = Mapping[str, Any]  # of predictions.csv

COLUMNS = ("path", "truth", "likely", "probability_truth", "probability_likely", "margin")


@dataclass(frozen=True)
class Suspect:
    """An image whose label `truth` is likely wrong and `likely` right, with their probabilities."""

    path: str
    truth: str
    likely: str
    probability_truth: float
    probability_likely: float

    @property
    def margin(self) -> float:
        """The normalised margin, p(truth) - p(likely): the lower, the more suspect."""
        return self.probability_truth - self.probability_likely


def suspects(rows: Iterable[Row], classes: Sequence[str] | None = None) -> list[Suspect]:
    """The images of a table of predictions whose labels are likely wrong, the most suspect first.

    A class's threshold is the mean probability of it over the images labelled so (eq. 2). An image is suspect if the
    most probable class that reaches its own threshold is not the label: the off-diagonal of the confident joint
    (eq. 1). They are ranked by normalised margin. `p(truth)` is ``exp(-loss)``, the other classes are those that the
    rows name: all if there are at most five. `classes` are those to expect (default: those that are true somewhere).
    Raises DataError for rows without the columns of predictions.csv, or of other classes.
    """
    table = [_read(row) for row in rows]
    known = {truth for _, truth, _, _ in table} if classes is None else set(classes)
    for path, truth, _, _ in table:
        if truth not in known:
            raise DataError(f"class '{truth}' of {path} is none of the {len(known)} classes of these predictions")
    own: dict[str, list[float]] = {}
    for _, truth, p, _ in table:
        own.setdefault(truth, []).append(p)
    threshold = {c: float(np.mean(v)) for c, v in own.items()}
    found = []
    for path, truth, p, named in table:
        sure = [(q, c) for c, q in {**named, truth: p}.items() if c in threshold and q >= threshold[c]]
        if sure and (best := max(sure, key=lambda s: s[0]))[1] != truth and best[0] > p:
            found.append(Suspect(path, truth, best[1], p, best[0]))
    return sorted(found, key=lambda s: (s.margin, s.path))


def read_predictions(*paths: str | Path) -> list[dict[str, str]]:
    """The rows of one or more predictions.csv, in order. Raises DataError for a file that is none."""
    rows: list[dict[str, str]] = []
    for path in paths:
        try:
            with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
                found = list(csv.DictReader(file))
        except (OSError, csv.Error) as e:
            raise DataError(f"cannot read {path}: {getattr(e, 'strerror', None) or e}") from e
        if found and not {"path", "truth", "loss", "class_1", "probability_1"} <= found[0].keys():
            raise DataError(f"{path} is no table of predictions: give a predictions.csv that train or eval wrote")
        rows += [{k: _plain(v or "") for k, v in row.items() if k is not None} for row in found]
    return rows


def label_errors_csv(found: Iterable[Suspect], path: str | Path) -> None:
    """Write one row a suspect: path, truth, likely, their probabilities, margin. Names are safe. Raises DataError."""
    write_csv(
        path,
        COLUMNS,
        (
            [cell(s.path), cell(s.truth), cell(s.likely)]
            + [f"{v:.6g}" for v in (s.probability_truth, s.probability_likely, s.margin)]
            for s in found
        ),
    )


def _plain(text: str) -> str:
    """A cell as it was before `files.cell`."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


def _read(row: Row) -> tuple[str, str, float, dict[str, float]]:
    """(path, truth, probability of the truth, probability of each class that is named). Raises DataError."""
    try:
        loss = float(row["loss"])
        p = math.exp(-loss) if math.isfinite(loss) else 0.0
        ranks = [k.removeprefix("class_") for k in row if k.startswith("class_")]
        named = {str(row[f"class_{r}"]): float(row[f"probability_{r}"]) for r in ranks if row[f"class_{r}"] != ""}
        return str(row["path"]), str(row["truth"]), p, named
    except (KeyError, TypeError, ValueError) as e:
        raise DataError(f"a row is none of predictions.csv ({e}): give the table that train or eval wrote") from e
