"""ONNX Runtime: the graph as `residua export --raw` writes it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from residua.errors import DataError
from residua.export import to_onnx
from residua.export.exported import Array
from residua.export.graphs import Graph

FILES = ("net.onnx",)
#: Pictures that go through the net together: the maps of more do not stay in the caches.
SLICE = 16


def write(graph: Graph, words: Mapping[str, Any], folder: Path) -> None:
    """Write the graph, in fp32, its norms folded already."""
    to_onnx.write(graph, words, folder, "net")


def opened(folder: Path, precision: str, threads: int) -> Callable[[Array], Array]:
    """The graph at work: float32 (N, C, S, S) -> (N, K). Raises DataError for a damaged one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Threads that turn while they wait would take the cores from those that read pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(folder / FILES[0]), options, providers=["CPUExecutionProvider"])
    except Exception as e:
        raise DataError(f"{folder} is damaged: {str(e).splitlines()[0][:200]}") from e
    into = session.get_inputs()[0].name

    def run(x: Array) -> Array:
        return np.concatenate([session.run(None, {into: x[i : i + SLICE]})[0] for i in range(0, len(x), SLICE)])

    return run
