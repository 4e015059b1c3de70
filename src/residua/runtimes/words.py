"""The runtimes by name: what each can do, and which extra it needs. Imports nothing heavy."""

from dataclasses import dataclass
from importlib.util import find_spec

from residua.errors import UsageError
from residua.words import unknown

#: What may be asked for; auto is one of the others.
RUNTIMES = ("auto", "eager", "compiled", "onnx", "openvino")
#: The libraries of those that need more than torch; the extra has the runtime's name.
NEEDS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
}
#: To make an int8 graph, these too.
NEEDS_INT8: dict[str, tuple[str, ...]] = {"onnx": (), "openvino": ("nncf", "onnx", "onnxscript")}
#: The precisions that each computes in; "int8" by a graph made for it.
PRECISIONS: dict[str, tuple[str, ...]] = {
    "eager": ("fp32", "bf16", "fp16"),
    "compiled": ("fp32", "bf16", "fp16"),
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
}
#: Those whose graphs are kept, and which compute on the CPU.
GRAPHS = ("openvino", "onnx")


@dataclass(frozen=True)
class Int8:
    """What int8 is calibrated on and judged by: a data set, and how many points of accuracy may be lost."""

    data: str
    tolerance: float
    root: str | None = None


def missing(runtime: str, *, int8: bool = False) -> list[str]:
    """The libraries of a runtime that are not installed."""
    libraries = NEEDS.get(runtime, ()) + (NEEDS_INT8.get(runtime, ()) if int8 else ())
    return [name for name in libraries if find_spec(name) is None]


def check(runtime: str, *, int8: bool = False) -> None:
    """Raise UsageError for a word that is no runtime, one without int8, and one whose libraries are missing."""
    if runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIMES)
    if int8 and runtime not in ("auto", *GRAPHS):
        raise UsageError(f"--int8 is for --runtime {' and '.join(GRAPHS)}: torch has no well-kept way to int8")
    if int8 and runtime == "auto":
        if all(missing(name, int8=True) for name in GRAPHS):
            raise UsageError("--int8 needs OpenVINO or ONNX Runtime: pip install 'residua[openvino]'")
        return
    if absent := missing(runtime, int8=int8):
        raise UsageError(f"--runtime {runtime} needs {', '.join(absent)}: pip install 'residua[{runtime}]'")


def check_precision(runtime: str, precision: str) -> None:
    """Raise UsageError for a precision that a runtime does not compute in."""
    if runtime != "auto" and precision not in ("auto", *PRECISIONS[runtime]):
        others = [name for name in PRECISIONS if precision in PRECISIONS[name] and name != "eager"]
        use = f"use --runtime {others[-1]}, or --precision fp32" if others else "use --precision fp32"
        raise UsageError(f"--runtime {runtime} does not compute in {precision}: {use}")
