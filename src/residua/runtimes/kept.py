"""Prepared graphs, kept: found again by all that they depend on, whole or not at all, within a bound.

A graph is a folder of its own, named by a digest of everything that made it. `record.json` is written last and holds
the digests of the other files: what is torn, cut or changed is made again. Where nothing can be written the graph lives
as long as the process.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residua.data.cache import home
from residua.predict.journal import digest

#: The bytes that all graphs together may take; the one that was not used for longest goes first.
LIMIT = 4 * 2**30
#: What a killed command left half made is taken away after so many seconds.
ABANDONED = 24 * 3600
RECORD = "record.json"
#: Changed with what this module writes.
VERSION = 1


@dataclass(frozen=True, eq=False)
class Graph:
    """A folder with the files of a graph, and what was noted when it was made. `fresh`: it was made just now."""

    folder: Path
    notes: Mapping[str, Any]
    fresh: bool
    why_not_kept: str | None = None


@dataclass(frozen=True)
class Shelf:
    """A folder of graphs."""

    folder: Path
    limit: int = LIMIT

    def find(self, key: str) -> Graph | None:
        """The graph of a key, as it was put there; one that is damaged goes away."""
        place = self.folder / key
        try:
            record = json.loads((place / RECORD).read_text(encoding="utf-8"))
            whole = record["version"] == VERSION and all(digest(place / n) == d for n, d in record["files"].items())
            notes = dict(record["notes"])
        except FileNotFoundError:
            whole = not place.exists()
            if whole:
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            shutil.rmtree(place, ignore_errors=True)
            return None
        with suppress(OSError):
            os.utime(place)  # used now
        return Graph(place, notes, fresh=False)

    def put(self, key: str, make: Callable[[Path], Mapping[str, Any]]) -> Graph:
        """The graph that `make` writes into a folder, kept under the key; what it returns is noted.

        Where `make` raises nothing is left. Of two processes that make the same, both have it and one keeps it.
        """
        try:
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(".tmp", f"{key}.", self.folder))
            why_not = None
        except OSError as e:
            folder = Path(tempfile.mkdtemp(prefix="residua-"))
            why_not = f"the graph is not kept: {self.folder}: {(e.strerror or str(e)).lower()}"
        made = folder
        try:
            notes = dict(make(folder))
            if why_not is None:
                made, why_not = self._keep(key, folder, notes)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        graph = Graph(made, notes, fresh=True, why_not_kept=why_not)
        if made == folder:  # it was not kept
            weakref.finalize(graph, shutil.rmtree, folder, ignore_errors=True)
        else:
            self.shrink(but=key)
        return graph

    def _keep(self, key: str, folder: Path, notes: Mapping[str, Any]) -> tuple[Path, str | None]:
        """Where the graph is from now on, and why it is not kept, if it is not."""
        place = self.folder / key
        try:
            files = {p.name: digest(p) for p in sorted(folder.iterdir())}
            with open(folder / RECORD, "w", encoding="utf-8") as file:
                json.dump({"version": VERSION, "files": files, "notes": notes}, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(folder, place)
        except OSError as e:
            if self.find(key) is not None:  # another process was first
                shutil.rmtree(folder, ignore_errors=True)
                return place, None
            return folder, f"the graph is not kept: {self.folder}: {(e.strerror or str(e)).lower()}"
        return place, None

    def shrink(self, but: str) -> None:
        """Take away what was not used for longest until all is within the limit; never the graph of this key."""
        with suppress(OSError):
            found = sorted((p.stat().st_mtime, p) for p in self.folder.iterdir() if p.is_dir() and p.name != but)
            sizes = {p: sum(f.stat().st_size for f in p.iterdir()) for _, p in found}
            total = sum(sizes.values()) + sum(f.stat().st_size for f in (self.folder / but).iterdir())
            for used, p in found:
                being_made = p.name.endswith(".tmp")
                if (total > self.limit and not being_made) or (being_made and used < time.time() - ABANDONED):
                    shutil.rmtree(p, ignore_errors=True)
                    total -= sizes[p]


def shelf() -> Shelf:
    """The user's own: in $RESIDUA_CACHE, or in `residua` of $XDG_CACHE_HOME or ~/.cache."""
    return Shelf(home().with_name("runtimes"))


def key_of(words: Mapping[str, Any]) -> str:
    """A name for what depends on these words."""
    return hashed(json.dumps(words, sort_keys=True).encode())[:32]


def hashed(content: bytes) -> str:
    """The SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()
