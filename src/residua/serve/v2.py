"""The Open Inference Protocol over HTTP, with the binary tensor extension."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from residua.serve import infer, tensors
from residua.serve.body import bounded, document
from residua.serve.hosted import VERSION, Hall, Hosted
from residua.serve.limits import Refused
from residua.serve.tensors import Named
from residua.serve.waiting import attended

#: How long the JSON is, where numbers as bytes follow it.
HEADER = "Inference-Header-Content-Length"


def routes(hall: Hall) -> list[Route]:
    """All endpoints of the protocol; a model's version may be left out."""

    def found(request: Request) -> Hosted:
        return hall.find(request.path_params["model"], request.path_params.get("version"))

    async def v2_server(request: Request) -> Response:
        return JSONResponse(infer.server())

    async def v2_live(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def v2_ready(request: Request) -> Response:
        return JSONResponse({"ready": hall.ready}, 200 if hall.ready else 503)

    async def v2_model(request: Request) -> Response:
        return JSONResponse(infer.metadata(found(request)))

    async def v2_model_ready(request: Request) -> Response:
        found(request)
        return JSONResponse({"name": request.path_params["model"], "ready": hall.ready}, 200 if hall.ready else 503)

    async def v2_infer(request: Request) -> Response:
        hosted = found(request)
        async with bounded(request, hall) as body:
            length = request.headers.get(HEADER)
            words, inputs = await asyncio.to_thread(asked, body, length)
            request.state.told |= {"model": hosted.name}
            names, binary = wanted(words)
            made = await attended(request, hall, infer.inferred(hosted, inputs, names))
            request.state.told |= {"pictures": len(inputs[0].values)}
            return answer(hosted, words, made, binary)

    made = [Route("/v2", v2_server), Route("/v2/health/live", v2_live), Route("/v2/health/ready", v2_ready)]
    for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        made += [
            Route(base, v2_model), Route(f"{base}/ready", v2_model_ready),
            Route(f"{base}/infer", v2_infer, methods=["POST"]),
        ]  # fmt: skip
    return made


def asked(body: bytes, length: str | None) -> tuple[dict[str, Any], list[Named]]:
    """The words of a request, which end at `length`, and its inputs. Raises Refused (400)."""
    if length is not None and (not length.isascii() or not length.isdigit() or int(length) > len(body)):
        raise Refused(400, f"{HEADER}: {length[:20]} is no length within a body of {len(body):,} bytes")
    end = len(body) if length is None else int(length)
    words = document(body[:end])
    raw, inputs = memoryview(body)[end:], []
    for given in _list(words, "inputs"):
        name, datatype, shape = tensors.checked(given.get("name"), given.get("datatype"), given.get("shape"))
        size = _parameters(given).get("binary_data_size")
        if size is None:
            inputs.append(tensors.of_json(name, datatype, shape, given.get("data")))
            continue
        if type(size) is not int or not 0 <= size <= len(raw):
            raise Refused(400, f"input {name!r}: its binary_data_size is not within the body")
        inputs.append(tensors.of_bytes(name, datatype, shape, raw[:size]))
        raw = raw[size:]
    if len(raw):
        raise Refused(400, f"{len(raw):,} bytes of the body belong to no input")
    return words, inputs


def wanted(words: Mapping[str, Any]) -> tuple[list[str], dict[str, bool]]:
    """The outputs that are wanted (none: all), and which of them as bytes ("": those that say nothing)."""
    usual = _parameters(words).get("binary_data_output") is True
    names, binary = [], {"": usual}
    for output in _list(words, "outputs"):
        name, said = output.get("name"), _parameters(output)
        if not isinstance(name, str):
            raise Refused(400, "an output needs a name")
        if said.get("classification"):
            raise Refused(400, "the classification extension is not served: the output labels names the best class")
        names.append(name)
        binary[name] = said.get("binary_data", usual) is True
    return names, binary


def answer(hosted: Hosted, words: Mapping[str, Any], made: Sequence[Named], binary: Mapping[str, bool]) -> Response:
    """The response, with the bytes of what is wanted so behind the JSON."""
    outputs, raw = [], []
    for tensor in made:
        about: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if binary.get(tensor.name, binary[""]):
            raw.append(tensors.to_bytes(tensor))
            outputs.append(about | {"parameters": {"binary_data_size": len(raw[-1])}})
        else:
            outputs.append(about | {"data": tensors.to_json(tensor)})
    told: dict[str, Any] = {"model_name": hosted.name, "model_version": VERSION, "outputs": outputs}
    if isinstance(words.get("id"), str):
        told["id"] = words["id"]
    if not raw:
        return JSONResponse(told)
    head = json.dumps(told).encode()
    return Response(
        b"".join([head, *raw]), media_type="application/octet-stream", headers={HEADER: str(len(head))}
    )  # fmt: skip


def _list(words: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = words.get(name, [])
    if not isinstance(found, list) or not all(isinstance(f, dict) for f in found):
        raise Refused(400, f"{name} is a list of objects")
    return found


def _parameters(of: Mapping[str, Any]) -> dict[str, Any]:
    found = of.get("parameters", {})
    if not isinstance(found, dict):
        raise Refused(400, "parameters is an object")
    return found
