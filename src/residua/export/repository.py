"""A model as a version in a model repository, as Triton Inference Server and OpenVINO Model Server read one.

    FOLDER/config.json              of OpenVINO Model Server: which models there are; for OpenVINO's format only
    FOLDER/NAME/config.pbtxt        of Triton: what the model takes and gives
    FOLDER/NAME/labels.txt          the classes, one a line
    FOLDER/NAME/VERSION/model.onnx  or model.xml and model.bin

Sources: Triton's "Model Repository"; OpenVINO Model Server's "Classic Models", "Starting the Server" and the schema of
its config.json.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residua.errors import DataError, one_line
from residua.export import triton
from residua.export.exported import Array, Exported
from residua.export.formats import SUFFIXES
from residua.files import contents, encoded, write

#: The name of a model's file that both servers look for by themselves, without its ending.
STEM = "model"
#: What OpenVINO Model Server is told at its start: the models that it serves.
CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place for the next version of a model in a repository, in a format. What stands there is never changed: a new
    version stands beside it."""

    root: Path
    name: str
    to: str

    @property
    def model(self) -> Path:
        """The folder of the model."""
        return self.root / self.name

    @property
    def file(self) -> str:
        """The name of the file that is opened."""
        return f"{STEM}{SUFFIXES[self.to][0]}"

    @property
    def stem(self) -> str:
        """That without its ending."""
        return STEM

    def versions(self) -> list[int]:
        """The versions that are there, ascending; servers ignore other folders."""
        try:
            names = [p.name for p in self.model.iterdir() if p.is_dir()] if self.model.is_dir() else []
        except OSError as e:
            raise DataError(f"cannot read {self.model}: {e.strerror or e}") from e
        return sorted(int(n) for n in names if n.isascii() and n.isdecimal() and n == str(int(n)) and n != "0")

    def latest(self) -> Path | None:
        """The file of the latest version; None for a new model. Raises DataError for a model that is not ours."""
        if not os.path.lexists(self.model):
            return None
        versions = self.versions()
        if not versions or not (found := self.model / str(versions[-1]) / self.file).is_file():
            raise DataError(f"{self.model} is there and holds no {self.to} file of ours: choose another --name")
        return found

    def check(self) -> None:
        """Raise DataError where no version can be added."""
        if self.root.exists() and not self.root.is_dir():
            raise DataError(f"{self.root} is not a folder: choose another --repository")
        if not self.root.absolute().parent.is_dir():
            raise DataError(f"--repository {self.root}: there is no folder {self.root.parent}")
        self.latest()
        if self.to == "openvino":
            self.served()

    def fits(self, words: Mapping[str, Any], opened: Callable[[Path], Exported]) -> None:
        """Raise DataError where clients of the latest version, as it is `opened`, would not get along with a file of
        these words."""
        if (path := self.latest()) is None:
            return
        there, own = opened(path).words, json.loads(json.dumps(words))
        for what, of in COMMON.items():
            if of(there) != of(own):
                raise DataError(
                    f"{path} is in use and has other {what}: its clients would not get along with this model; "
                    "choose another --name"
                )

    @contextmanager
    def proved(self) -> Iterator[Path]:
        """A folder in which the files of a version are written; it gets its place, whole, when the block ends well.

        Raises DataError where the disk refuses or somebody else wrote the model meanwhile.
        """
        new, root = not os.path.lexists(self.model), self.root.absolute()
        stage = _beside(root) / f".{root.name}.{os.getpid()}.tmp"
        made = stage / self.name
        try:
            (made / "1").mkdir(parents=True)
            yield made / "1"
            for path in made.rglob("*"):
                if path.is_file():
                    with open(path, "rb+") as file:
                        os.fsync(file.fileno())
            root.mkdir(exist_ok=True)
            if new and os.path.lexists(self.model):
                raise DataError(f"{self.model} was written by somebody else meanwhile: export again")
            if new:
                os.rename(made, self.model)
            else:
                os.rename(made / "1", self.model / str(self.versions()[-1] + 1))
            if self.to == "openvino":
                self._serve()
        except OSError as e:
            raise DataError(
                f"cannot write {self.model}: {e.strerror or e}; free some space or choose another place"
            ) from e
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def describe(self, folder: Path, exported: Exported, example: Array) -> None:
        """Write beside a version what Triton needs to know: what it takes, and gives when asked about `example`."""
        text = triton.config(self.name, exported, exported.run(example))
        write(folder.parent / triton.CONFIG, text.encode())
        labels = [one_line(label) for label in exported.words["classes"]]
        write(folder.parent / triton.LABELS, encoded("".join(f"{label}\n" for label in labels)))

    def served(self) -> dict[str, Any]:
        """What OpenVINO Model Server is told to serve so far. Raises DataError for a file that is not its."""
        path = self.root / CONFIG
        if not os.path.lexists(path):
            return {"model_config_list": []}
        try:
            told = json.loads(contents(path))
            names = [model["config"]["name"] for model in told["model_config_list"]]
            if not all(isinstance(n, str) for n in names):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise DataError(
                f"{path} is no configuration of OpenVINO Model Server: choose another --repository"
            ) from None
        return dict(told)

    def _serve(self) -> None:
        """Name the model in the configuration of OpenVINO Model Server, unless it is named there."""
        told = self.served()
        if self.name not in (model["config"]["name"] for model in told["model_config_list"]):
            told["model_config_list"].append({"config": {"name": self.name, "base_path": self.name}})
            write(self.root / CONFIG, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())

    def paths(self) -> tuple[Path, ...]:
        """The files of the latest version."""
        folder = self.model / str(self.versions()[-1])
        return tuple(folder / f"{STEM}{s}" for s in SUFFIXES[self.to])


#: What all versions of a model have in common: what clients rely on. Of numbers that a client normalises, how.
COMMON: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "classes": lambda w: (w["task"], w["classes"]),
    "inputs": lambda w: (w["input"], w["view"] if w["input"]["dtype"] == "float32" else None),
    "outputs": lambda w: [(o["name"], o["shape"]) for o in w["outputs"]],
}


def _beside(root: Path) -> Path:
    """Where a model is made before it is moved into the repository: outside, so that no server sees a half of it, but
    on the same disk; within, where the repository is a disk of its own or the folder around it cannot be written."""
    around = root.parent
    with suppress(OSError):
        if not os.access(around, os.W_OK) or (root.exists() and root.stat().st_dev != around.stat().st_dev):
            return root
    return around
