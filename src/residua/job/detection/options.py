"""What the training of a detector is asked to do: options as a value, kept in a run's config.toml. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from residua.boxes.words import check_words
from residua.detect.recipes import RECIPES
from residua.detect.row import FORMS, NORMS
from residua.errors import DataError, UsageError
from residua.nn.zoo import find
from residua.training import recipe as recipes
from residua.training.recipe import Recipe
from residua.words import unknown

#: What does not belong to the training itself, and what may differ on resuming without a word.
OUTSIDE = ("out", "resume", "accept_changes")
FREE = ("threads", "workers", "save_every", "cache_size")
#: What a begun training cannot change at all.
FIXED = ("arch", "form", "norm", "size", "anchors", "weights", "image_size", "seed")
#: Fields of a recipe that say nothing to a detector, at their usual values.
OTHERS: Mapping[str, Any] = {
    "augment": (), "balance": "none", "best_by": "error", "head_epochs": 0.0, "label_smoothing": 0.0,
    "loss": "cross-entropy", "drop_depth": 0.0, "zero_init": False, "zero_init_from_layers": None,
    "warmup_until_error": None,
}  # fmt: skip
SIZES, ANCHORS = ("auto", "small", "large"), ("auto", "fit")


@dataclass(frozen=True, kw_only=True)
class DetectOptions:
    """The training of one detector. `out` is the run folder (default: ``runs/<data>-<net>-<n>``).

    `form`: "fpn" or "c4"; `norm`: "auto" is frozen with trained weights and batch without; `size`: numbers for small
    or large pictures; `anchors`: "fit" fits them to the boxes of train. `augment` are words of ``boxes.words``.
    `image_size` is the short side that the net sees.
    """

    data: str
    arch: str = "auto"
    form: str = "fpn"
    norm: str = "auto"
    size: str = "auto"
    anchors: str = "auto"
    recipe: Recipe = RECIPES["quick"]
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

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read. Raises UsageError."""
        if self.arch != "auto":
            find(self.arch)
        words = {"form": FORMS, "norm": ("auto", *NORMS), "size": SIZES, "anchors": ANCHORS}
        for field, known in words.items():
            if getattr(self, field) not in known:
                raise unknown(field, getattr(self, field), known)
        if self.image_size is not None and not 32 <= self.image_size <= 4096:
            raise UsageError(f"--image-size {self.image_size}: give 32 to 4096 pixels")
        if self.limit is not None and self.limit < 2:
            raise UsageError(f"--limit {self.limit}: give at least 2")
        check_words(w for w in self.augment if w != "auto")
        if not self.save_every >= 0:
            raise UsageError(f"--save-every {self.save_every}: give 0 or more seconds")
        for field, usual in OTHERS.items():
            if (value := getattr(self.recipe, field)) != usual:
                raise UsageError(f"recipe {self.recipe.name}: {field}={value} is for classification: leave it out")
        if self.recipe.schedule == "plateau":
            raise UsageError(f"recipe {self.recipe.name}: schedule=plateau is for classification: try cosine or step")


def to_config(options: DetectOptions) -> dict[str, Any]:
    """The options as config.toml holds them: words and numbers, the recipe as a table."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(options).items() if k not in OUTSIDE}
    return {"task": "detection"} | values | {"recipe": recipes.to_json(options.recipe)}


def resumed(run: str | Path) -> DetectOptions:
    """The options to go on with a run folder. Raises DataError if it is none of a detector."""
    from residua.training.run import read_config

    values = read_config(run)
    if values.pop("task", "classification") != "detection":
        raise DataError(f"{run} trains no detector: go on with it by `residua train --resume {run}`")
    known = [f.name for f in fields(DetectOptions)]
    if extra := sorted(values.keys() - set(known)):
        raise DataError(f"{run}/config.toml cannot be used: unknown option '{extra[0]}'")
    rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "recipe"}
    try:
        made = DetectOptions(**rest, recipe=recipes.from_json(values.get("recipe", {})))
    except (TypeError, UsageError) as e:
        raise DataError(f"{run}/config.toml cannot be used: {e}") from e
    return replace(made, resume=str(run))


def changes(begun: DetectOptions, now: DetectOptions) -> dict[str, tuple[Any, Any]]:
    """The options that differ, as name -> (begun with, now), if they may. Raises UsageError with them shown."""
    before, after = flat(begun), flat(now)
    changed = {k: (before[k], after[k]) for k in before if k not in FREE and before[k] != after[k]}
    shown = ", ".join(f"{k} {a} -> {b}" for k, (a, b) in changed.items())
    if fixed := [k for k in changed if k in FIXED]:
        raise UsageError(f"{now.resume}: {', '.join(fixed)} cannot change on resuming ({shown}): start a new run")
    if changed and not now.accept_changes:
        raise UsageError(f"{now.resume} was begun otherwise: {shown}; leave that out, or say --accept-changes")
    return changed


def flat(options: DetectOptions) -> dict[str, Any]:
    """Options and recipe fields by name, in one."""
    config = to_config(options)
    own: dict[str, Any] = {k: v for k, v in config.items() if k not in ("recipe", "task")}
    return own | dict(config["recipe"])
