"""What Triton Inference Server has to know of a model: `ModelConfig` in protobuf's text format.

Sources: Triton's "Model Configuration", model_config.proto, and the README of its OpenVINO backend.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from residua.errors import one_line
from residua.export.exported import Array, Exported

CONFIG, LABELS = "config.pbtxt", "labels.txt"
#: Triton's backend of each format.
BACKENDS = {"onnx": "onnxruntime", "openvino": "openvino"}
#: Pictures that go through a net together, at most; as `residua serve` has it.
BATCH = 16
#: Triton's names of the types of numbers.
TYPES = {"uint8": "UINT8", "int64": "INT64", "float32": "FP32", "float64": "FP64"}
#: The outputs whose numbers are one for each class.
BY_CLASS = ("probabilities", "logits")


def config(name: str, exported: Exported, found: Mapping[str, Array]) -> str:
    """The text of a model's config.pbtxt; `found` is what the file has said, whose types are its own.

    Triton puts requests of one size together where the first axis of everything is the pictures of a batch. Its
    OpenVINO backend would then take nothing but full batches, so it is given each request as it is.
    """
    words = exported.words
    batched = exported.batch is None and exported.to != "openvino"
    into, first = words["input"], 1 if batched else 0
    lines = [
        f"# takes {into['name']} ({into['order']}); before that: {one_line(into['before'])}",
        f'name: "{name}"',
        f'backend: "{BACKENDS[exported.to]}"',
        f"max_batch_size: {BATCH if batched else 0}",
        *_tensor("input", into["name"], np.dtype(into["dtype"]), into["shape"][first:]),
    ]
    for out in words["outputs"]:
        labels = LABELS if out["name"] in BY_CLASS else None
        lines += _tensor("output", out["name"], found[out["name"]].dtype, out["shape"][first:], labels)
    if batched:
        lines.append("dynamic_batching { }")
    if exported.to == "openvino":
        lines.append("instance_group [ { kind: KIND_CPU } ]  # all that the backend knows")
    return "\n".join(lines) + "\n"


def _tensor(kind: str, name: str, dtype: Any, shape: Sequence[Any], labels: str | None = None) -> list[str]:
    """An input or output; axes with a name are of any length."""
    dims = ", ".join(str(n) if isinstance(n, int) else "-1" for n in shape)
    own = [f'  label_filename: "{labels}"'] if labels else []
    return [
        f"{kind} {{", f'  name: "{name}"', f"  data_type: TYPE_{TYPES[str(np.dtype(dtype))]}", f"  dims: [ {dims} ]",
        *own, "}",
    ]  # fmt: skip
