"""How long nets take for a batch, measured side by side."""

import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from residua.engine import Engine
from residua.evaluate import evaluating

REPEATS = 7


@torch.no_grad()
def latencies(nets: Sequence[nn.Module], images: Tensor, engine: Engine, repeats: int = REPEATS) -> list[float]:
    """Seconds that each net takes for the batch (N, C, H, W): medians over `repeats`, the nets in turn.

    In turn, so that whatever else the machine does falls on all of them. The nets are where the engine placed them.
    """
    x = engine.move(images)
    seconds: list[list[float]] = [[] for _ in nets]
    for turn in range(repeats + 1):  # the first warms up
        for net, taken in zip(nets, seconds, strict=True):
            with evaluating(net), engine.autocast():
                began = time.perf_counter()
                net(x)
                _wait(engine)
                if turn:
                    taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in seconds]


def _wait(engine: Engine) -> None:
    """Until the device is done."""
    if engine.kind == "cuda":
        torch.cuda.synchronize(engine.device)
    elif engine.kind == "mps":
        torch.mps.synchronize()
