"""An exported file at work, and what it says of itself."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from residua.errors import DataError

Array = npt.NDArray[np.generic]

#: The words of an exported file, one JSON document, stand under this name in every format.
KEY = "residua"
#: Of these words; a reader reads its own and earlier ones.
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Exported:
    """A file that answers: `run` takes one array and gives the outputs by name; `words` are its own."""

    path: Path
    to: str
    words: Mapping[str, Any]
    run: Callable[[Array], dict[str, Array]] = field(repr=False)

    @property
    def takes(self) -> str:
        """Pictures of any size, squares, or raw numbers."""
        return str(self.words["input"]["takes"])

    @property
    def batch(self) -> int | None:
        """The only batch that it takes; None where any is taken."""
        n = self.words["input"]["shape"][0]
        return n if isinstance(n, int) else None


def read_words(text: str | None, path: str | Path) -> dict[str, Any]:
    """The words of a file. Raises DataError where it has none, or of a later format."""
    try:
        words = json.loads(text) if text else None
        known = isinstance(words, dict) and {"format", "task", "input", "outputs", "classes"} <= words.keys()
    except ValueError:
        known = False
    if not known or not isinstance(words, dict):
        raise DataError(f"{path} was not exported by Residua, or was changed: it does not say what it takes")
    if not isinstance(words["format"], int) or words["format"] > FORMAT:
        raise DataError(f"{path} was exported by a later Residua ({words.get('residua')}): upgrade to read it")
    return words
