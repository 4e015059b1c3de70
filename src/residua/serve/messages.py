"""The messages of the Open Inference Protocol over gRPC, from a table of their fields.

They live in a pool of their own: another program's copies of the same messages in this process, such as a client's,
are not touched. Source: the protocol's service `inference.GRPCInferenceService` (field names, numbers and types).
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE, SERVICE = "inference", "inference.GRPCInferenceService"

#: Of each message its fields by name: number, and type; "*" is a list, "map" from text to a parameter.
FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "ServerLiveRequest": {}, "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {}, "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": (1, "string"), "version": (2, "string"), "extensions": (3, "*string")},
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelMetadataResponse.TensorMetadata": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "*int64")},
    "ModelMetadataResponse": {
        "name": (1, "string"), "versions": (2, "*string"), "platform": (3, "string"),
        "inputs": (4, "*ModelMetadataResponse.TensorMetadata"), "outputs": (5, "*ModelMetadataResponse.TensorMetadata"),
    },
    "InferParameter": {
        "bool_param": (1, "bool"), "int64_param": (2, "int64"), "string_param": (3, "string"),
        "double_param": (4, "double"), "uint64_param": (5, "uint64"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "*bool"), "int_contents": (2, "*int32"), "int64_contents": (3, "*int64"),
        "uint_contents": (4, "*uint32"), "uint64_contents": (5, "*uint64"), "fp32_contents": (6, "*float"),
        "fp64_contents": (7, "*double"), "bytes_contents": (8, "*bytes"),
    },
    "ModelInferRequest.InferInputTensor": {
        "name": (1, "string"), "datatype": (2, "string"), "shape": (3, "*int64"), "parameters": (4, "map"),
        "contents": (5, "InferTensorContents"),
    },
    "ModelInferRequest.InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, "map")},
    "ModelInferRequest": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"), "parameters": (4, "map"),
        "inputs": (5, "*ModelInferRequest.InferInputTensor"),
        "outputs": (6, "*ModelInferRequest.InferRequestedOutputTensor"), "raw_input_contents": (7, "*bytes"),
    },
    "ModelInferResponse.InferOutputTensor": {
        "name": (1, "string"), "datatype": (2, "string"), "shape": (3, "*int64"), "parameters": (4, "map"),
        "contents": (5, "InferTensorContents"),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"), "parameters": (4, "map"),
        "outputs": (5, "*ModelInferResponse.InferOutputTensor"), "raw_output_contents": (6, "*bytes"),
    },
}  # fmt: skip
#: Types that are no messages.
PLAIN = ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes")
#: The message of which one field at most is set.
CHOICE = {"InferParameter": "parameter_choice"}


def _field(message: Any, name: str, number: int, kind: str) -> None:
    """Add a field to the description of a message."""
    types = descriptor_pb2.FieldDescriptorProto
    made = message.field.add(name=name, number=number, label=types.LABEL_OPTIONAL)
    if kind == "map":
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _field(entry, "key", 1, "string")
        _field(entry, "value", 2, "InferParameter")
        kind = f"*{_full(message)}.{entry.name}"
    if kind.startswith("*"):
        made.label, kind = types.LABEL_REPEATED, kind[1:]
    if kind in PLAIN:
        made.type = types.Type.Value(f"TYPE_{kind.upper()}")
    else:
        made.type, made.type_name = types.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


def _full(message: Any) -> str:
    """The name of a message with that of the one it stands in."""
    return next(name for name in FIELDS if name.rpartition(".")[2] == message.name)


def _file() -> Any:
    """All messages as the description of one file."""
    file = descriptor_pb2.FileDescriptorProto(
        name="residua/open_inference.proto", package=PACKAGE, syntax="proto3"
    )  # fmt: skip
    made = {name: file.message_type.add(name=name) for name in FIELDS if "." not in name}
    for name in FIELDS:
        outer, _, inner = name.partition(".")
        made[name] = made[outer].nested_type.add(name=inner) if inner else made[name]
    for name, fields in FIELDS.items():
        if name in CHOICE:
            made[name].oneof_decl.add(name=CHOICE[name])
        for field, (number, kind) in fields.items():
            _field(made[name], field, number, kind)
            if name in CHOICE:
                made[name].field[-1].oneof_index = 0
    return file


def messages() -> Mapping[str, Any]:
    """The class of every message by name."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in FIELDS}
