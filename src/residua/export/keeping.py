"""Files that appear under their names only when they have proved right."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from residua.errors import DataError
from residua.export.exported import Array, Exported


class Place(Protocol):
    """Where an export goes once it has proved right."""

    @property
    def stem(self) -> str:
        """What its files are called, without their endings."""

    @property
    def file(self) -> str:
        """The name of the one that is opened."""

    def proved(self) -> AbstractContextManager[Path]:
        """A folder in which the files are written; they move to their places when the block ends well."""

    def fits(self, words: Mapping[str, Any], opened: Callable[[Path], Exported]) -> None:
        """Raise DataError where a file of these words cannot go there; `opened` opens one that is there."""

    def describe(self, folder: Path, exported: Exported, example: Array) -> None:
        """Write what belongs to the files, which stand in the folder and have proved right."""

    def paths(self) -> tuple[Path, ...]:
        """The files in their places."""


@dataclass(frozen=True)
class Single:
    """Files beside each other, named as `target` with these suffixes: the plainest place."""

    target: Path
    suffixes: tuple[str, ...]

    @property
    def stem(self) -> str:
        """Of the target."""
        return self.target.stem

    @property
    def file(self) -> str:
        """The target's name."""
        return self.target.name

    def proved(self) -> AbstractContextManager[Path]:
        """See `proved`."""
        return proved(self.target, self.suffixes)

    def fits(self, words: Mapping[str, Any], opened: Callable[[Path], Exported]) -> None:
        """Anything does."""

    def describe(self, folder: Path, exported: Exported, example: Array) -> None:
        """A file says itself what it takes and gives."""

    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(self.target.with_suffix(s) for s in self.suffixes)


@contextmanager
def proved(target: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """A folder beside `target` in which files are written, named as the target with these suffixes; they move to their
    places, the first one last, when the block ends well, and vanish when it does not.

    Raises DataError where the disk refuses, or a file stands there already.
    """
    folder = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        folder.mkdir()
        yield folder
        places = [target.with_suffix(s) for s in suffixes]
        for place in places:
            if os.path.lexists(place):
                raise DataError(f"{place} exists and is never overwritten: choose another --out")
        for place in reversed(places):
            made = folder / place.name
            with open(made, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(made, place)
    except OSError as e:
        raise DataError(f"cannot write {target}: {e.strerror or e}; free some space or choose another place") from e
    finally:
        shutil.rmtree(folder, ignore_errors=True)
