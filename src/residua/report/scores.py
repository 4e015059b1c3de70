"""The test's figures with their 95 % intervals, one a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from residua.report import say
from residua.report.files import RunFiles


@dataclass(frozen=True)
class Score:
    """A figure (a fraction), its interval where there is one, and what it means. `word` is its JSON key."""

    word: str
    name: str
    value: float
    low: float | None
    high: float | None
    means: str

    @property
    def text(self) -> str:
        """The value as it is said: an F1 as a number, the others in percent."""
        return self.write(self.value)

    @property
    def range(self) -> str:
        """The interval in words, or nothing."""
        return "" if self.low is None or self.high is None else f"{self.write(self.low)} to {self.write(self.high)}"

    @property
    def scale(self) -> tuple[float, float]:
        """Where a picture of it begins and ends: the best value is one end, a round one beyond the interval the other."""
        good = self.word in GOOD
        ends = [v for v in (self.value, self.low, self.high) if v is not None]
        far = max(1 - v if good else v for v in ends)
        top = next((t for t in ROUND if t >= 1.1 * far), 1.0)
        return (1 - top, 1.0) if good else (0.0, top)

    def place(self, value: float) -> float:
        """Where a value lies on the scale, in percent of its length."""
        first, last = self.scale
        return 100 * min(1.0, max(0.0, (value - first) / (last - first)))

    def write(self, value: float) -> str:
        """A value of this kind."""
        return f"{value:.3f}" if self.word == "macro_f1" else say.percent(value)


#: Figures that are better the larger they are, and where a scale may end.
GOOD = ("macro_f1", "balanced_accuracy")
ROUND = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

MEANS = {
    "top1_error": "of the test images are wrong",
    "macro_f1": "the mean of the classes' F1: every class counts alike, however rare",
    "balanced_accuracy": "the mean of the classes' recall",
    "ece": "how far what it says and how often it is right lie apart",
}
NAMES = {
    "top1_error": "test error",
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "ece": "calibration error",
}


def scores(files: RunFiles) -> list[Score]:
    """Test error, macro F1, balanced accuracy and calibration error, as far as evaluation.json has them."""
    e = files.evaluation
    macro, calibration, intervals = (_mapping(e.get(k)) for k in ("macro", "calibration", "intervals"))
    found = {
        "top1_error": (e.get("top1_error"), e.get("interval")),
        "macro_f1": (macro.get("f1"), intervals.get("macro_f1")),
        "balanced_accuracy": (e.get("balanced_accuracy"), intervals.get("balanced_accuracy")),
        "ece": (calibration.get("ece"), intervals.get("ece")),
    }
    made = []
    for word, (value, bounds) in found.items():
        number = say.number(value)
        if number is not None:
            made.append(Score(word, NAMES[word], number, *pair(bounds), MEANS[word]))
    return made


def pair(bounds: Any) -> tuple[float | None, float | None]:
    """Two numbers in order, or two Nones."""
    if not isinstance(bounds, list) or len(bounds) != 2:
        return None, None
    low, high = say.number(bounds[0]), say.number(bounds[1])
    return (None, None) if low is None or high is None or low > high else (low, high)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
