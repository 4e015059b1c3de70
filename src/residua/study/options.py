"""What a study is asked to do: options as a value, kept in study.json, and compared on going on. No torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from residua.data.names import check_spec
from residua.errors import DataError, UsageError
from residua.training import recipe as recipes
from residua.training.recipe import RECIPES, Recipe
from residua.words import unknown

NORMS = ("batch", "none")
SHORTCUTS = ("A", "B", "C")
ENGINES = ("local", "ray")
#: Where and how many at a time: not kept, and free to differ on going on.
OUTSIDE = ("out", "root", "device", "jobs", "engine", "address")
#: What every cell of a folder has in common.
SHARED = ("data", "recipe", "limit", "image_size", "precision", "gradients")
#: How the digits are learned unless said: so long that what is left of the training error is depth's, not haste's.
ON_DIGITS = replace(RECIPES["quick"], epochs=28)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """One study: a training for every combination of the plural fields that makes sense.

    A kind is a word of `plan.KINDS` or the name of a net with ``{depth}`` in it. `widths` are factors on every number
    of channels; a wider net gets the depth that costs about as much. `jobs` trainings run at a time (None: one for each
    core or GPU), with `threads` threads each.
    """

    data: str = "digits"
    kinds: tuple[str, ...] = ("plain", "residual")
    depths: tuple[int, ...] = (20, 56)
    shortcuts: tuple[str, ...] = ()
    widths: tuple[int, ...] = (1,)
    norm: tuple[str, ...] = ("batch",)
    drop_depth: tuple[float, ...] = (0.0,)
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: Recipe = ON_DIGITS
    gradients: bool = False
    limit: int | None = None
    image_size: int | None = None
    root: str | None = None
    device: str = "auto"
    precision: str = "auto"
    out: str | None = None
    jobs: int | None = None
    threads: int | None = None
    engine: str = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read. Raises UsageError or DataError."""
        check_spec(self.data)
        for name in ("kinds", "depths", "widths", "norm", "drop_depth", "seeds", "shortcuts"):
            values = getattr(self, name)
            if not values and name != "shortcuts":
                raise UsageError(f"--{name.replace('_', '-')}: give at least one")
            object.__setattr__(self, name, tuple(dict.fromkeys(values)))
        for name, known in (("norm", NORMS), ("shortcuts", SHORTCUTS)):
            for word in getattr(self, name):
                if word not in known:
                    raise unknown(name, word, known)
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)
        if self.address is not None and self.engine != "ray":
            raise UsageError("--address names a Ray cluster: say --engine ray as well")
        if bad := [p for p in self.drop_depth if not 0 <= p < 1]:
            raise UsageError(f"--drop-depth {bad[0]:g}: give probabilities from 0 to below 1")
        if bad_width := [w for w in self.widths if not 1 <= w <= 999]:
            raise UsageError(f"--widths {bad_width[0]}: give whole factors from 1 on")
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: give at least 1")


def to_json(options: StudyOptions) -> dict[str, Any]:
    """The options as study.json holds them."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(options).items() if k not in OUTSIDE}
    return values | {"recipe": recipes.to_json(options.recipe)}


def from_json(values: Mapping[str, Any]) -> StudyOptions:
    """The options that `to_json` wrote. Raises UsageError for anything else."""
    known = [f.name for f in fields(StudyOptions)]
    if extra := sorted(values.keys() - set(known)):
        raise unknown("option", extra[0], known)
    rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "recipe"}
    try:
        return StudyOptions(**rest, recipe=recipes.from_json(values.get("recipe", {})))
    except TypeError as e:
        raise UsageError(f"not the options of a study: {e}") from e


def stored(folder: Path) -> StudyOptions | None:
    """The options that a study folder was begun with; None where there is nothing yet.

    Raises DataError for a folder that holds something else.
    """
    file = folder / "study.json"
    if not file.is_file():
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise DataError(f"{folder} exists and is no study: nothing in it is overwritten; choose another --out")
        return None
    try:
        return from_json(json.loads(file.read_text(encoding="utf-8"))["options"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError) as e:
        raise DataError(f"{file} cannot be used: {e}") from e


def resumed(folder: str | Path, **machine: Any) -> StudyOptions:
    """The options to go on with a study folder: those it was begun with; `machine` says where and how many at a time.

    Raises DataError if `folder` is no study.
    """
    found = stored(Path(folder))
    if found is None:
        raise DataError(f"{folder} is no study: give the folder that `residua study` wrote")
    for name in machine:
        if name not in OUTSIDE:
            raise UsageError(f"{name} cannot change when a study goes on: leave it out, or begin another with --out")
    return replace(found, out=str(folder), **machine)


def check_same(folder: Path, begun: StudyOptions, now: StudyOptions) -> None:
    """Raise DataError where the folder's cells were trained otherwise than `now` asks."""
    before, after = to_json(begun), to_json(now)
    shown = [f"{k} {_word(before[k])}, not {_word(after[k])}" for k in SHARED if k != "recipe"]
    differ = [s for s, k in zip(shown, [k for k in SHARED if k != "recipe"], strict=True) if before[k] != after[k]]
    old, new = before["recipe"], after["recipe"]
    differ += [f"{k} {_word(old[k])}, not {_word(new[k])}" for k in old if old[k] != new[k] and k != "source"]
    if differ:
        raise DataError(
            f"{folder} was begun with {'; '.join(differ)}: choose another --out, or --resume {folder} as it was"
        )


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_word, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
