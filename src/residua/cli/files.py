"""The user's files, checked by looking at the disk only: before anything heavy is imported."""

import os
import re
from pathlib import Path

from residua.errors import DataError, UsageError

#: What a model may be called where its name stands in addresses.
ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def model_file(name: str) -> Path:
    """The path of a model file that exists. Raises DataError that says what is there instead."""
    path = Path(name)
    if path.is_dir():
        inside = path / "model.safetensors"
        if inside.is_file():
            return inside
        raise DataError(f"{name} is a folder without model.safetensors: give a model file, or a finished run")
    return existing(name, "model file")


def existing(name: str, what: str) -> Path:
    """The path of a file that exists and can be read. Raises DataError."""
    path = Path(name)
    if not path.exists():
        near = _nearest(path)
        raise DataError(f"no {what} {name}" + (f": did you mean {near}?" if near else ": check the path"))
    if not path.is_file():
        raise DataError(f"{name} is not a file: a {what} is needed")
    try:
        with path.open("rb"):
            return path
    except OSError as e:
        raise DataError(f"cannot read {name}: {e.strerror}") from e


def results_folder(what: str, model: Path, out: str | None) -> Path:
    """A folder that does not exist yet: `out`, or the first free ``WHAT/MODEL-N``. Raises DataError."""
    if out is not None:
        return fresh(out, what)
    return _free(Path(what), called(model))


def runs_folder(verb: str, model: Path, out: str | None) -> Path:
    """A folder that does not exist yet: `out`, or the first free ``runs/VERB-MODEL-N``. Raises DataError."""
    return fresh(out, "results") if out is not None else _free(Path("runs"), f"{verb}-{called(model)}")


def called(model: Path) -> str:
    """What a model is called: as its run folder, or as its file."""
    return model.parent.name if model.name == "model.safetensors" and model.parent.name else model.stem


def named_after(model: Path) -> str:
    """What a model is called in addresses."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", called(Path(os.path.abspath(model)))).strip("-._")[:100] or "model"


def check_address(name: str, flag: str = "--name") -> None:
    """Raise UsageError for a name that cannot stand in addresses."""
    if not ADDRESS.fullmatch(name):
        raise UsageError(f"{flag} {name}: a name is made of letters, digits, '.', '_' and '-', at most 100")


def _free(folder: Path, name: str) -> Path:
    n = 1
    while (path := folder / f"{name}-{n}").exists():
        n += 1
    return path


def fresh(name: str, what: str, flag: str = "--out") -> Path:
    """A path at which nothing stands yet, so that nothing is written over. Raises DataError that names the `flag`."""
    path = Path(name)
    if path.is_symlink() or path.exists():
        raise DataError(f"{name} exists and is never overwritten: choose another {flag} for the {what}")
    return path


def _nearest(path: Path) -> str | None:
    from residua.words import nearest

    if not path.parent.is_dir():
        return None
    siblings = [p.name for p in sorted(path.parent.iterdir())[:1000]]
    near = nearest(path.name, siblings, 1)
    return str(path.with_name(near[0])) if near else None


def taken(out: str) -> bool:
    """Whether there is something that no run may overwrite. What was killed while it was made is looked at later, and
    what torchrun began before goes on."""
    place = Path(out)
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        return False
    if not place.is_dir():
        return place.exists()
    return any(place.iterdir()) and ((place / "config.toml").exists() or not (place / "state").is_dir())
