"""What one training is asked to do: options as a value, in a run's config.toml, and compared on resuming. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from residua.data.names import check_spec, expression
from residua.errors import DataError, UsageError
from residua.job.course import growths
from residua.nn.zoo import find
from residua.training import recipe as recipes
from residua.training.recipe import FIELDS, RECIPES, Recipe
from residua.words import unknown

#: What does not belong to the training itself, and is not kept in config.toml.
OUTSIDE = ("out", "resume", "accept_changes", "find_lr")
#: What may differ on resuming without a word: where and how fast, not what.
FREE = ("root", "threads", "workers", "save_every", "memory", "cache_size", "watch_units", "track")
#: What a begun training cannot change at all.
FIXED = (
    "arch", "stem", "shortcut", "depths", "weights", "image_size", "fit", "seed", "budget", "grow", "groups", "folds",
    "fold",
)  # fmt: skip
#: Where metrics can go besides the run folder.
TRACKERS = ("tensorboard", "mlflow", "wandb")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """One training. `out` is the run folder (default: ``runs/<data>-<net>-<n>``), `save_every` is in seconds.

    `watch_test` evaluates the test images after every epoch too, to be seen and never to choose by; `watch_gradients`
    logs the norm of each unit's gradient now and then, `watch_units` what each unit does to its input (units.jsonl).
    `budget` is in seconds, from the command's start to the report: it chooses depth and epochs, with `fixed_length`
    the depth alone. `memory` is in bytes, and so is `cache_size`: decoded pictures that are kept for later epochs and
    runs (None: what suits the disk; 0: none). `grow` deepens the net on the way (``0.4:5-5-5``).
    `groups` says which pictures belong together and are never parted: ``folder``, a regular expression on names, or
    ``none``. `folds` trains as many nets, each tested on another part of the data (`study.folds`); `fold`, from 1, is
    one of those trainings. `track` sends metrics to tensorboard, mlflow or wandb too, several with commas between.
    `find_lr` tries learning rates on a net beside (lr_finder.json) and leaves the training as it is.
    `resume` names a run folder to go on with; `accept_changes` lets options differ from those it was begun with.
    """

    data: str = "digits"
    arch: str = "auto"
    recipe: Recipe = RECIPES["quick"]
    seed: int = 0
    out: str | None = None
    weights: str | None = None
    image_size: int | None = None
    fit: str = "crop"
    stem: str = "auto"
    shortcut: str | None = None
    depths: tuple[int, ...] | None = None
    root: str | None = None
    limit: int | None = None
    groups: str | None = None
    folds: int | None = None
    fold: int | None = None
    device: str = "auto"
    precision: str = "auto"
    memory_format: str = "auto"
    compile: str = "auto"
    sync_norm: str = "auto"
    threads: int | None = None
    workers: int | None = None
    save_every: float = 30.0
    budget: float | None = None
    fixed_length: bool = False
    memory: int | None = None
    cache_size: int | None = None
    grow: str | None = None
    find_lr: bool = False
    track: str | None = None
    watch_test: bool = False
    watch_gradients: bool = False
    watch_units: bool = False
    resume: str | None = None
    accept_changes: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read. Raises UsageError or DataError."""
        if self.arch != "auto":
            find(self.arch)
        if self.stem not in ("auto", "3x3", "5x5", "7x7"):
            raise unknown("stem", self.stem, ("auto", "3x3", "5x5", "7x7"))
        if self.fit not in ("crop", "pad", "squash"):
            raise unknown("fit", self.fit, ("crop", "pad", "squash"))
        if self.sync_norm not in ("auto", "on", "off"):
            raise unknown("sync_norm", self.sync_norm, ("auto", "on", "off"))
        if self.image_size is not None and not 1 <= self.image_size <= 4096:
            raise UsageError(f"--image-size {self.image_size}: give 1 to 4096 pixels")
        if self.limit is not None and self.limit < 2:
            raise UsageError(f"--limit {self.limit}: give at least 2")
        if self.groups is not None:
            expression(self.groups)
        self._check_folds()
        if self.cache_size is not None and self.cache_size < 0:
            raise UsageError(f"cache_size {self.cache_size}: give a number of bytes, or 0 for none")
        growths(self.grow)
        tracked(self.track)
        if self.budget is not None and not self.budget > 0:
            raise UsageError(f"--budget {self.budget:g}: give more than nothing")
        if not self.save_every >= 0:
            raise UsageError(f"--save-every {self.save_every}: give 0 or more seconds")
        if self.resume is None:
            check_spec(self.data)

    def _check_folds(self) -> None:
        if self.folds is None:
            return
        if self.folds < 2:
            raise UsageError(f"--folds {self.folds}: give at least 2")
        if self.fold is not None and not 1 <= self.fold <= self.folds:
            raise UsageError(f"fold {self.fold} is none of the {self.folds}")
        for flag, given in (("--budget", self.budget), ("--find-lr", self.find_lr or None)):
            if given is not None:
                raise UsageError(f"{flag} is for a single training: try it without --folds, then give what it says")


def tracked(words: str | None) -> tuple[str, ...]:
    """The trackers that ``--track`` names, each once; none for ``none``. Raises UsageError for another."""
    named = [w.strip() for w in (words or "none").split(",")]
    for word in named:
        if word not in (*TRACKERS, "none"):
            raise unknown("tracker", word, (*TRACKERS, "none"))
    return tuple(dict.fromkeys(w for w in named if w != "none"))


def to_config(options: TrainOptions) -> dict[str, Any]:
    """The options as config.toml holds them: words and numbers, the recipe as a table."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(options).items() if k not in OUTSIDE}
    return values | {"recipe": recipes.to_json(options.recipe)}


def from_config(values: Mapping[str, Any]) -> TrainOptions:
    """The options that `to_config` wrote. Raises UsageError for anything else."""
    known = [f.name for f in fields(TrainOptions)]
    if extra := sorted(values.keys() - set(known)):
        raise unknown("option", extra[0], known)
    rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "recipe"}
    try:
        return TrainOptions(**rest, recipe=recipes.from_json(values.get("recipe", {})), resume="")
    except TypeError as e:
        raise UsageError(f"not the options of a training: {e}") from e


def resumed(run: str | Path, **changes: Any) -> TrainOptions:
    """The options to go on with a run folder: those it was begun with, changed by options or recipe fields by name.

    Raises DataError if `run` is no run folder, UsageError for an unknown name.
    """
    from residua.training.run import read_config

    config = read_config(run)
    if (task := config.pop("task", "classification")) != "classification":
        verb = {"detection": "detect", "localization": "localize"}.get(task, task)
        raise DataError(f"{run} trains no classifier: go on with it by `residua {verb} train --resume {run}`")
    try:
        stored = replace(from_config(config), resume=str(run))
    except UsageError as e:
        raise DataError(f"{run}/config.toml cannot be used: {e}") from e
    of_recipe = {k: v for k, v in changes.items() if k in FIELDS}
    rest = {k: v for k, v in changes.items() if k not in FIELDS}
    known = [f.name for f in fields(TrainOptions)]
    for name in rest:
        if name not in known:
            raise unknown("option", name, [*known, *FIELDS])
    if of_recipe:
        rest["recipe"] = recipes.from_json(of_recipe, rest.get("recipe", stored.recipe))
    return replace(stored, **rest)


def differences(begun: TrainOptions, now: TrainOptions) -> dict[str, tuple[Any, Any]]:
    """The options and recipe fields that differ, as name -> (begun with, now), without the free ones."""
    before, after = flat(begun), flat(now)
    return {k: (before[k], after[k]) for k in before if k not in FREE and before[k] != after[k]}


def flat(options: TrainOptions) -> dict[str, Any]:
    """Options and recipe fields by name, in one."""
    config = to_config(options)
    own: dict[str, Any] = {k: v for k, v in config.items() if k != "recipe"}
    own |= config["recipe"]
    return own


def check_changes(begun: TrainOptions, now: TrainOptions) -> dict[str, tuple[Any, Any]]:
    """The differences, if they may be. Raises UsageError with the differences shown."""
    changed = differences(begun, now)
    shown = told(changed)
    if fixed := [k for k in changed if k in FIXED]:
        raise UsageError(
            f"{now.resume}: {', '.join(fixed)} cannot change on resuming ({shown}): "
            f"start a new run, with --weights {now.resume} to keep what it has learned"
        )
    if changed and not now.accept_changes:
        raise UsageError(f"{now.resume} was begun otherwise: {shown}; leave that out, or say --accept-changes")
    return changed


def told(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Differences in words: ``lr 0.1 -> 0.2, seed 0 -> 1``."""
    return ", ".join(f"{k} {_word(a)} -> {_word(b)}" for k, (a, b) in changed.items())


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_word, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
