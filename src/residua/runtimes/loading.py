"""The model of a file, with the runtime that was asked for, or the one that is done first."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from residua import predict
from residua.engine import Decision
from residua.errors import NumericError, UsageError
from residua.predict import Model
from residua.runtimes import choosing
from residua.runtimes.choosing import FLAG, MANY, Candidate
from residua.runtimes.words import GRAPHS, PRECISIONS, Int8, check, check_precision, missing

if TYPE_CHECKING:
    from residua.runtimes.preparing import Ready

#: Seconds until a graph that is kept answers: the library is imported, the graph read and laid out for the processor.
KEPT_SECONDS = 1.0


def load(
    path: str | Path,
    *,
    runtime: str = "eager",
    pictures: int | None = None,
    int8: Int8 | None = None,
    device: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    readers: int | None = None,
    tell: Callable[[str], None] = warnings.warn,
) -> Model:
    """The model of a file, placed, with a runtime that has proven to say what the net says; `engine` has the decision.

    `runtime` "auto" takes what is done first with so many `pictures` (None: no end is known). A compiler or exporter
    that fails is told in one line, and the net itself answers. Raises UsageError for a runtime that does not exist, is
    not installed, or cannot compute so; DataError for a damaged file; NumericError where int8 loses more than it may.
    """
    check(runtime, int8=int8 is not None)
    check_precision(runtime, precision)
    if precision == "auto" and (runtime == "onnx" or int8 is not None):
        precision = "fp32"
    path = Path(path)
    model = predict.load(path, device=device, precision=precision, threads=threads, readers=readers)
    if int8 is not None:
        return _int8(model, path, runtime, int8, tell)
    if runtime in GRAPHS and model.engine.kind != "cpu":
        raise UsageError(f"--runtime {runtime} computes on the CPU: say --device cpu as well, or --runtime compiled")
    asked = Decision("runtime", runtime, "asked for", FLAG)
    decision = decide(model, path, pictures) if runtime == "auto" else asked
    if decision.value == "eager":
        return _decided(model, decision)
    return _prepared(model, path, decision, several=pictures is not None and pictures > 1, tell=tell)


def decide(model: Model, path: Path, pictures: int | None) -> Decision:
    """The runtime that is done first with so many pictures, by a measurement of the net here."""
    if pictures is not None and pictures < MANY:
        return Decision("runtime", "eager", "for few pictures nothing else is prepared", FLAG)
    if model.engine.kind != "cpu":
        return Decision("runtime", "eager", "other runtimes are for CPUs; compiled is for many hours", FLAG)
    from residua.runtimes import preparing  # here: exporters take seconds to import, and a few pictures need none

    precision = model.engine.precision
    able = [name for name in GRAPHS if precision in PRECISIONS[name]]
    there = [name for name in able if not missing(name)]
    lacking = [name for name in able if missing(name)]
    names = there or ["compiled"]
    each = preparing.seconds_each(model.scores, preparing.some_pictures(model, preparing.TIMED))
    layers = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.net.modules())
    candidates = []
    for name in names:
        found = choosing.usual(name, layers, each)
        if name in GRAPHS and preparing.is_kept(path, name):
            found = Candidate(name, KEPT_SECONDS + choosing.PROVEN * each, found.times)
        candidates.append(found)
    if pictures is None:
        candidates = [c for c in candidates if c.name != "compiled"]
    return choosing.chosen(pictures, each, candidates, lacking)


def _prepared(model: Model, path: Path, decision: Decision, *, several: bool, tell: Callable[[str], None]) -> Model:
    """The model with the runtime; as it was, and a line, where that fails."""
    try:
        from residua.runtimes import preparing

        made = preparing.ready(model, path, decision.value, several=several, tell=tell)
    except Exception as e:  # compilers and exporters fail in every way: no g++, unknown operations, their own bugs
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        what = reason if isinstance(e, NumericError) else f"{FLAG} {decision.value} failed: {reason[:300]}"
        tell(f"{what}; going on without it ({FLAG} eager)")
        return _decided(model, Decision("runtime", "eager", f"{decision.value} failed", FLAG))
    return _running(model, decision, made)


def _int8(model: Model, path: Path, runtime: str, int8: Int8, tell: Callable[[str], None]) -> Model:
    if model.engine.precision != "fp32":
        raise UsageError(f"--int8 and --precision {model.engine.precision}: take one of them")
    if model.engine.kind != "cpu":
        raise UsageError("--int8 is for CPUs: say --device cpu as well")
    from residua.runtimes import preparing

    name = runtime if runtime != "auto" else next(n for n in GRAPHS if not missing(n, int8=True))
    made = preparing.quantised(model, path, name, int8, tell)
    return _running(model, Decision("runtime", name, "int8, asked for", FLAG), made)


def _running(model: Model, decision: Decision, made: "Ready") -> Model:
    """The model with a runtime, and how it compares."""
    limit = made.parity.rows[0].limit
    same = f"logits within {made.parity.difference:.1g} of the net's" if limit is not None else ""
    why = "; ".join(filter(None, (decision.why, *made.said, same)))
    return _decided(replace(model, run=_Run(made)), replace(decision, why=why))


class _Run:
    """A call that keeps alive what it needs: the files of its graph."""

    def __init__(self, made: "Ready") -> None:
        self.made = made

    def __call__(self, images: Tensor) -> Tensor:
        return self.made.run(images)


def _decided(model: Model, decision: Decision) -> Model:
    engine = model.engine
    return replace(model, engine=replace(engine, decisions=(*engine.decisions, decision)))


def runtime_of(model: Model) -> str:
    """The name of what computes a model's answers: the net itself where nothing was decided."""
    return next((d.value for d in reversed(model.engine.decisions) if d.what == "runtime"), "eager")


def decision_of(model: Model) -> Decision:
    """What was decided about the runtime of a model that `load` gave."""
    return next(d for d in reversed(model.engine.decisions) if d.what == "runtime")
