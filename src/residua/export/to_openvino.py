"""OpenVINO's format: the same ONNX graph, read and saved by OpenVINO, and run by it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residua.errors import DataError
from residua.export import to_onnx
from residua.export.exported import KEY, Array, Exported, read_words
from residua.export.formats import need
from residua.export.graphs import Graph


def write(graph: Graph, words: Mapping[str, Any], folder: Path, name: str) -> None:
    """Write ``NAME.xml`` and ``NAME.bin`` into a folder; the words are in ``rt_info``. Weights stay fp32."""
    save(model(graph, words), words, folder, name)


def model(graph: Graph, words: Mapping[str, Any]) -> Any:
    """The graph as an OpenVINO model; read from ONNX, so that no converter of OpenVINO's sends usage data."""
    need("openvino")
    import openvino

    return openvino.Core().read_model(to_onnx.model(graph, words).SerializeToString())


def save(made: Any, words: Mapping[str, Any], folder: Path, name: str) -> None:
    """Write a model with its words."""
    import openvino

    made.set_rt_info(json.dumps(words), [KEY])
    for i, label in enumerate(words["classes"]):
        made.set_rt_info(label, ["model_info", "labels", str(i)])
    openvino.save_model(made, folder / f"{name}.xml", compress_to_fp16=False)


def opened(path: Path) -> Exported:
    """The file, ready to answer on the CPU in fp32. Raises DataError for one that is damaged or foreign."""
    need("openvino", str(path))
    import openvino

    try:
        core = openvino.Core()
        made = core.read_model(path)
        text = made.get_rt_info([KEY]).astype(str) if made.has_rt_info([KEY]) else None
        said = read_words(text, path)
        compiled = core.compile_model(made, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as e:
        raise DataError(f"{path} is damaged, or no OpenVINO model: {str(e).splitlines()[0][:200]}") from e
    names = [o["name"] for o in said["outputs"]]

    def run(x: Array) -> dict[str, Array]:
        found = compiled(x)
        return {name: found[name].copy() for name in names}

    return Exported(path, "openvino", said, run)
