"""What a run folder says, read tolerantly: a file that is missing or torn is named, never fatal."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residua.errors import DataError

#: Any one of these makes a folder a run folder.
MARKS = ("config.toml", "summary.json", "metrics.jsonl", "evaluation.json", "decisions.json", "data_check.json")


@dataclass(frozen=True)
class RunFiles:
    """The words and numbers of one run folder; what is absent is empty."""

    folder: Path
    config: str
    environment: dict[str, Any]
    decisions: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    epochs: list[dict[str, Any]]
    gradients: list[dict[str, Any]]
    units: list[dict[str, Any]]
    evaluation: dict[str, Any]
    data_check: dict[str, Any]
    summary: dict[str, Any]
    gallery: list[dict[str, Any]]
    mistakes: dict[str, Any]
    explanations: dict[str, Any]
    strengths: dict[str, Any]
    damaged: tuple[str, ...]

    @property
    def task(self) -> str:
        """What was trained: "classification", "detection" or "localization"."""
        return str(self.summary.get("task", "classification"))

    @property
    def finished(self) -> bool:
        """Whether the test set has been evaluated."""
        return bool(self.evaluation)


def read(run: Path) -> RunFiles:
    """The run folder's words and numbers. Raises DataError if `run` is no run folder."""
    if not any((run / mark).exists() for mark in MARKS):
        what = "is not a run folder" if run.is_dir() else "does not exist"
        raise DataError(f"'{run}' {what}: give the folder that `residua train` wrote")
    damaged: list[str] = []
    rows = _lines(run / "metrics.jsonl", damaged)
    return RunFiles(
        folder=run,
        config=_toml(run / "config.toml", damaged),
        environment=_object(run / "environment.json", damaged),
        decisions=_list(run / "decisions.json", damaged),
        steps=[r for r in rows if r.get("event") == "step"],
        epochs=[r for r in rows if r.get("event") == "epoch"],
        gradients=[r for r in rows if r.get("event") == "gradients"],
        units=_lines(run / "units.jsonl", damaged),
        evaluation=_object(run / "evaluation.json", damaged),
        data_check=_object(run / "data_check.json", damaged),
        summary=_object(run / "summary.json", damaged),
        gallery=_list(run / "gallery.json", damaged),
        mistakes=_object(run / "mistakes.json", damaged),
        explanations=_object(run / "explanations.json", damaged),
        strengths=_object(run / "strengths.json", damaged),
        damaged=tuple(damaged),
    )


def _json(path: Path, damaged: list[str]) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        damaged.append(path.name)
        return None


def _object(path: Path, damaged: list[str]) -> dict[str, Any]:
    value = _json(path, damaged)
    return value if isinstance(value, dict) else {}


def read_list(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON list; none where the file is missing or torn."""
    return _list(path, [])


def _list(path: Path, damaged: list[str]) -> list[dict[str, Any]]:
    value = _json(path, damaged)
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _lines(path: Path, damaged: list[str]) -> list[dict[str, Any]]:
    """One object a line; a line that is cut (the machine stopped while it was written) is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError:
        damaged.append(path.name)
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            if path.name not in damaged:
                damaged.append(path.name)
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _toml(path: Path, damaged: list[str]) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        tomllib.loads(text)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        damaged.append(path.name)
        return ""
    return text
