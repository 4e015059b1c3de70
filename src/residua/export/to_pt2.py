"""PyTorch's own format (``torch.export``): read again with torch alone."""

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from residua.errors import DataError
from residua.export.exported import KEY, Array, Exported, read_words
from residua.export.graphs import Graph

WORDS = f"{KEY}.json"


def traced(graph: Graph) -> ExportedProgram:
    """The graph as torch traces it, for every batch from one on; without the paths of this machine's files."""
    axes = {a: torch.export.Dim.DYNAMIC if graph.loose else torch.export.Dim(n, min=1) for a, n in graph.axes.items()}
    with quiet(), torch.no_grad():
        program = torch.export.export(graph.module, (graph.example,), dynamic_shapes=(axes,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def write(graph: Graph, words: Mapping[str, Any], folder: Path, name: str) -> None:
    """Write ``NAME.pt2`` into a folder; the words are an extra file in it."""
    with quiet():
        torch.export.save(traced(graph), folder / f"{name}.pt2", extra_files={WORDS: json.dumps(words)})


def opened(path: Path) -> Exported:
    """The file, ready to answer. Raises DataError for one that is damaged, foreign, or holds anything but numbers."""
    words: dict[str, Any] = {WORDS: ""}
    try:
        harmless(path)
        with quiet():
            program = torch.export.load(path, extra_files=words)
            module = program.module()
    except DataError:
        raise
    except Exception as e:
        raise DataError(f"{path} is damaged, or no exported program: {str(e).splitlines()[0][:200]}") from e
    said = read_words(words[WORDS], path)
    names = [o["name"] for o in said["outputs"]]

    def run(x: Array) -> dict[str, Array]:
        with torch.inference_mode():
            found = module(torch.from_numpy(np.ascontiguousarray(x)))
        values = found if isinstance(found, tuple | list) else (found,)
        return {name: value.numpy() for name, value in zip(names, values, strict=True)}

    return Exported(path, "pt2", said, run)


def harmless(path: Path) -> None:
    """Raise DataError for a file in which anything would be run when torch loads it (pickles of more than tensors)."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            short = name.rpartition("/")[2]
            if short.startswith(("custom_obj", "opaque_obj")) or "/aotinductor/" in name:
                raise DataError(f"{path} holds {short}, which is code, not numbers: it is not opened")
            if short.endswith("_config.json"):
                entries = json.loads(archive.read(name)).get("config", {}).values()
                if any(e.get("use_pickle") for e in entries):
                    raise DataError(f"{path} holds pickled weights, which could run code: it is not opened")
            if short.endswith(".pt"):
                with archive.open(name) as file:
                    try:
                        torch.load(file, weights_only=True)
                    except Exception as e:
                        raise DataError(f"{path} holds a pickle of more than tensors: it is not opened") from e


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings, log lines and bars of exporters: what they warn of is checked on the file itself."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
