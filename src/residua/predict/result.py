"""What a model says of a picture, or why it says nothing."""

from dataclasses import dataclass
from typing import TypeAlias

from residua.data.names import shown


@dataclass(frozen=True)
class Prediction:
    """The classes that a model sees on one picture, best first, with their probabilities."""

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[0]

    @property
    def probability(self) -> float:
        """The probability of `label`."""
        return self.probabilities[0]

    def __str__(self) -> str:
        """One line: path, class, percent."""
        return f"{shown(self.path)}: {shown(self.label)} {100 * self.probability:.1f} %"


@dataclass(frozen=True)
class Failure:
    """A picture that could not be read, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        """One line: path and reason."""
        return f"{shown(self.path)}: {self.reason}"


Result: TypeAlias = Prediction | Failure
