"""ONNX, by torch's exporter, which is asked nothing that we can do ourselves; read by ONNX Runtime."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residua.errors import DataError
from residua.export.exported import KEY, Array, Exported, read_words
from residua.export.formats import need
from residua.export.graphs import Graph
from residua.export.to_pt2 import quiet, traced

#: ONNX Runtime reads this one from 1.17 on.
OPSET = 20


def write(graph: Graph, words: Mapping[str, Any], folder: Path, name: str) -> None:
    """Write ``NAME.onnx`` into a folder; the words are in its metadata, the class names also as ``names``."""
    (folder / f"{name}.onnx").write_bytes(model(graph, words).SerializeToString())


def model(graph: Graph, words: Mapping[str, Any]) -> Any:
    """The graph as an ONNX model."""
    need("onnx")
    import onnx
    import torch

    with quiet():
        program = torch.onnx.export(
            traced(graph), dynamo=True, input_names=[graph.input], output_names=list(graph.outputs),
            opset_version=OPSET, verbose=False,
        )  # fmt: skip
    assert program is not None
    made = program.model_proto
    for value in (*made.graph.node, *made.graph.input, *made.graph.output, *made.graph.value_info):
        del value.metadata_props[:]  # names of our functions, paths of this machine's files
        value.doc_string = ""
    _name_axes(made, graph)
    onnx.helper.set_model_props(made, told(words))
    onnx.checker.check_model(made, full_check=True)
    return made


def _name_axes(made: Any, graph: Graph) -> None:
    """Give the axes that may change their own names instead of the exporter's."""
    own = {d.dim_param: n for d, n in zip(made.graph.input[0].type.tensor_type.shape.dim, graph.shape, strict=True)}
    for value in (*made.graph.input, *made.graph.output, *made.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in own and dim.dim_param:
                dim.dim_param = own[dim.dim_param]


def told(words: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a file: all words as one document, and what people look for under names of its own."""
    flat = {k: words.get(k) for k in ("task", "arch", "licence", "author")}
    return {
        KEY: json.dumps(words, ensure_ascii=False),
        "names": json.dumps(dict(enumerate(words["classes"])), ensure_ascii=False),
        **{k: str(v) for k, v in flat.items() if v},
    }


def opened(path: Path) -> Exported:
    """The file, ready to answer on the CPU. Raises DataError for one that is damaged or foreign."""
    need("onnx", str(path))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as e:
        raise DataError(f"{path} is damaged, or no ONNX file: {str(e).splitlines()[0][:200]}") from e
    said = read_words(session.get_modelmeta().custom_metadata_map.get(KEY), path)
    names, into = [o.name for o in session.get_outputs()], session.get_inputs()[0].name

    def run(x: Array) -> dict[str, Array]:
        return dict(zip(names, session.run(None, {into: x}), strict=True))

    return Exported(path, "onnx", said, run)
