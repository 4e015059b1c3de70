"""A model's graph for a runtime: made or found, proven against the net itself, and timed."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residua.export import quantise
from residua.export.classifier import Classifier
from residua.export.exported import FORMAT, Array, Exported
from residua.export.graphs import RAW
from residua.export.parity import Floats, Parity, Row, row, same
from residua.export.shown import made as pictures_made
from residua.predict import Model
from residua.predict.journal import digest
from residua.runtimes import compiled, kept, onnx, openvino
from residua.runtimes.words import Int8

#: The runtimes with graphs.
BY_NAME: dict[str, ModuleType] = {"openvino": openvino, "onnx": onnx}
#: What makes and runs the graphs of each: another version makes others.
LIBRARIES = {"openvino": ("openvino", "nncf"), "onnx": ("onnx", "onnxscript", "onnxruntime")}
#: Batches that are asked of net and runtime before anything else is.
PROOF = (1, 5)
#: The largest difference in logits for bf16, as a share of the largest logit: it keeps 8 bits, and errors of about
#: fifty layers in a row add up.
BF16 = 0.05
#: Pictures of the measurement.
TIMED = 8


@dataclass(frozen=True, eq=False)
class Ready:
    """A runtime that answers: float32 (N, C, S, S) -> logits (N, K) on the CPU; how it compares, how fast it is.

    `graph` holds its files as long as it does; None where there are none.
    """

    run: Callable[[Tensor], Tensor]
    parity: Parity
    said: tuple[str, ...] = ()
    graph: kept.Graph | None = None


def ready(model: Model, path: Path, runtime: str, *, several: bool, tell: Callable[[str], None]) -> Ready:
    """The runtime for a model of a file, proven. Raises whatever compilers and exporters raise, and NumericError."""
    if runtime == "compiled":
        run = compiled.prepared(model.net, model.engine)
        return Ready(run, proof(model, run, runtime, batches=PROOF[1:] if several else PROOF))
    precision = model.engine.precision
    graph = found(path, runtime, lambda folder: _write(model, path, runtime, folder), tell=tell)
    run = _torch(BY_NAME[runtime].opened(graph.folder, precision, model.engine.threads))
    return Ready(run, proof(model, run, runtime), graph=graph)


def quantised(model: Model, path: Path, runtime: str, int8: Int8, tell: Callable[[str], None]) -> Ready:
    """The runtime in int8, calibrated on training pictures, and accepted by the accuracy on held-out ones.

    Raises NumericError where more is lost than may be; then nothing is left.
    """
    of = Classifier(path, model.net, model.header, model.view)  # type: ignore[arg-type]
    held_out = of.of_data(int8.data, root=int8.root)
    train = of.of_data(int8.data, "train", root=int8.root, limit=quantise.PICTURES)
    module = BY_NAME[runtime]

    def opened(folder: Path) -> Callable[[Array], Array]:
        run: Callable[[Array], Array] = module.opened(folder, "int8", model.engine.threads)
        return run

    def make(folder: Path) -> Mapping[str, Any]:
        graph = of.graph("onnx", raw=True)
        inputs = [of.fed(RAW, [picture]) for _, picture in train.readable()]
        tell(f"calibrating int8 on {len(inputs):,} training pictures, to be judged by {held_out.said}")
        words = _words(of) | {"precision": "int8"}
        quantise.write(runtime, graph, words, folder, "net", inputs=inputs)
        run = opened(folder)
        exported = Exported(folder, runtime, words, lambda x: {"logits": run(x)})
        judged = of.parity(exported, held_out, int8.tolerance)
        judged.demand(f"int8 on {runtime}")
        a = judged.accuracy
        assert a is not None
        return {"n": a.n, "model": a.model, "int8": a.exported}

    about = {"int8": [held_out.said, train.said, _content(held_out), _content(train)], "points": int8.tolerance}
    graph = found(path, runtime, make, tell=tell, **about)
    n, model_right, int8_right = (int(graph.notes[k]) for k in ("n", "model", "int8"))
    said = f"int8 is right on {int8_right:,} of {n:,} held-out pictures, the model on {model_right:,}"
    run = _torch(opened(graph.folder))
    return Ready(run, proof(model, run, runtime, int8=True), (said,), graph)


def found(
    path: Path,
    runtime: str,
    make: Callable[[Path], Mapping[str, Any]],
    *,
    tell: Callable[[str], None],
    **about: Any,
) -> kept.Graph:
    """The graph that is kept for a model file, or else made."""
    shelf, key = kept.shelf(), kept.key_of(depends(path, runtime) | about)
    graph = shelf.find(key) or shelf.put(key, make)
    if graph.why_not_kept:
        tell(graph.why_not_kept)
    return graph


def is_kept(path: Path, runtime: str) -> bool:
    """Whether a graph in fp32 is there already."""
    return kept.shelf().find(kept.key_of(depends(path, runtime))) is not None


def depends(path: Path, runtime: str) -> dict[str, Any]:
    """All that a graph depends on: the model file, the libraries that make it and run it, and the machine."""
    names = ("residua", "torch", *LIBRARIES[runtime])
    return {
        "model": digest(path), "runtime": runtime, "versions": {n: _version(n) for n in names},
        "machine": [platform.machine(), torch.backends.cpu.get_cpu_capability()], "format": kept.VERSION,
    }  # fmt: skip


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _write(model: Model, path: Path, runtime: str, folder: Path) -> Mapping[str, Any]:
    of = Classifier(path, model.net, model.header, model.view)  # type: ignore[arg-type]
    BY_NAME[runtime].write(of.graph("onnx", raw=True), _words(of) | {"precision": "fp32"}, folder)
    return {}


def _words(of: Classifier) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "residua": version("residua"),
        "from": of.path.name,
        **of.words(of.graph("onnx", raw=True)),
    }


def _content(shown: Any) -> str:
    """What tells these pictures and labels from others, without decoding them all."""
    some = [np.asarray(p).tobytes() for _, p in shown.readable(16)]
    labels = b"" if shown.labels is None else np.asarray(shown.labels).tobytes()
    return kept.key_of({"pictures": [len(shown), *(kept.hashed(b) for b in some)], "labels": kept.hashed(labels)})


def _torch(run: Callable[[Array], Array]) -> Callable[[Tensor], Tensor]:
    return lambda images: torch.from_numpy(run(np.ascontiguousarray(images.numpy())))


# -- asking both ----------------------------------------------------------------------------------------------------


def proof(
    model: Model,
    run: Callable[[Tensor], Tensor],
    runtime: str,
    *,
    batches: tuple[int, ...] = PROOF,
    int8: bool = False,
) -> Parity:
    """What the net and the runtime say of a few pictures. Raises NumericError where it is not the same.

    fp32 must be the same to rounding, and so must every answer. bf16 may differ by what 8 bits allow; an answer may
    then be another only where the net's own two best are as close as that. int8 has been judged already: its numbers
    must be finite.
    """
    images, rows = some_pictures(model, max(batches)), []
    for n in batches:
        ours = eager(model, images[:n]).numpy()
        theirs = run(images[:n]).cpu().numpy()
        made = row(ours, theirs, (model.view.side_px,) * 2, exact=True)
        if int8 or model.engine.precision != "fp32":
            made = _loose(made, ours, theirs, None if int8 else BF16)
        rows.append(made)
    parity = Parity("pictures made from a seed", tuple(rows))
    parity.demand(f"--runtime {runtime}")
    return parity


def _loose(exact: Row, ours: Floats, theirs: Floats, share: float | None) -> Row:
    if share is None:
        return replace(exact, limit=None)
    limit = share * max(1.0, exact.scale)
    return replace(exact, limit=limit, same=int(same(ours, theirs, 2 * limit).sum()))


def eager(model: Model, images: Tensor) -> Tensor:
    """The logits of the net itself, in fp32, on the CPU."""
    with torch.inference_mode():
        logits: Tensor = model.net(model.engine.move(images))
    return logits.float().cpu()


def some_pictures(model: Model, n: int) -> Tensor:
    """float32 (N, C, S, S) of pictures that no camera made, as the view shows them."""
    view = model.view
    shown = pictures_made(view.channels, view.resize_px).first(n)
    return torch.stack([view.tensor(p) for p in shown])


def seconds_each(run: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Seconds a picture, in one batch, after one that does not count."""
    run(images[:2])
    began = time.perf_counter()
    run(images)
    return (time.perf_counter() - began) / len(images)
