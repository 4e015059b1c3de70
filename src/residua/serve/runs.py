"""Run folders behind the server: which there are, their curves, their reports. Read only, and nothing beside them.

A run is a folder right below one that the server was told of. What a client names is looked for among them, never
made into a path; links are not followed, neither as runs nor as files of runs.
"""

import errno
import hashlib
import hmac
import json
import math
import os
import secrets
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from residua.files import TEXT_BYTES, contents, opened
from residua.serve.limits import Refused

CONFIG, METRICS, SUMMARY, EVALUATION, REPORT = (
    "config.toml", "metrics.jsonl", "summary.json", "evaluation.json", "report.html"
)  # fmt: skip
#: Runs that are listed, the latest first; epochs of a run that are shown, the last ones.
MOST_RUNS, MOST_EPOCHS = 500, 10_000
#: A report is a page of its own, whatever is in it: without this server's origin, without a network.
POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; img-src data:; font-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: What is told of how well a run did, by the words of its evaluation (a detector's are COCO's).
SCORES = ("top1_error", "top1_localization_error", "ap50", "ap")


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of a folder; None: there are none to show.

    A report opens as a page of its own, which cannot send a token: its address has a `key` that is good for this
    report as long as the server lives.
    """

    folder: Path | None = None
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def to_json(self) -> dict[str, Any]:
        """Every run, the latest first."""
        found = sorted(self._runs(), key=lambda e: (-_changed(e), e.name))[:MOST_RUNS]
        return {"shown": self.folder is not None, "runs": [self._row(Path(e.path)) for e in found]}

    def metrics(self, name: str) -> dict[str, Any]:
        """The epochs of a run as columns of equal length, null where a row says nothing. Raises Refused (404)."""
        run = self._find(name)
        rows = list(_epochs(run))[-MOST_EPOCHS:]
        columns = dict.fromkeys(k for row in rows for k, v in row.items() if _number(v) is not None)
        return {"run": run.name, "finished": _exists(run, EVALUATION),
                "columns": {c: [_number(row.get(c)) for row in rows] for c in columns}}  # fmt: skip

    def report(self, name: str) -> bytes:
        """The page of a run. Raises Refused (404)."""
        run = self._find(name)
        try:
            return _contents(run, REPORT)
        except OSError:
            raise Refused(404, f"run {name!r} has no report yet") from None

    def key(self, name: str) -> str:
        """What opens a run's report without a token."""
        return hmac.new(self.secret, name.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]

    def opened(self, name: str, key: str) -> bool:
        """Whether this key opens the report of this run; compared in constant time."""
        return hmac.compare_digest(self.key(name).encode(), key.encode("utf-8", "replace"))

    # -- folders and files ------------------------------------------------------------------------------------------

    def _runs(self) -> Iterator["os.DirEntry[str]"]:
        if self.folder is None:
            return
        with suppress(OSError), os.scandir(self.folder) as entries:
            yield from (e for e in entries if _is_text(e.name) and e.is_dir(follow_symlinks=False) and _is_run(e))

    def _find(self, name: str) -> Path:
        for entry in self._runs():
            if entry.name == name:
                return Path(entry.path)
        raise Refused(404, f"no run {name[:200]!r} here")

    def _row(self, run: Path) -> dict[str, Any]:
        summary, evaluation, config = _object(run, SUMMARY), _object(run, EVALUATION), _config(run)
        arch, data, coco = summary.get("arch"), summary.get("data"), evaluation.get("coco")
        told = evaluation | (coco if isinstance(coco, dict) else {})
        task = str(summary.get("task", "classification"))
        report = f"/runs/{quote(run.name)}/report.html?key={self.key(run.name)}"
        return {
            "run": run.name, "task": task, "changed": _changed(run), "finished": bool(evaluation),
            "arch": _text(arch.get("name") if isinstance(arch, dict) else None, config.get("arch")),
            "data": _text(data.get("name") if isinstance(data, dict) else data, config.get("data")),
            "scores": {k: _number(told[k]) for k in SCORES if k in told},
            "n": _number(evaluation.get("n")), "params": _number(summary.get("params")),
            "report": report if _exists(run, REPORT) else None,
        }  # fmt: skip


def _file(run: Path, name: str) -> Path:
    """A file of a run. Raises OSError for a run that has become a link; the file is opened as none."""
    if run.is_symlink():
        raise OSError(errno.ELOOP, "a link", run.name)
    return run / name


def _contents(run: Path, name: str) -> bytes:
    return contents(_file(run, name), 8 * TEXT_BYTES, links=False)


def _epochs(run: Path) -> Iterator[dict[str, Any]]:
    """The whole rows of epochs; what was cut off, or is no row, is left out."""
    with suppress(OSError), opened(_file(run, METRICS), links=False) as file:
        for line in file:
            if b'"epoch"' not in line or len(line) > TEXT_BYTES:
                continue
            with suppress(ValueError, RecursionError):
                row = json.loads(line)
                if isinstance(row, dict) and row.get("event") == "epoch":
                    yield row


def _object(run: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(_contents(run, name))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _config(run: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(_contents(run, CONFIG).decode())
    except (OSError, ValueError, RecursionError):
        return {}


def _exists(run: Path, name: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(run / name).st_mode)
    except OSError:
        return False


def _is_run(folder: "os.DirEntry[str]") -> bool:
    return _exists(Path(folder), CONFIG)


def _is_text(name: str) -> bool:
    """Whether a name can stand in JSON and in an address."""
    return name == name.encode("utf-8", "replace").decode()


def _changed(run: "Path | os.DirEntry[str]") -> float:
    """When the run last wrote of an epoch, or began; seconds since 1970."""
    for name in (EVALUATION, METRICS, CONFIG):
        with suppress(OSError):
            return os.lstat(Path(run) / name).st_mtime
    return 0.0


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _text(*values: Any) -> str | None:
    return next((v for v in values if isinstance(v, str)), None)
