"""What the training of a detector is asked to do: options as a value, kept in a run's config.toml. No torch."""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from residua.detect.recipes import RECIPES
from residua.detect.row import FORMS, NORMS
from residua.job.boxes.options import FIXED, OTHERS, BoxOptions
from residua.job.boxes.options import resumed as resumed_as
from residua.training.recipe import Recipe
from residua.words import unknown

SIZES, ANCHORS = ("auto", "small", "large"), ("auto", "fit")


@dataclass(frozen=True, kw_only=True)
class DetectOptions(BoxOptions):
    """The training of one detector.

    `form`: "fpn" or "c4"; `norm`: "auto" is frozen with trained weights and batch without; `size`: numbers for small
    or large pictures; `anchors`: "fit" fits them to the boxes of train.
    """

    form: str = "fpn"
    norm: str = "auto"
    size: str = "auto"
    anchors: str = "auto"
    recipe: Recipe = RECIPES["quick"]

    task, what, verb = "detection", "detector", "detect"
    fixed = (*FIXED, "form", "norm", "size", "anchors")
    others = MappingProxyType(
        {**OTHERS, "label_smoothing": 0.0, "loss": "cross-entropy", "zero_init_from_layers": None}
    )

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read. Raises UsageError."""
        super().__post_init__()
        words = {"form": FORMS, "norm": ("auto", *NORMS), "size": SIZES, "anchors": ANCHORS}
        for field, known in words.items():
            if getattr(self, field) not in known:
                raise unknown(field, getattr(self, field), known)


def resumed(run: str | Path) -> DetectOptions:
    """The options to go on with a run folder. Raises DataError if it is none of a detector."""
    return resumed_as(run, DetectOptions)
