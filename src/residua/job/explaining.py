"""What a run folder keeps of the reasons: explanations of a few test images, and what each unit does to its input."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from residua.data.batches import in_order
from residua.data.dataset import Split
from residua.depth.chain import chain, run
from residua.depth.probe import Probe
from residua.engine import Decision, Engine
from residua.errors import ResiduaError
from residua.evaluate import Evaluation, evaluating
from residua.explain import Explainer, Explanation, Photo
from residua.explain.units import TOGETHER_BYTES
from residua.job import record
from residua.job.plan import Plan
from residua.job.space import at_once, kept
from residua.nn.resnet import Net

if TYPE_CHECKING:
    from residua.job.session import Session

#: Images with the highest and with the lowest loss that are explained, and held-out images that units are measured on.
WORST, BEST, MEASURED = 4, 4, 64
#: Explaining takes at most this share of the training's time, or these seconds where the share is less; one image is
#: always explained, by at most so many points.
SHARE, SECONDS, POINTS = 0.04, 1.5, 64
#: Bounds of an overlay's long side.
LEAST_PX, MOST_PX = 128, 320


def write(session: "Session", net: nn.Module, evaluation: Evaluation | None, temperature: float | None) -> None:
    """Write explanations.json with its pictures and strengths.json, as far as the time allows.

    A run never fails for want of an explanation: what went wrong becomes a decision, and where it is a fault of the
    program a warning too.
    """
    try:
        net, engine = _exact(net, session.plan.engine)
        strengths(session, net, engine)
        if evaluation is not None:
            explanations(session, _explainer(session.plan, net, engine, temperature), evaluation)
    except Exception as e:
        why = (str(e).splitlines() or [type(e).__name__])[0]
        if not isinstance(e, ResiduaError | torch.OutOfMemoryError):
            warnings.warn(f"the explanations could not be made: {type(e).__name__}: {why}", stacklevel=2)
        record.decisions(session.run, (Decision("explanations", "none", why, ""),))


def _exact(net: nn.Module, engine: Engine) -> tuple[Net, Engine]:
    """The net, and the engine in fp32: derivatives of bf16 are too coarse to add up."""
    assert isinstance(net, Net)
    return net, replace(engine, precision="fp32", compile=False)


def _explainer(plan: Plan, net: Net, engine: Engine, temperature: float | None) -> Explainer:
    together = min(TOGETHER_BYTES, kept(plan))
    return Explainer(net, plan.dataset.classes, plan.view, engine, temperature, most_points=POINTS, together=together)


# -- strengths ------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def strengths(session: "Session", net: Net, engine: Engine) -> None:
    """strengths.json: |F(x)| / |x| and the cosine of x and H(x) of each unit, over some held-out images."""
    splits = session.plan.dataset.splits
    split = splits.get("val") or splits.get("test") or splits["train"]
    places = np.unique(np.linspace(0, len(split) - 1, min(MEASURED, len(split))).astype(np.int64))
    batches = in_order(
        split.take(places), session.plan.view, min(MEASURED, at_once(session.plan)), 0, session.plan.cache
    )
    links = chain(net)
    with evaluating(net), Probe(net, responses=False) as probe:
        for batch in batches:
            run(links, engine.move(batch.images))
    rows = []
    for link in links:
        if link.removable:
            ratio, cosine = probe.relations[link.path].means()
            rows.append({"unit": link.path, "stage": link.stage, "ratio": ratio, "cosine": cosine})
    session.run.write_json("strengths.json", {"images": len(places), "units": rows})


# -- explanations ---------------------------------------------------------------------------------------------------


def explanations(session: "Session", explainer: Explainer, evaluation: Evaluation) -> None:
    """explanations.json, and for each image its photo and its overlay."""
    split, classes = session.plan.dataset.splits["test"], session.classes
    chosen = _chosen(evaluation)
    photos = [_photo(split, session.plan, int(evaluation.index[row])) for row, _ in chosen]
    found = _in_time(explainer, photos, max(SECONDS, SHARE * session.seconds))
    items = []
    for n, (one, (row, kind)) in enumerate(zip(found, chosen, strict=False)):
        truth = classes[int(evaluation.labels[row])]
        items.append({**_pictures(session, one, n), "kind": kind, "truth": truth, **one.to_json()})
    session.run.write_json(
        "explanations.json",
        {
            "method": explainer.method,
            "stage": explainer.place,
            "target": "the class that the net names",
            "items": items,
            "why_not": explainer.why_not,
            "notes": explainer.notes,
        },
    )


def _chosen(evaluation: Evaluation) -> list[tuple[int, str]]:
    """Rows of the evaluation with the highest and the lowest loss, in turn, so that any beginning has both kinds."""
    order = np.argsort(-np.nan_to_num(evaluation.losses, nan=np.inf), kind="stable").tolist()
    worst = [(r, "worst") for r in order[:WORST]]
    best = [(r, "best") for r in order[::-1][:BEST] if r not in order[:WORST]]
    turns = max(len(worst), len(best))
    return [pair for i in range(turns) for pair in (*worst[i : i + 1], *best[i : i + 1])]


def _photo(split: Split, plan: Plan, sample: int) -> Photo:
    seen = next(iter(in_order(split.take([sample]), plan.view, 1, 0, plan.cache))).images[0]
    return Photo(split.names[sample], split.images[sample], seen)


def _in_time(explainer: Explainer, photos: Sequence[Photo], seconds: float) -> list[Explanation]:
    """As many explanations as there is time for, at least one: the first says how long one takes."""
    began = time.perf_counter()
    found = explainer.explain(photos[:1])
    one = time.perf_counter() - began
    more = max(0, int((seconds - one) / max(one, 1e-9)))
    return found + explainer.explain(photos[1 : 1 + more])


def _pictures(session: "Session", one: Explanation, n: int) -> dict[str, Any]:
    """Write the overlay and the photo, small, and say where."""
    photo, overlay = one.small(LEAST_PX, MOST_PX)
    names = {"file": f"explanations/{n:02}.png", "picture": f"explanations/{n:02}-photo.png"}
    session.run.write_bytes(names["file"], record.png(overlay))
    session.run.write_bytes(names["picture"], record.png(photo))
    return names
