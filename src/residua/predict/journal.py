"""Answers on their way into a file: kept batch by batch beside it, so that an interrupted command can go on.

``answers.csv.part`` begins with a line that says what is asked of which model; each line after it is a result. Only
whole batches count: going on then makes the very batches, and so the very numbers, that one go would have made.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from residua.data.names import shown
from residua.errors import DataError
from residua.predict.inputs import Item
from residua.predict.result import Failure, Prediction, Result

#: The journal is given to the disk this often, in seconds.
SYNC_SECONDS = 1.0


class Journal:
    """The results that are kept so far of answers that shall be written to `out`.

    `about` is what the answers depend on. With `resume` what is there is taken up where it is about the same. Raises
    DataError where something is there and is not to be, or cannot be, taken up.
    """

    def __init__(self, out: Path, about: dict[str, Any], *, batch_size: int, resume: bool) -> None:
        """Begin, or take up what is there: `done` is how many results."""
        self.path, self.batch_size, self.done = out.with_name(f"{out.name}.part"), batch_size, 0
        about = {"residua": "answers", "batch_size": batch_size, **about}
        if not self.path.exists():
            self._begin(about)
        elif not resume:
            raise DataError(
                f"{self.path} is what an interrupted command left: --resume goes on with it; delete it to begin anew"
            )
        else:
            self._take_up(about)

    def _begin(self, about: dict[str, Any]) -> None:
        try:
            self.path.write_text(json.dumps(about) + "\n", encoding="utf-8")
        except OSError as e:
            raise DataError(f"cannot write {self.path}: {e.strerror or e}; choose another place") from e

    def _take_up(self, about: dict[str, Any]) -> None:
        """Count what is whole and cut the rest off. Raises DataError where the answers would be others."""
        ends, lines, begun = [0], 0, None  # where each whole batch ends, the first line's end first
        with open(self.path, "rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except ValueError:  # cut off, as the last line may be
                    break
                if not line.endswith(b"\n"):
                    break
                if begun is None:
                    begun, ends = value, [file.tell()]
                    continue
                lines += 1
                if lines % self.batch_size == 0:
                    ends.append(file.tell())
        if begun is None:  # not even the first line is whole
            self._begin(about)
            return
        if changed := [k for k in about if begun.get(k) != about[k]]:
            raise DataError(f"{self.path} was begun with another {changed[0]}: delete it to begin anew")
        self.done = lines // self.batch_size * self.batch_size
        os.truncate(self.path, ends[-1])

    def skipping(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items that are not answered yet. Raises DataError where those that are were others."""
        items = iter(items)
        for kept in self.results():
            item = next(items, None)
            if item is None or kept.path != item.name:
                now = "nothing" if item is None else shown(item.name)
                raise DataError(
                    f"{self.path} was begun with other pictures ({shown(kept.path)} where now is {now}): "
                    f"delete it to begin anew"
                )
        yield from items

    def results(self) -> Iterator[Result]:
        """What is kept, in order."""
        with open(self.path, encoding="utf-8") as file:
            for line in islice(file, 1, 1 + self.done):
                value = json.loads(line)
                if "reason" in value:
                    yield Failure(value["path"], value["reason"])
                else:
                    yield Prediction(value["path"], tuple(value["classes"]), tuple(value["probabilities"]))

    def keep(self, results: Iterable[Result]) -> Iterator[Result]:
        """The same results, each kept once its batch is whole; the last batch may be short."""
        results, synced = iter(results), time.monotonic()
        with open(self.path, "ab") as file:
            while batch := list(islice(results, self.batch_size)):
                try:
                    file.write("".join(f"{_line(r)}\n" for r in batch).encode())
                    file.flush()
                    if time.monotonic() - synced >= SYNC_SECONDS:
                        os.fsync(file.fileno())
                        synced = time.monotonic()
                except OSError as e:
                    why = e.strerror or e
                    raise DataError(f"cannot write {self.path}: {why}; free some space, then --resume") from e
                self.done += len(batch)
                yield from batch

    def close(self) -> None:
        """The answers are written: the journal, and what a killed command left half written, go away."""
        self.path.unlink(missing_ok=True)
        name = self.path.name.removesuffix(".part")
        for left in self.path.parent.glob(f".{_plain(name)}.*.tmp"):
            with suppress(OSError):
                left.unlink()


def begun(out: Path) -> dict[str, Any]:
    """What an interrupted command was asked whose answers were to be written to `out`; {} where there is none."""
    with suppress(OSError, ValueError), open(out.with_name(f"{out.name}.part"), encoding="utf-8") as file:
        value = json.loads(file.readline())
        return value if isinstance(value, dict) else {}
    return {}


def _line(result: Result) -> str:
    value = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(result).items()}
    return json.dumps(value)  # bytes of a name that are no text become escapes, and those come back


def _plain(name: str) -> str:
    """A name as a pattern that fits it alone."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def asked(files: Sequence[Path], top: int) -> dict[str, Any]:
    """What answers depend on beside the pictures: the models, and how many classes are named."""
    return {"model": list(map(digest, files)), "top": top}


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
