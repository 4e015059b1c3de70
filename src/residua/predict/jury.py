"""One model or several on the pictures of a data set: what each says, and what they say together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from residua.engine import Engine
from residua.errors import DataError
from residua.evaluate import Answers, Evaluation, answers, counted, ensemble, together
from residua.evaluate.looks import check_scales, seen
from residua.evaluate.views import Views, shows_mirrors, views
from residua.pair import Pair


@dataclass(frozen=True, eq=False)
class Juror:
    """A model with its pictures, and how it looks at them."""

    task: Pair
    engine: Engine
    views: Views

    def answers(self, batch_size: int, passed: Callable[[int], None] = lambda n: None) -> Iterator[Answers]:
        """What it says of every picture; `passed` is told how many are done."""
        task, how = self.task, self.views
        net = self.engine.place(task.net)
        if how.scales:
            shown: Iterator[Any] = seen(task.splits, how.view, how.scales, batch_size)
        else:
            shown = task.batches(batch_size, self.engine.workers, how.view)
        for found in answers(net, shown, len(task.classes), self.engine, task.header.temperature, how.look):
            yield found
            passed(len(found.index))

    def alone(self, batch_size: int, passed: Callable[[int], None] = lambda n: None) -> Evaluation:
        """The evaluation of this model alone, in constant memory."""
        return counted(self.answers(batch_size, passed), self.task.classes, self.task.header.temperature)


def juror(task: Pair, engine: Engine, word: str = "one", scales: Sequence[int] = ()) -> Juror:
    """A model that looks as a word of ``--views`` says. Raises UsageError for a net that cannot."""
    recipe = task.header.recipe
    if word == "multi-scale":
        check_scales(task.net, task.header.row.name)
    return Juror(task, engine, views(word, task.view, scales, shows_mirrors(recipe and recipe.get("augment"))))


def verdict(
    jurors: Sequence[Juror], batch_size: int, passed: Callable[[int], None] = lambda n: None
) -> tuple[Evaluation, tuple[Evaluation, ...]]:
    """What the models say together, with the mean of their probabilities, and the evaluation of each.

    Classes are matched by name. Raises DataError where they differ or the models see other pictures.
    """
    first = jurors[0].task
    for j in jurors[1:]:
        check_same(first, j.task)
    if len(jurors) == 1:
        return jurors[0].alone(batch_size, passed), ()
    said = [together(j.answers(batch_size, passed), places(first.classes, j.task.classes)) for j in jurors]
    alone = (counted([a], first.classes, j.task.header.temperature) for a, j in zip(said, jurors, strict=True))
    return ensemble(said, first.classes), tuple(alone)


def check_same(first: Pair, other: Pair) -> None:
    """Raise DataError unless both have the same classes and pictures."""
    same_classes(first.classes, other.classes)
    if first.names != other.names:
        raise DataError("the models divide these data differently (their seeds differ): give --seed, or --split all")


def same_classes(first: Sequence[str], other: Sequence[str]) -> None:
    """Raise DataError that names a class which only one of two models has."""
    for one, two in ((first, other), (other, first)):
        if missing := [c for c in one if c not in two]:
            raise DataError(
                f"class '{missing[0]}' is known to one model of the ensemble only: take models with the same classes"
            )


def places(wanted: Sequence[str], have: Sequence[str]) -> list[int]:
    """Where each wanted class stands among those that a model has."""
    position = {name: i for i, name in enumerate(have)}
    return [position[name] for name in wanted]
