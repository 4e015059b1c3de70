"""The Open Inference Protocol over gRPC: the same models, queues, limits and token as over HTTP."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np

from residua.errors import UsageError
from residua.serve import infer, tensors
from residua.serve.answerer import Values
from residua.serve.guard import FAILED, allowed, now
from residua.serve.hosted import VERSION, Hall
from residua.serve.limits import Refused
from residua.serve.messages import SERVICE, messages
from residua.serve.tensors import Named
from residua.serve.waiting import too_slow

Code: Any = grpc.StatusCode
CODES = {
    400: Code.INVALID_ARGUMENT, 401: Code.UNAUTHENTICATED, 404: Code.NOT_FOUND, 413: Code.RESOURCE_EXHAUSTED,
    429: Code.RESOURCE_EXHAUSTED, 503: Code.UNAVAILABLE,
}  # fmt: skip
#: Which field of the contents holds the numbers of a datatype; FP16 goes as bytes only.
CONTENTS = {
    "BOOL": "bool", "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64", "UINT8": "uint", "UINT16": "uint",
    "UINT32": "uint", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes",
}  # fmt: skip
#: Of a message beside its tensors.
ROOM_BYTES = 2**20
OPEN = ("ServerLive", "ServerReady")


class Rpc:
    """The service on a port."""

    def __init__(self, hall: Hall, token: str | None) -> None:
        """Not started yet."""
        self.hall, self.token, self.made = hall, token, messages()
        most = hall.limits.body_bytes + ROOM_BYTES
        self.server = grpc.aio.server(
            maximum_concurrent_rpcs=hall.limits.concurrency,
            options=[
                ("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )  # fmt: skip
        works = {
            "ServerLive": self._live, "ServerReady": self._ready, "ModelReady": self._model_ready,
            "ServerMetadata": self._server, "ModelMetadata": self._model, "ModelInfer": self._infer,
        }  # fmt: skip
        handlers = {name: self._handler(name, work) for name, work in works.items()}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def start(self, host: str, port: int) -> str:
        """Listen; the address. Raises UsageError."""
        where = f"[{host}]" if ":" in host else host
        try:
            found = self.server.add_insecure_port(f"{where}:{port}")
        except RuntimeError as e:
            raise UsageError(f"cannot listen on {host} port {port} for gRPC: choose another --grpc-port") from e
        await self.server.start()
        return f"{where}:{found}"

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, and end once what was accepted is answered, or after so many seconds."""
        await self.server.stop(seconds)

    def _handler(self, name: str, work: Callable[[Any, dict[str, Any]], Awaitable[Any]]) -> Any:
        """One method: the door, the work, one line for the log; errors as gRPC has them."""

        async def handle(request: Any, context: Any) -> Any:
            began, code, line = time.monotonic(), Code.OK, ""
            told: dict[str, Any] = {}
            given = dict(context.invocation_metadata()).get("authorization")
            try:
                if name not in OPEN and not allowed(given, self.token):
                    raise Refused(401, "a token is needed: metadata authorization: Bearer TOKEN")
                return await work(request, told)
            except Refused as e:
                code, line = CODES.get(e.status, Code.INTERNAL), e.line
            except Exception as e:
                self.hall.hear({"event": "error", "time": now(), "error": type(e).__name__, "why": str(e)[:300]})
                code, line = Code.INTERNAL, FAILED.line
            finally:
                self._tell(name, context, code, time.monotonic() - began, told)
            return await context.abort(code, line)

        request, response = self.made[f"{name}Request"], self.made[f"{name}Response"]
        return grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=request.FromString, response_serializer=response.SerializeToString
        )

    def _tell(self, name: str, context: Any, code: Any, seconds: float, told: dict[str, Any]) -> None:
        self.hall.meters.requests.labels("grpc", name, code.name).inc()
        self.hall.meters.request_seconds.labels("grpc", name).observe(seconds)
        self.hall.hear({
            "event": "request", "time": now(), "protocol": "grpc", "client": context.peer(), "method": name,
            "status": code.name, "ms": round(1000 * seconds, 2), **told,
        })  # fmt: skip

    # -- the methods ------------------------------------------------------------------------------------------------

    async def _live(self, request: Any, told: dict[str, Any]) -> Any:
        return self.made["ServerLiveResponse"](live=True)

    async def _ready(self, request: Any, told: dict[str, Any]) -> Any:
        return self.made["ServerReadyResponse"](ready=self.hall.ready)

    async def _model_ready(self, request: Any, told: dict[str, Any]) -> Any:
        self.hall.find(request.name, request.version)
        return self.made["ModelReadyResponse"](ready=self.hall.ready)

    async def _server(self, request: Any, told: dict[str, Any]) -> Any:
        return self.made["ServerMetadataResponse"](**infer.server())

    async def _model(self, request: Any, told: dict[str, Any]) -> Any:
        said = infer.metadata(self.hall.find(request.name, request.version))
        said.pop("properties")  # the message has no place for them
        return self.made["ModelMetadataResponse"](**said)

    async def _infer(self, request: Any, told: dict[str, Any]) -> Any:
        hall, size = self.hall, request.ByteSize()
        hosted = hall.find(request.model_name, request.model_version)
        hall.room.take(size)
        try:
            told |= {"model": hosted.name, "bytes": size}
            async with asyncio.timeout(hall.limits.seconds):
                given = await asyncio.to_thread(inputs, request)
                made = await infer.inferred(hosted, given, [o.name for o in request.outputs])
            told["pictures"] = len(given[0].values)
        except TimeoutError:
            raise too_slow(hall) from None
        finally:
            hall.room.give(size)
        kind = self.made["ModelInferResponse"]
        return kind(
            model_name=hosted.name, model_version=VERSION, id=request.id,
            outputs=[{"name": t.name, "datatype": t.datatype, "shape": t.shape} for t in made],
            raw_output_contents=[tensors.to_bytes(t) for t in made],
        )  # fmt: skip


def inputs(request: Any) -> list[Named]:
    """The inputs of a request, as bytes or as numbers. Raises Refused (400)."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Refused(400, f"{len(request.inputs)} inputs, but the bytes of {len(raw)}")
    found = []
    for i, given in enumerate(request.inputs):
        name, datatype, shape = tensors.checked(given.name, given.datatype, list(given.shape))
        if raw:
            found.append(tensors.of_bytes(name, datatype, shape, memoryview(raw[i])))
        else:
            found.append(Named(name, datatype, _contents(given, name, datatype, shape)))
    return found


def _contents(given: Any, name: str, datatype: str, shape: tuple[int, ...]) -> Values:
    """The numbers of an input that are written one by one."""
    if datatype not in CONTENTS:
        raise Refused(400, f"input {name!r}: {datatype} goes as bytes")
    values = getattr(given.contents, f"{CONTENTS[datatype]}_contents")
    if len(values) != math.prod(shape):
        raise Refused(400, f"input {name!r}: {len(values):,} elements, its shape needs {math.prod(shape):,}")
    made = np.empty(len(values), tensors.KINDS[datatype])
    try:
        made[:] = values
    except OverflowError:
        raise Refused(400, f"input {name!r}: its numbers are not {datatype}") from None
    return made.reshape(shape)
