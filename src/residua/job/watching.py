"""``--watch-units``: what each unit does, now and then while the net is trained, as rows of units.jsonl."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from residua.data.batches import in_order
from residua.depth.chain import chain, run
from residua.depth.measure import parameters, shares
from residua.depth.probe import Probe
from residua.engine import Engine
from residua.evaluate import evaluating
from residua.job.plan import Plan
from residua.training.loop import Step

if TYPE_CHECKING:
    from residua.job.session import Session

FILE = "units.jsonl"
#: Pictures to look at: always the same ones, spread over the training split.
PICTURES = 16
#: Steps between two looks, at least, so that they take less than 3 % of the time (docs/log.md); rows of a run, at most.
EVERY, ROWS = 20, 256


def look(session: "Session", step: Step, steps: int, stride: int) -> None:
    """Write a row of units.jsonl where one is due; `stride`: how many steps pass from one chance to the next."""
    if session.plan.options.watch_units and due(step.step, steps, stride):
        session.watch = session.watch or Watch(session.plan)
        session.run.log(session.watch.row(step, session.state.net), FILE)


def due(step: int, steps: int, stride: int = 1) -> bool:
    """Whether to look after this step of `steps`: the first, the last, and every k-th."""
    every = EVERY
    while every * ROWS < steps:
        every *= 2
    return step % every < stride or step in (1, steps)


class Watch:
    """What the units of a net do on a few pictures. Looking changes nothing that training reads."""

    def __init__(self, plan: Plan) -> None:
        """Take the pictures, as the plan's view shows them without augmentation."""
        split = plan.dataset.splits["train"]
        self.engine: Engine = plan.engine
        places = np.linspace(0, len(split) - 1, min(PICTURES, len(split))).astype(np.int64)
        self.images: Tensor = next(iter(in_order(split.take(places), plan.view, PICTURES, 0, plan.cache))).images

    def row(self, step: Step, net: nn.Module) -> dict[str, Any]:
        """|F(x)| / |x| and cosine of each unit now, and its share of this step's gradient."""
        links = chain(net)
        with evaluating(net), torch.inference_mode(), self.engine.autocast(), Probe(net, responses=False) as probe:
            run(links, self.engine.move(self.images))
        share = shares(_norms(net))
        rows = []
        for link in links:
            if link.removable:
                ratio, cosine = probe.relations[link.path].means()
                found = {"ratio": ratio, "cosine": cosine, "gradient_share": share[link.path]}
                rows.append({"unit": link.path, "stage": link.stage, **found})
        return {"event": "units", "step": step.step, "epoch": step.epoch, "units": rows}


def _norms(net: nn.Module) -> dict[str, float]:
    """The norm of the gradient that the last step left, by unit."""
    grads = {path: [p.grad for p in ps if p.grad is not None] for path, ps in parameters(net).items()}
    return {path: float(torch.nn.utils.get_total_norm(g)) if g else 0.0 for path, g in grads.items()}
