"""How good a net is, with counts: the one path that training, `eval` and every report share. Floor 1."""

from residua.evaluate.calibration import Calibration, Fitted, calibration, fit_temperature
from residua.evaluate.counting import (
    Answers,
    Averaged,
    answers,
    check_labels,
    counted,
    ensemble,
    evaluate,
    evaluating,
    logits_of,
    summary,
    tempered,
    together,
)
from residua.evaluate.counts import Z95, ClassResult, Evaluation, class_results, evaluation, wilson
from residua.evaluate.intervals import Intervals, in_groups, intervals
from residua.evaluate.means import Means, means
from residua.evaluate.sparing import Sparing
from residua.evaluate.tables import per_class_csv, predictions_csv

__all__ = [
    "Z95",
    "Answers",
    "Averaged",
    "Calibration",
    "ClassResult",
    "Evaluation",
    "Fitted",
    "Intervals",
    "Means",
    "Sparing",
    "answers",
    "calibration",
    "check_labels",
    "class_results",
    "counted",
    "ensemble",
    "evaluate",
    "evaluating",
    "evaluation",
    "fit_temperature",
    "in_groups",
    "intervals",
    "logits_of",
    "means",
    "per_class_csv",
    "predictions_csv",
    "summary",
    "tempered",
    "together",
    "wilson",
]  # fmt: skip
