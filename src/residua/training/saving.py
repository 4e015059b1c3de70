"""The state of a training on the disk: two generations, each with a digest of its own contents.

``state/last.pt`` and ``state/previous.pt`` both load with ``torch.load(weights_only=True)``.
"""

import hashlib
import io
import os
import struct
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from residua import files
from residua.errors import DataError
from residua.nn.checkpoint import check_torch

#: The generations, the newest first.
GENERATIONS = ("last.pt", "previous.pt")


class States:
    """The states in a run's folder, written one at a time and in order."""

    def __init__(self, folder: Path, first: Path) -> None:
        """In the run `folder`; what is in the file `first` so far is given to the disk before every state."""
        self.folder, self.first = folder, first
        self._writer: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    def save(self, state: Mapping[str, Any], *, aside: bool = False) -> None:
        """Keep `state` (tensors, words, numbers) as the last; the one before becomes the previous.

        With `aside` a copy is written while the training goes on: what is changed from now on does not matter. Raises
        DataError where the disk refuses, this time or, aside, the last time.
        """
        self.settle()
        if not aside:
            self._write(state)
            return
        # A thread for each state: one that lives on keeps a team of OpenMP's threads, beside which steps take longer.
        self._writer = ThreadPoolExecutor(1, "residua-states")
        self._writing = self._writer.submit(self._write, copied(state))
        self._writer.shutdown(wait=False)

    def settle(self) -> None:
        """Wait for what is being written. Raises DataError where the disk refused."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Wait, and end the thread. Raises DataError where the disk refused."""
        try:
            self.settle()
        finally:
            if self._writer is not None:
                self._writer.shutdown()
                self._writer = None

    def _write(self, state: Mapping[str, Any]) -> None:
        synced(self.first)
        content = io.BytesIO()
        torch.save({"sha256": digest(state), "state": dict(state)}, content)
        last, previous = (self.folder / "state" / name for name in GENERATIONS)

        def rotate() -> None:
            if last.exists():
                os.replace(last, previous)

        with files.replacing(last, before=rotate) as temporary:
            temporary.write_bytes(content.getbuffer())
        synced(last.parent)

    def load(self) -> tuple[dict[str, Any], str | None]:
        """The newest whole state, and one line to say if that is not the last one. Raises DataError without any."""
        told = None
        for name in GENERATIONS:
            path = self.folder / "state" / name
            if not path.exists():
                continue
            state = read_state(path)
            if state is not None:
                return state, told
            told = f"{path} is damaged: going on from the state before it"
        raise DataError(f"{self.folder}: no whole state to resume from" + (f" ({path} is damaged)" if told else ""))


def read_state(path: Path) -> dict[str, Any] | None:
    """The state in a file; None unless it is whole. Raises UsageError where this torch reads files unsafely."""
    check_torch()
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        whole = kept["sha256"] == digest(kept["state"])
    except Exception:  # torch raises whatever the damage leads to
        return None
    return kept["state"] if whole else None


def copied(value: Any) -> Any:
    """The same nest of dicts, lists, tensors, words and numbers, in memory of its own and on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {k: copied(v) for k, v in value.items()}
    return type(value)(copied(v) for v in value) if isinstance(value, list | tuple) else value


def digest(value: Any) -> str:
    """sha256 over the kinds, names and bytes of a nest of dicts, lists, tensors, words and numbers."""
    h = hashlib.sha256()

    def add(v: Any) -> None:
        if isinstance(v, Tensor):
            h.update(f"tensor {v.dtype} {tuple(v.shape)}".encode())
            h.update(v.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(v, Mapping):
            h.update(f"dict {len(v)}".encode())
            for k, inner in v.items():
                add(k)
                add(inner)
        elif isinstance(v, list | tuple):
            h.update(f"list {len(v)}".encode())
            for inner in v:
                add(inner)
        elif isinstance(v, float):
            h.update(b"float" + struct.pack("<d", v))
        else:
            h.update(f"{type(v).__name__} {v!r}".encode())

    add(value)
    return h.hexdigest()


def synced(path: Path) -> None:
    """A file's bytes, or a folder's names, given to the disk; where a system cannot do that, it is left to it."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
