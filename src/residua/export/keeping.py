"""Files that appear under their names only when they have proved right."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from residua.errors import DataError


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
