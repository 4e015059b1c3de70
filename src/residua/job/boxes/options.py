"""What a training on boxes is asked to do, whatever it trains: options as a value, kept in config.toml. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from residua.boxes.words import check_words
from residua.errors import DataError, UsageError
from residua.nn.zoo import find
from residua.training import recipe as recipes
from residua.training.recipe import Recipe

#: What does not belong to the training itself, and what may differ on resuming without a word.
OUTSIDE = ("out", "resume", "accept_changes")
FREE = ("threads", "workers", "save_every", "cache_size")
#: What a begun training cannot change at all.
FIXED = ("arch", "weights", "image_size", "seed")
#: Fields of a recipe that say nothing to boxes, at their usual values.
OTHERS: Mapping[str, Any] = {
    "augment": (), "balance": "none", "best_by": "error", "head_epochs": 0.0, "drop_depth": 0.0, "zero_init": False,
    "warmup_until_error": None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BoxOptions:
    """A training on boxes. `out` is the run folder (default: ``runs/<data>-<net>-<n>``).

    `augment` are words of ``boxes.words``. `image_size` is the short side that the net sees.
    """

    data: str
    arch: str = "auto"
    recipe: Recipe
    augment: tuple[str, ...] = ("auto",)
    seed: int = 0
    out: str | None = None
    weights: str | None = None
    image_size: int | None = None
    limit: int | None = None
    device: str = "auto"
    precision: str = "auto"
    memory_format: str = "auto"
    threads: int | None = None
    workers: int | None = None
    cache_size: int | None = None
    save_every: float = 30.0
    resume: str | None = None
    accept_changes: bool = False

    #: What is trained, in words and as a command; which of its options are fixed; what its recipes leave as they are.
    task: ClassVar[str]
    what: ClassVar[str]
    verb: ClassVar[str]
    fixed: ClassVar[tuple[str, ...]] = FIXED
    others: ClassVar[Mapping[str, Any]] = OTHERS

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read. Raises UsageError."""
        if self.arch != "auto":
            find(self.arch)
        if self.image_size is not None and not 32 <= self.image_size <= 4096:
            raise UsageError(f"--image-size {self.image_size}: give 32 to 4096 pixels")
        if self.limit is not None and self.limit < 2:
            raise UsageError(f"--limit {self.limit}: give at least 2")
        check_words(w for w in self.augment if w != "auto")
        if not self.save_every >= 0:
            raise UsageError(f"--save-every {self.save_every}: give 0 or more seconds")
        for field, usual in self.others.items():
            if (value := getattr(self.recipe, field)) != usual:
                raise UsageError(f"recipe {self.recipe.name}: {field}={value} is for classification: leave it out")
        if self.recipe.schedule == "plateau":
            raise UsageError(f"recipe {self.recipe.name}: schedule=plateau is for classification: try cosine or step")


Some = TypeVar("Some", bound=BoxOptions)


def to_config(options: BoxOptions) -> dict[str, Any]:
    """The options as config.toml holds them: words and numbers, the recipe as a table."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(options).items() if k not in OUTSIDE}
    return {"task": options.task} | values | {"recipe": recipes.to_json(options.recipe)}


def resumed(run: str | Path, kind: type[Some]) -> Some:
    """The options to go on with a run folder. Raises DataError if it is none of this kind."""
    from residua.nn.modelfile import VERBS
    from residua.training.run import read_config

    values = read_config(run)
    if (task := values.pop("task", "classification")) != kind.task:
        verb = f"{VERBS[task]} " if task in VERBS else ""
        raise DataError(f"{run} trains no {kind.what}: go on with it by `residua {verb}train --resume {run}`")
    known = [f.name for f in fields(kind)]
    if extra := sorted(values.keys() - set(known)):
        raise DataError(f"{run}/config.toml cannot be used: unknown option '{extra[0]}'")
    rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "recipe"}
    try:
        made = kind(**rest, recipe=recipes.from_json(values.get("recipe", {})))
    except (TypeError, UsageError) as e:
        raise DataError(f"{run}/config.toml cannot be used: {e}") from e
    return replace(made, resume=str(run))


def changes(begun: Some, now: Some) -> dict[str, tuple[Any, Any]]:
    """The options that differ, as name -> (begun with, now), if they may. Raises UsageError with them shown."""
    before, after = flat(begun), flat(now)
    changed = {k: (before[k], after[k]) for k in before if k not in FREE and before[k] != after[k]}
    shown = ", ".join(f"{k} {a} -> {b}" for k, (a, b) in changed.items())
    if fixed := [k for k in changed if k in now.fixed]:
        raise UsageError(f"{now.resume}: {', '.join(fixed)} cannot change on resuming ({shown}): start a new run")
    if changed and not now.accept_changes:
        raise UsageError(f"{now.resume} was begun otherwise: {shown}; leave that out, or say --accept-changes")
    return changed


def flat(options: BoxOptions) -> dict[str, Any]:
    """Options and recipe fields by name, in one."""
    config = to_config(options)
    own: dict[str, Any] = {k: v for k, v in config.items() if k not in ("recipe", "task")}
    return own | dict(config["recipe"])
