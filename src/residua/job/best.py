"""Which epoch is kept, and when no better one is to be hoped for."""

import math
from dataclasses import dataclass
from typing import Protocol

from residua.evaluate import Evaluation
from residua.training.recipe import Recipe


@dataclass(frozen=True)
class Best:
    """The epoch to keep so far: the one with the lowest `score`. Without held-out images: the last."""

    epoch: int
    n: int = 0
    wrong: int = 0
    top1_error: float = math.nan
    loss: float = math.nan
    score: float | None = None


def candidate(epoch: int, found: Evaluation, by: str) -> Best:
    """An epoch by its held-out images and the recipe's `best_by`."""
    return Best(epoch, found.n, found.wrong, found.top1_error, found.loss, score(found, by))


def score(found: Evaluation, by: str) -> float:
    """What is to be low: the error, the loss, or what the classes' mean F1 or mean recall lack to 1."""
    classes = [c for c in found.per_class if c.n]
    match by:
        case "loss":
            return found.loss
        case "macro-f1":
            return 1 - sum(c.f1 for c in classes) / len(classes)
        case "balanced-accuracy":
            return 1 - sum(c.recall for c in classes) / len(classes)
        case _:
            return found.top1_error


def better(found: Best, best: Best | None) -> bool:
    """Whether to keep what was found: a lower score, then a lower loss, then the later epoch. NaN never wins."""
    if not math.isfinite(found.loss):
        return False
    return best is None or (_score(found), found.loss) <= (_score(best), best.loss)


def _score(best: Best) -> float:
    return best.top1_error if best.score is None else best.score


class Chosen(Protocol):
    """An epoch that is kept, of a classifier or a detector: which, and by how many held-out images."""

    @property
    def epoch(self) -> int:
        """Its number, from 1."""

    @property
    def n(self) -> int:
        """How many images chose it; 0 where none are held out."""


def hopeless(recipe: Recipe, best: Chosen | None, epochs: int) -> bool:
    """Whether so many epochs brought nothing better that the recipe ends the training."""
    patience = recipe.early_stop_epochs
    return patience is not None and best is not None and best.n > 0 and epochs - best.epoch >= patience
