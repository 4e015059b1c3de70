"""Tensors of the Open Inference Protocol: as bytes one after the other, and as JSON.

Source: the protocol's "Inference Request JSON Object", and its binary tensor data extension: numbers are little-endian
in row-major order, each byte string has its length before it, 4 bytes.
"""

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from residua.serve.answerer import Values
from residua.serve.limits import Refused

#: Datatypes of the protocol and numpy's; BYTES are byte strings.
KINDS: dict[str, Any] = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BYTES": np.object_,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Named:
    """A tensor with its name and datatype."""

    name: str
    datatype: str
    values: Values

    @property
    def shape(self) -> list[int]:
        """Its sides."""
        return list(self.values.shape)


def checked(name: Any, datatype: Any, shape: Any) -> tuple[str, str, tuple[int, ...]]:
    """Name, datatype and shape as they may be. Raises Refused (400)."""
    if not isinstance(name, str) or not name:
        raise Refused(400, "an input needs a name")
    if not isinstance(datatype, str) or datatype not in KINDS:
        raise Refused(400, f"input {name!r}: unknown datatype {str(datatype)[:40]!r}: known are {', '.join(KINDS)}")
    if not isinstance(shape, Sequence) or not all(type(n) is int and 0 <= n < 2**31 for n in shape) or len(shape) > 8:
        raise Refused(400, f"input {name!r}: a shape is a list of at most 8 whole numbers of at least 0")
    return name, datatype, tuple(shape)


def of_bytes(name: str, datatype: str, shape: tuple[int, ...], raw: memoryview) -> Named:
    """The tensor that these bytes are. Raises Refused (400) where they are too many or too few."""
    count = math.prod(shape)
    if datatype == "BYTES":
        return Named(name, datatype, _strings(name, raw, count).reshape(shape))
    kind = np.dtype(KINDS[datatype]).newbyteorder("<")
    if len(raw) != count * kind.itemsize:
        raise Refused(400, f"input {name!r}: {len(raw):,} bytes, its shape needs {count * kind.itemsize:,}")
    return Named(name, datatype, np.frombuffer(raw, kind).reshape(shape).astype(KINDS[datatype]))


def _strings(name: str, raw: memoryview, count: int) -> Values:
    found: list[bytes] = []
    at = 0
    while at + 4 <= len(raw) and len(found) < count:
        length = int.from_bytes(raw[at : at + 4], "little")
        at += 4
        if length > len(raw) - at:
            raise Refused(400, f"input {name!r}: its element {len(found)} is cut off")
        found.append(bytes(raw[at : at + length]))
        at += length
    if len(found) != count or at != len(raw):
        raise Refused(400, f"input {name!r}: its bytes are not the {count:,} elements of its shape")
    return _objects(found)


def _objects(found: Sequence[bytes]) -> Values:
    made = np.empty(len(found), np.object_)
    made[:] = found
    return made


def of_json(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> Named:
    """The tensor of JSON data, nested or flat; BYTES are base64. Raises Refused (400)."""
    flat = list(_flat(data))
    if len(flat) != math.prod(shape):
        raise Refused(400, f"input {name!r}: {len(flat):,} elements, its shape needs {math.prod(shape):,}")
    try:
        if datatype == "BYTES":
            return Named(name, datatype, _objects([base64.b64decode(s, validate=True) for s in flat]).reshape(shape))
        if not all(type(v) in (int, float, bool) for v in flat):
            raise ValueError
        with np.errstate(all="ignore"):
            values = np.array(flat, KINDS[datatype]).reshape(shape)
    except (binascii.Error, TypeError, ValueError, OverflowError):
        what = "base64" if datatype == "BYTES" else datatype
        raise Refused(400, f"input {name!r}: its data are not {what}") from None
    return Named(name, datatype, values)


def _flat(data: Any) -> Any:
    """The elements of nested lists, however deep: without recursion, which a client could drive too far."""
    todo = [iter([data])]
    while todo:
        for value in todo[-1]:
            if isinstance(value, list):
                todo.append(iter(value))
                break
            yield value
        else:
            todo.pop()


def to_bytes(tensor: Named) -> bytes:
    """The tensor's bytes."""
    if tensor.datatype == "BYTES":
        return b"".join(len(s).to_bytes(4, "little") + s for s in tensor.values.ravel())
    return np.ascontiguousarray(tensor.values, np.dtype(KINDS[tensor.datatype]).newbyteorder("<")).tobytes()


def to_json(tensor: Named) -> list[Any]:
    """The tensor's elements, flat; byte strings are text, and numbers that are not finite null."""
    flat = tensor.values.ravel().tolist()
    if tensor.datatype == "BYTES":
        return [s.decode("utf-8", "replace") for s in flat]
    return [v if math.isfinite(v) else None for v in flat]
