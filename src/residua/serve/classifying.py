"""A classifier behind the server: probabilities, and reasons for them where they are wanted."""

import copy
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from residua.errors import UsageError
from residua.explain import Explainer, Explanation, photo
from residua.nn.modelfile import CLASSIFICATION
from residua.nn.resnet import Net
from residua.predict import Model
from residua.predict.inputs import decoded
from residua.predict.model import batch_of
from residua.runtimes import loading
from residua.runtimes.loading import runtime_of
from residua.serve.answerer import IMAGE, PIXELS, Answerer, TensorKind, Values, Wish, png, stacked, words
from residua.serve.limits import Refused
from residua.serve.stack import Stack

#: The long side of a map over its picture, at most.
MAP_PX = 1024


@dataclass(frozen=True, eq=False)
class Said:
    """What the net says of a picture: the scores (K,), whose softmax the probabilities (K,) are."""

    scores: Tensor
    probabilities: Tensor


class Classifier(Answerer):
    """Names what a picture shows."""

    task = CLASSIFICATION

    def __init__(self, model: Model) -> None:
        """Of a model that is placed."""
        self.model, self.apart = model, Model(sharing(model.net), model.header, model.view, model.engine)
        view, k = model.view, len(model.classes)
        tensor = TensorKind("tensor", "FP32", (-1, view.channels, view.side_px, view.side_px))
        self.inputs = (IMAGE, PIXELS, tensor)
        self.outputs = (
            TensorKind("probabilities", "FP32", (-1, k)), TensorKind("logits", "FP32", (-1, k)),
            TensorKind("labels", "BYTES", (-1,)),
        )  # fmt: skip

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.model.classes

    def about(self) -> dict[str, Any]:
        """The net, how it sees a picture, its temperature, and how it explains itself."""
        header = self.model.header
        return {
            "arch": header.row.name, "view": self.model.view.to_json(), "temperature": header.temperature,
            "runtime": runtime_of(self.model), "metrics": dict(header.metrics), "explains": True,
        }  # fmt: skip

    def read(self, source: Any) -> Tensor:
        """float32 (C, S, S), bit for bit as `predict` makes it; a tensor is as it should be already."""
        if isinstance(source, Tensor):
            return source
        view = self.model.view
        return view.tensor(*decoded(source, view.mode, view.least_px))

    def answer(self, seen: Sequence[Tensor]) -> list[Said]:
        """Scores and probabilities, as `predict` gives them for the same batch."""
        scores = self.model.scores(batch_of(seen))
        probabilities = scores.softmax(1).cpu()
        return [Said(s, p) for s, p in zip(scores.cpu(), probabilities, strict=True)]

    def to_json(self, answers: Sequence[Said], wish: Wish) -> list[dict[str, Any]]:
        """The most probable classes."""
        if not answers:
            return []
        values, best = torch.stack([a.probabilities for a in answers]).topk(min(wish.top, len(self.classes)), dim=1)
        return [
            {"classes": [self.classes[c] for c in which], "probabilities": p}
            for which, p in zip(best.tolist(), values.tolist(), strict=True)
        ]

    def tensors(self, answers: Sequence[Said]) -> Mapping[str, Values]:
        """All probabilities and scores, and the most probable class of each."""
        probabilities = stacked([a.probabilities for a in answers])
        labels = [self.classes[int(c)] for c in probabilities.argmax(1)]
        scores = stacked([a.scores for a in answers])
        return {"probabilities": probabilities, "logits": scores, "labels": words(labels, (len(labels),))}

    def check(self, wish: Wish) -> None:
        """Raise Refused (400) for a method or class that does not exist, and for a method whose library is missing."""
        self._explainer(wish)

    def _explainer(self, wish: Wish) -> tuple[Explainer, int | None]:
        model = self.apart
        net, temperature = cast(Net, model.net), model.header.temperature
        try:
            made = Explainer(net, model.classes, model.view, model.engine, temperature, wish.method)
            return made, None if wish.target is None else made.target(wish.target)
        except UsageError as e:
            raise Refused(400, str(e)) from e

    def explain(self, sources: Sequence[Any], wish: Wish) -> list[dict[str, Any]]:
        """Where the net looked, as a picture, and what each unit contributed."""
        made, target = self._explainer(wish)
        photos = [photo("picture", partial(decoded, s), self.model.view) for s in sources]
        return [_reasons(e, made.why_not) for e in made.explain(photos, target)]

    def check_units(self) -> None:
        """Nothing: a classifier has a net with links."""

    @cached_property
    def stack(self) -> Stack:
        """The net taken apart."""
        return Stack(self.apart)

    @contextmanager
    def given_up(self, gone: threading.Event) -> Iterator[None]:
        """Reasons take many passes through the net; once `gone` is set, the next one is not begun."""

        def look(*_: object) -> None:
            if gone.is_set():
                raise InterruptedError("nobody waits for this any more")

        hook = cast(Net, self.apart.net).stem.register_forward_pre_hook(look)
        try:
            yield
        finally:
            hook.remove()


def sharing(net: nn.Module) -> nn.Module:
    """A net of its own with the same weights, the very tensors: what is changed in its structure nobody else meets."""
    return copy.deepcopy(net, {id(t): t for t in (*net.parameters(), *net.buffers())})


def _reasons(found: Explanation, why_not: str | None) -> dict[str, Any]:
    depth = found.depth
    return {
        "target": found.target, "probability": found.target_probability, "logit": found.logit,
        "nothing": not bool(found.heat.any()), "map": png(found.small(1, MAP_PX)[1]),
        "units": [asdict(u) for u in depth.units] if depth else [],
        "bare": depth and depth.bare, "bare_logit": depth and depth.bare_logit, "missed": depth and depth.missed,
        "why_not": why_not,
    }  # fmt: skip


def load(
    path: Path,
    *,
    device: str,
    precision: str,
    threads: int | None,
    runtime: str = "eager",
    tell: Callable[[str], None] = warnings.warn,
) -> Classifier:
    """The classifier of a file, placed; reasons come from the net itself. Raises DataError, UsageError."""
    model = loading.load(
        path, runtime=runtime, device=device, precision=precision, threads=threads, tell=tell
    )  # fmt: skip
    if runtime == "auto":
        decision = loading.decision_of(model)
        tell(f"{decision.value} ({decision.why}; {decision.flag})")
    return Classifier(model)


def rows_of(values: Values) -> list[Any]:
    """float32 (N, C, S, S) as tensors of their own."""
    return list(torch.from_numpy(np.ascontiguousarray(values)))
