"""The Open Inference Protocol, version 2, whatever carries it: metadata, and tensors in and out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from residua.data.decode import BadPicture
from residua.serve.answerer import IMAGE, PIXELS, Answerer
from residua.serve.classifying import rows_of
from residua.serve.hosted import VERSION, Hosted
from residua.serve.limits import Refused
from residua.serve.tensors import Named
from residua.words import nearest

PLATFORM = "residua_safetensors"
EXTENSIONS = ("binary_tensor_data",)
USE = "give one input: image (files), pixels (N, H, W, C)"
TENSOR = ", or for classification tensor (normalised by the model's view)"


def server() -> dict[str, Any]:
    """The metadata of the server."""
    from residua import __version__

    return {"name": "residua", "version": __version__, "extensions": list(EXTENSIONS)}


def metadata(hosted: Hosted) -> dict[str, Any]:
    """The metadata of a model."""
    model = hosted.model
    return {
        "name": hosted.name, "versions": [VERSION], "platform": PLATFORM,
        "inputs": [t.to_json() for t in model.inputs], "outputs": [t.to_json() for t in model.outputs],
        "properties": {"task": model.task, "inputs": USE + TENSOR, "digest": hosted.edition.digest},
    }  # fmt: skip


async def inferred(hosted: Hosted, inputs: Sequence[Named], wanted: Sequence[str]) -> list[Named]:
    """The outputs of these names, or all of them for none. Raises Refused."""
    lane = hosted.ready
    kinds = {t.name: t for t in lane.model.outputs}
    for name in wanted:
        if name not in kinds:
            raise Refused(400, f"no output {name!r}: model {hosted.name} has {', '.join(kinds)}")
    answers = await lane.answers(sources(lane.model, inputs))
    for i, answer in enumerate(answers):
        if isinstance(answer, BadPicture):
            raise Refused(400, f"picture {i}: {answer.reason}")
    made = lane.model.tensors(answers)
    return [Named(name, kinds[name].datatype, made[name]) for name in wanted or kinds]


def sources(model: Answerer, inputs: Sequence[Named]) -> list[Any]:
    """The pictures of the one input that is given. Raises Refused (400)."""
    known = {t.name: t for t in model.inputs}
    for given in inputs:
        if given.name not in known:
            near = nearest(given.name, known, 1)
            raise Refused(400, f"no input {given.name[:80]!r}: " + (f"did you mean {near[0]}?" if near else USE))
    if len(inputs) != 1:
        raise Refused(400, f"{len(inputs)} inputs: {USE}{TENSOR}")
    given, kind = inputs[0], known[inputs[0].name]
    if given.datatype != kind.datatype:
        raise Refused(400, f"input {given.name!r} is {kind.datatype}, not {given.datatype}")
    if kind is IMAGE and given.values.ndim == 2 and given.values.shape[1] == 1:
        given = Named(given.name, given.datatype, given.values[:, 0])  # with a batch side of its own
    shape = given.values.shape
    fits = len(shape) == len(kind.shape) and all(k in (-1, n) for k, n in zip(kind.shape, shape, strict=True))
    if not fits or 0 in shape:
        raise Refused(400, f"input {given.name!r} has the shape {list(kind.shape)}, not {list(shape)}")
    return _rows(given)


def _rows(given: Named) -> list[Any]:
    if given.name == PIXELS.name and given.values.shape[3] not in (1, 3, 4):
        raise Refused(400, f"a picture has 1, 3 or 4 channels, last; got {given.values.shape[3]}")
    if given.datatype != "FP32":
        return list(given.values)
    if not np.isfinite(given.values).all():
        raise Refused(400, f"input {given.name!r} has numbers that are not finite")
    return rows_of(given.values)
