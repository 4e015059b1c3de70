"""An evaluation as tables: one row a class, one row an image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from residua.evaluate.counts import Evaluation
from residua.files import cell, write_csv


def per_class_csv(evaluation: Evaluation, path: str | Path) -> None:
    """Write one row a class: class, n, wrong, precision, recall, f1. Names are safe (`cell`). Raises DataError."""
    rows = ((cell(c.name), c.n, c.wrong, c.precision, c.recall, c.f1) for c in evaluation.per_class)
    write_csv(path, ("class", "n", "wrong", "precision", "recall", "f1"), rows)


def predictions_csv(evaluation: Evaluation, names: Sequence[str], path: str | Path) -> None:
    """Write one row an image: path, truth, prediction, correct (0 or 1), loss, class_1, probability_1, class_2, ...

    `names` are those of the whole split. The up to five classes come best first; the probability of the true class is
    ``exp(-loss)``. Names are safe (`cell`). Raises DataError.
    """
    e = evaluation
    words = [cell(c) for c in e.classes]
    ranked = [f"{word}_{rank}" for rank in range(1, e.top5.shape[1] + 1) for word in ("class", "probability")]

    def rows() -> Iterator[list[Any]]:
        numbers = (e.index, e.labels, e.top5, e.top5_probability, e.losses)
        for i, label, best, probability, loss in zip(*(a.tolist() for a in numbers), strict=True):
            pairs = zip(best, probability, strict=True)
            ranked = [v for c, p in pairs for v in (words[c], f"{p:.6g}")]
            yield [cell(names[i]), words[label], words[best[0]], int(label == best[0]), f"{loss:.6g}", *ranked]

    write_csv(path, ("path", "truth", "prediction", "correct", "loss", *ranked), rows())
