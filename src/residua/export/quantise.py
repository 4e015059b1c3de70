"""Static int8: weights by channel, maps by what training pictures make of them. By well-kept libraries."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from residua.export import to_onnx, to_openvino
from residua.export.exported import Array
from residua.export.formats import check_int8, need
from residua.export.graphs import Graph
from residua.export.to_pt2 import quiet

#: So many training pictures say how large maps get (NNCF's own number).
PICTURES = 300
#: What ONNX Runtime computes in int8; a residual sum between convolutions stays in int8 so.
OPERATIONS = ("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat")


def write(
    to: str, graph: Graph, words: Mapping[str, Any], folder: Path, name: str, *, inputs: Sequence[Array]
) -> None:  # fmt: skip
    """Write the graph in int8, calibrated on `inputs`. Raises UsageError for a format without a way to it."""
    check_int8(to)
    if to == "onnx":
        _onnx(graph, words, folder / f"{name}.onnx", inputs)
    else:
        to_openvino.save(_openvino(graph, words, inputs), words, folder, name)


def _onnx(graph: Graph, words: Mapping[str, Any], path: Path, inputs: Sequence[Array]) -> None:
    """By ONNX Runtime: QDQ, weights int8 by channel with 7 bits, so that processors without VNNI add them up without
    saturating, maps uint8."""
    need("onnx", "--int8")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantised

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        """The inputs, one after the other."""

        def __init__(self) -> None:
            self.rest = iter(inputs)

        def get_next(self) -> dict[str, Array] | None:
            """The next one; None behind the last."""
            return next(({graph.input: x} for x in self.rest), None)

    made = to_onnx.model(graph, words)
    with quiet():
        quantised(
            made, path, Pictures(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=list(OPERATIONS),
            nodes_to_exclude=outside(made), calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip
    after = onnx.load(path)
    onnx.helper.set_model_props(after, to_onnx.told(words))
    onnx.save(after, path)


def outside(made: Any) -> list[str]:
    """The names of the nodes that stay as they are: what is done to pixels, the first convolution, the classifier.

    The first and the last layer cost little and matter most.
    """
    makers = {output: node for node in made.graph.node for output in node.output}
    first = next(node for node in made.graph.node if node.op_type == "Conv")
    found, todo = dict[str, None](), [first.input[0]]
    while todo:
        node = makers.get(todo.pop())
        if node is not None and node.name not in found:
            found[node.name] = None
            todo += node.input
    last = [node for node in made.graph.node if node.op_type == "Gemm"][-1:]
    return [*found, first.name, *(node.name for node in last)]


def _openvino(graph: Graph, words: Mapping[str, Any], inputs: Sequence[Array]) -> Any:
    """By NNCF, for CPUs; weights with 7 bits, as above."""
    need("openvino", "--int8")
    os.environ["NNCF_CI"] = "1"  # or it would send usage data
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    made = to_openvino.model(graph, words)
    nncf.set_log_level(40)
    with quiet():
        return nncf.quantize(
            made, nncf.Dataset(list(inputs)), subset_size=len(inputs), target_device=nncf.TargetDevice.CPU,
            advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
        )  # fmt: skip
