"""From the flags and files of ``residua train`` to its options; what can be checked without torch is checked first."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from residua.amounts import in_numbers
from residua.errors import DataError, UsageError
from residua.words import unknown

if TYPE_CHECKING:
    from residua.job import TrainOptions


def options(
    given: Mapping[str, Any], *, recipe: str | None = None, sets: Sequence[str] = (), config: str | None = None
) -> "TrainOptions":
    """The options that flags give, over those of the file, over those of the run that is resumed.

    `given` holds what was typed, by the names of TrainOptions and Recipe. Raises UsageError or DataError.
    """
    from residua.training.recipe import FIELDS
    from residua.training.recipe import recipe as find

    file = _from_file(config) if config else {}
    words = {k: v for k, v in file.items() if k != "recipe"} | dict(given)
    run = words.pop("resume", None)
    source = recipe or _recipe_of(config, file) or (str(run_config(run)) if run else usual(words))
    words |= in_numbers(words, sets)
    if isinstance(words.get("freeze"), str):
        words["freeze"] = tuple(w.strip() for w in words["freeze"].split(",") if w.strip())
    made = find(source, sets, **{k: v for k, v in words.items() if k in FIELDS})
    words = {k: v for k, v in words.items() if k not in FIELDS}
    if "depths" in words:
        words["depths"] = _depths(words["depths"])
    _check(words, run)
    from residua.job import TrainOptions, resumed

    _check_kinds(words, TrainOptions)
    return resumed(run, recipe=made, **words) if run else TrainOptions(recipe=made, **words)


def usual(words: Mapping[str, Any]) -> str:
    """The recipe where none is named: one for nets that have learned before, or one for those that have not."""
    return "finetune" if words.get("weights") else "quick"


def _from_file(config: str) -> dict[str, Any]:
    """The keys and values of a TOML file."""
    import tomllib

    from residua.cli.files import existing

    try:
        return tomllib.loads(existing(config, "config file").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise UsageError(f"{config} is not TOML: {e}") from e


def _recipe_of(config: str | None, file: Mapping[str, Any]) -> str | None:
    """The name of the file's recipe, or the file itself where it holds one as a table."""
    recipe = file.get("recipe")
    if recipe is None or isinstance(recipe, str):
        return recipe
    if isinstance(recipe, dict):
        return config
    raise UsageError(f"{config}: recipe must be a name or a table, got {recipe!r}")


def run_config(run: str) -> Path:
    """The config.toml of a run folder. Raises DataError."""
    path = Path(run) / "config.toml"
    if not path.is_file():
        what = "is a file" if Path(run).is_file() else "has no config.toml" if Path(run).is_dir() else "does not exist"
        raise DataError(f"--resume {run} {what}: give the folder of a run that `residua train` began")
    return path


def _depths(words: Any) -> tuple[int, ...]:
    """``3,5,3`` as numbers."""
    parts = words.replace("-", ",").split(",") if isinstance(words, str) else words
    try:
        return tuple(int(p) for p in parts)
    except (TypeError, ValueError):
        raise UsageError(f"--depths {words}: give one whole number a stage, such as 3,5,3") from None


def _check(words: Mapping[str, Any], run: str | None) -> None:
    """Raise for what cannot be, before anything heavy is imported."""
    from residua.cli.files import model_file
    from residua.data.names import check_spec
    from residua.nn.hub import published
    from residua.nn.zoo import find

    if run is None or "data" in words:
        check_spec(str(words.get("data", "digits")))
    if (arch := str(words.get("arch", "auto"))) != "auto":
        find(arch)
    if "weights" in words and not published(str(words["weights"])):
        model_file(str(words["weights"]))
    if "out" not in words:
        return
    if run is not None:
        raise UsageError("--out has no meaning with --resume: the run goes on in its own folder")
    from residua.cli.files import taken

    out = str(words["out"])
    if taken(out):
        raise DataError(f"{out} exists: runs are never overwritten; choose another --out, or --resume {out}")


def _check_kinds(words: Mapping[str, Any], kind: "type[TrainOptions]") -> None:
    """Raise UsageError for an option that does not exist, naming the nearest, or of another kind than it must be."""
    known = {f.name: f.type for f in fields(kind) if f.name not in ("recipe", "resume")}
    names = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    for name, value in words.items():
        if name not in known:
            raise unknown("option", name, known)
        wanted = (get_args(known[name]) or (known[name],))[0]
        fits = type(value) in ((int, float) if wanted is float else (wanted,))
        if wanted in names and not fits:
            raise UsageError(f"{name} must be {names[wanted]}, got {value!r}")
