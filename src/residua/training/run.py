"""The run folder: created once, written whole or not at all, by one writer, and read again to go on.

A folder is a run once it has a config.toml, which is written last: what is killed before that can be begun again.
The rows of metrics.jsonl are on the disk before the state that counts them (`saving.py`).
"""

import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from residua import files
from residua.errors import DataError, UsageError
from residua.training.saving import States

try:
    import fcntl
except ImportError:  # Windows: two writers are not kept apart
    fcntl = None  # type: ignore[assignment]

#: The rows of a training: one a logged step, one an epoch.
METRICS = "metrics.jsonl"

#: The first and the last line of what `write_toml` writes: where the last is missing, options are.
BEGINS, ENDS = "# a run of Residua, to its last line", "# the last line"

#: What is written of a run before its config.toml.
MADE = (
    "state", "environment.json", "decisions.json", "data_check.json", "summary.json", "split.csv", "batches",
    "lr_finder.json", "tensorboard", "mlruns", "wandb", METRICS,
)  # fmt: skip

#: Run folders that this process writes (a POSIX lock does not keep a process from itself).
_WRITING: set[Path] = set()


class Run:
    """A run folder that this process alone writes, until `close`."""

    def __init__(self, folder: Path) -> None:
        """Take the lock of a folder that exists. Use `create` or `open`."""
        self.folder = folder
        self._lock = _lock(folder)
        self._states = States(folder, folder / METRICS)
        self.rows = len(read_metrics(folder))  # whole ones of metrics.jsonl

    @classmethod
    def create(cls, path: str | Path) -> Self:
        """A new run folder. Raises DataError if there is something in it."""
        folder = Path(path)
        check_free(folder)
        _writing(folder, lambda: (folder / "state").mkdir(parents=True, exist_ok=True))
        run = cls(folder)
        for grown in ("decisions.json", METRICS):  # of a run that was killed while it was made
            (folder / grown).unlink(missing_ok=True)
        run.rows = 0
        return run

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The run folder at `path`, to go on with. Raises DataError if it is none or another process writes it."""
        folder = Path(path)
        if not (folder / "config.toml").is_file():
            hint = "give the run's folder, not a file" if folder.is_file() else "no config.toml in it"
            raise DataError(f"{folder} is not a run folder: {hint}")
        _writing(folder, lambda: (folder / "state").mkdir(exist_ok=True))
        return cls(folder)

    def close(self) -> None:
        """Let another writer in, once what is being written is. Raises DataError where the disk refused that."""
        try:
            self._states.close()
        finally:
            if self._lock is not None:
                _unlock(self.folder, self._lock)
                self._lock = None

    def __enter__(self) -> Self:
        """The run."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def path(self, name: str) -> Path:
        """Where the file `name` of this run is; its folder is made."""
        path = self.folder / name
        _writing(path, lambda: path.parent.mkdir(parents=True, exist_ok=True))
        return path

    # -- whole files ------------------------------------------------------------------------------------------------

    def write_bytes(self, name: str, content: bytes) -> None:
        """The file `name`, whole or not at all."""
        files.write(self.path(name), content)

    def write_json(self, name: str, value: Any) -> None:
        """A JSON file for people and programs; numbers that are not finite become null."""
        self.write_bytes(name, (_json(value, indent=2) + "\n").encode())

    def write_toml(self, name: str, value: Mapping[str, Any]) -> None:
        """A TOML file of words, numbers, lists and one level of tables; None is left out."""
        try:
            self.write_bytes(name, f"{BEGINS}\n{to_toml(value)}{ENDS}\n".encode())
        except UnicodeError as e:
            raise UsageError(f"{name} cannot hold a name that is no text: rename the folder or file") from e

    def write_csv(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A CSV file with a header."""
        files.write_csv(self.path(name), columns, rows)

    # -- metrics: one object a line ---------------------------------------------------------------------------------

    def log(self, row: Mapping[str, Any], name: str = METRICS) -> None:
        """Append one row to metrics.jsonl, or to another file of rows."""
        path = self.path(name)

        def append() -> None:
            with path.open("a", encoding="utf-8") as f:
                f.write(_json(row) + "\n")

        _writing(path, append)
        self.rows += name == METRICS

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole row of metrics.jsonl."""
        return read_metrics(self.folder)

    def forget_after(self, step: int) -> None:
        """Take the rows after `step` away, and a last one that was cut off: they will be written again."""
        for name in (METRICS, "units.jsonl"):
            if name == METRICS or (self.folder / name).exists():
                rows = [row for row in read_metrics(self.folder, name) if row.get("step", 0) <= step]
                self.write_bytes(name, "".join(_json(r) + "\n" for r in rows).encode())
                self.rows = len(rows) if name == METRICS else self.rows

    def write_metrics_csv(self) -> None:
        """metrics.csv: the epochs of metrics.jsonl as a table."""
        rows = [{k: v for k, v in row.items() if k != "event"} for row in self.metrics() if row.get("event") == "epoch"]
        columns = list(dict.fromkeys(k for row in rows for k in row))
        self.write_csv("metrics.csv", columns, [[row.get(c) for c in columns] for row in rows])

    # -- the state of training --------------------------------------------------------------------------------------

    def save_state(self, state: Mapping[str, Any], *, aside: bool = False) -> None:
        """Keep `state` as the last, `aside` of the training or while it waits (`States.save`)."""
        self.path("state/last.pt")
        self._states.save(state, aside=aside)

    def settle(self) -> None:
        """Wait for a state that is being written."""
        self._states.settle()

    def load_state(self) -> tuple[dict[str, Any], str | None]:
        """The newest whole state, and one line to say if that is not the last one. Raises DataError without any."""
        return self._states.load()


class Aside(Run):
    """Where a process that does not write for all writes: a folder of its own, which vanishes with it."""

    def __init__(self) -> None:
        """Make the folder."""
        folder = Path(tempfile.mkdtemp(prefix="residua-aside-"))
        (folder / "state").mkdir()
        super().__init__(folder)

    def save_state(self, state: Mapping[str, Any], *, aside: bool = False) -> None:
        """The first process keeps it."""

    def close(self) -> None:
        """Away with the folder."""
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_name(*words: str) -> str:
    """``runs/<words>-<n>``, the words with hyphens between: the first n that is not there."""
    stem = "-".join(words).replace(":", "-").replace("/", "-")
    n = 1
    while Path("runs", f"{stem}-{n}").exists():
        n += 1
    return str(Path("runs", f"{stem}-{n}"))


def check_free(folder: Path) -> None:
    """Raise DataError where a run would overwrite something. A run that was killed while it was made is nothing."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not unmade(folder))):
        raise DataError(f"{folder} exists: runs are never overwritten; choose another --out, or --resume {folder}")


def unmade(folder: Path) -> bool:
    """Whether this is a run that was killed before it was one: all that is there is what comes before config.toml."""
    names = [p.name for p in folder.iterdir()]
    return "state" in names and all(name in MADE or name.endswith(".tmp") for name in names)


def read_config(path: str | Path) -> dict[str, Any]:
    """The options that a run folder was made with. Raises DataError."""
    file = Path(path) / "config.toml"
    try:
        text = files.contents(file).decode()
        values = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as e:
        raise DataError(f"{path} is not a run folder: cannot read {file.name} ({e})") from e
    if not values or (text.startswith(BEGINS) and ENDS not in text.splitlines()):
        raise DataError(f"{file} is cut off: its last options are lost; put it back, or start a new run")
    return values


def read_metrics(folder: Path, name: str = METRICS) -> list[dict[str, Any]]:
    """Every whole row of a run's metrics.jsonl; a line that was cut off is left out."""
    path = folder / name
    rows = []
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        with suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def to_toml(value: Mapping[str, Any]) -> str:
    """TOML of words, numbers, lists and one level of tables; None is left out."""
    lines = [f"{k} = {_toml(v)}" for k, v in value.items() if v is not None and not isinstance(v, Mapping)]
    for name, table in value.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{name}]", *(f"{k} = {_toml(v)}" for k, v in table.items() if v is not None)]
    return "\n".join(lines) + "\n"


def _toml(v: Any) -> str:
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, list | tuple):
        return "[" + ", ".join(map(_toml, v)) + "]"
    # JSON's strings are TOML's, but for the character 127
    return json.dumps(v, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(v, str) else repr(v)


def _json(value: Any, indent: int | None = None) -> str:
    return files.escaped(json.dumps(files.finite(value), indent=indent, ensure_ascii=False))


def _writing(path: Path, act: Callable[[], object]) -> None:
    try:
        act()
    except OSError as e:
        raise DataError(f"cannot write {path}: {e.strerror or e}; free some space or choose another --out") from e


def _lock(folder: Path) -> int | None:
    """The lock on a folder; it vanishes with the process, so a dead one's is simply taken over. Raises DataError."""
    real = folder.resolve()
    if real in _WRITING:
        raise DataError(f"{folder} is being written by this process already")
    try:
        descriptor = os.open(folder / "state" / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as e:
        raise DataError(f"cannot write {folder}: {e.strerror}") from e
    if fcntl is not None:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            owner = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise DataError(f"{folder} is being written by process {owner}: wait for it, or stop it first") from e
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    _WRITING.add(real)
    return descriptor


def _unlock(folder: Path, descriptor: int) -> None:
    _WRITING.discard(folder.resolve())
    os.close(descriptor)
