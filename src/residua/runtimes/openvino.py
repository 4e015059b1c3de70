"""OpenVINO: the graph straight from torch's own trace, without ONNX between, and at work on slices side by side."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from residua.errors import DataError
from residua.export import to_openvino
from residua.export.exported import Array
from residua.export.graphs import Graph
from residua.export.to_pt2 import quiet, traced

FILES = ("net.xml", "net.bin")
#: Pictures that go through the net together on one stream: more do not fit into the caches, fewer leave them idle.
SLICE = 8
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def write(graph: Graph, words: Mapping[str, Any], folder: Path) -> None:
    """Write the graph, in fp32, its norms folded already.

    By OpenVINO's reader of exported programs, called directly: its converter around that would send usage data.
    """
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with quiet():
        decoder = TorchFXPythonDecoder.from_exported_program(traced(graph))
        reader = FrontEndManager().load_by_framework("pytorch")
        made = reader.convert(reader.load(decoder))
    made.reshape(PartialShape([-1, *graph.example.shape[1:]]))
    made.inputs[0].set_names({graph.input})
    made.outputs[0].set_names({graph.outputs[0]})
    to_openvino.save(made, words, folder, "net")


def opened(folder: Path, precision: str, threads: int) -> Callable[[Array], Array]:
    """The graph at work: float32 (N, C, S, S) -> (N, K). Raises DataError for a damaged one.

    A single picture is computed by all threads together; of more, slices go to as many streams as suit the processor,
    which wait for each other once a batch and not once an operation.
    """
    import openvino

    core = openvino.Core()
    try:
        net = core.read_model(folder / FILES[0])
    except RuntimeError as e:
        raise DataError(f"{folder} is damaged: {str(e).splitlines()[0][:200]}") from e

    def compiled(hint: str) -> Any:
        # Threads bound to cores would wait for the threads that read pictures there.
        how = {
            "PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": HINTS[precision],
        }  # fmt: skip
        return core.compile_model(net, "CPU", how)

    return _Both(lambda: compiled("LATENCY").create_infer_request(), lambda: _Streams(compiled("THROUGHPUT")))


class _Both:
    """What answers for one picture, and what answers for many; each is made when it is needed first."""

    def __init__(self, one: Callable[[], Any], many: Callable[[], "_Streams"]) -> None:
        self.make_one, self.make_many = one, many
        self.one: Any = None
        self.many: _Streams | None = None

    def __call__(self, x: Array) -> Array:
        if len(x) > 1:
            self.many = self.many or self.make_many()
            return self.many(x)
        self.one = self.one or self.make_one()
        found: Array = self.one.infer([x], share_inputs=True)[0].copy()
        return found


class _Streams:
    """A graph on several streams."""

    def __init__(self, compiled: Any) -> None:
        import openvino

        self.queue = openvino.AsyncInferQueue(compiled)
        self.queue.set_callback(self._done)
        self.out: list[Array] = []

    def __call__(self, x: Array) -> Array:
        each = min(SLICE, -(-len(x) // len(self.queue)))
        slices = [x[i : i + each] for i in range(0, len(x), each)]
        self.out = [np.empty(0)] * len(slices)
        for i, part in enumerate(slices):
            self.queue.start_async([part], userdata=i, share_inputs=True)
        self.queue.wait_all()
        return np.concatenate(self.out)

    def _done(self, request: Any, i: int) -> None:
        self.out[i] = request.get_output_tensor(0).data.copy()
