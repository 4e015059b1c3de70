"""The formats that models are exported to: their files, and the libraries that they need. Imports nothing heavy."""

from importlib.util import find_spec

from residua.errors import UsageError

#: The files of each format; the first is the one that is named.
SUFFIXES: dict[str, tuple[str, ...]] = {"onnx": (".onnx",), "pt2": (".pt2",), "openvino": (".xml", ".bin")}
#: The extra that each format needs, and the libraries in it.
NEEDS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "nncf", "onnx", "onnxscript"),
    "pt2": (),
}
#: Formats with a well-kept way to int8.
INT8 = ("onnx", "openvino")
#: Formats that model servers read out of a repository.
SERVED = ("onnx", "openvino")


def need(to: str, what: str | None = None) -> None:
    """Raise UsageError where a library that the format needs is missing."""
    if missing := [name for name in NEEDS[to] if find_spec(name) is None]:
        raise UsageError(f"{what or f'--to {to}'} needs {', '.join(missing)}: pip install 'residua[{to}]'")


def check_int8(to: str) -> None:
    """Raise UsageError for a format without a way to int8."""
    if to not in INT8:
        raise UsageError(f"--int8 is for {' and '.join(INT8)}: torch has no well-kept way to an int8 {to} file")


def check_served(to: str) -> None:
    """Raise UsageError for a format that no model server reads out of a repository."""
    if to not in SERVED:
        raise UsageError(
            f"--repository is for {' and '.join(SERVED)}: Triton and OpenVINO Model Server run no {to} files"
        )
