"""Occlusion and integrated gradients, by captum: slower than the maps of a stage, and they see every pixel.

captum is asked for only here: `pip install 'residua[explain]'`.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from residua.engine import Engine
from residua.errors import UsageError
from residua.evaluate import evaluating
from residua.explain.maps import logits_of
from residua.nn.resnet import Net

PIXELS = ("occlusion", "integrated-gradients")

#: The side of the window that hides a part, and how far it moves on, as shares of the view's side.
WINDOW, STRIDE = 1 / 6, 1 / 12
#: Points of the integral, at least and at most: doubled until it misses the logit's difference by less than `CLOSE`
#: of it, or of 1 where that is less.
FEWEST, MOST, CLOSE = 32, 256, 0.05
#: Pictures that captum shows the net at a time.
AT_ONCE = 16
#: Of the sum of channels the brightest pixels are cut off at this quantile, so that a few do not dim the rest.
CUT = 0.995


def captum(method: str) -> Any:
    """captum.attr. Raises UsageError, one line, where it is not installed."""
    try:
        return import_module("captum.attr")
    except ImportError as e:
        raise UsageError(
            f"--method {method} needs captum: pip install 'residua[explain]', or take --method grad-cam"
        ) from e


class _Logits(nn.Module):
    """A net in the engine's precision, as captum calls it."""

    def __init__(self, net: Net, engine: Engine) -> None:
        super().__init__()
        self.net, self.engine = net, engine

    def forward(self, x: Tensor) -> Tensor:
        with self.engine.autocast():
            return logits_of(self.net, x)


def pixel_maps(net: Net, images: Tensor, targets: Tensor, engine: Engine, *, method: str) -> Tensor:
    """The maps of a method of `PIXELS`, float32 (N, S, S) on the CPU, unscaled and nowhere below zero.

    What is hidden, and what the integral starts from, is the mean colour. The net is left as found.
    """
    made = occluded if method == "occlusion" else integrated
    return made(net, images, targets, engine).sum(1).relu()


def occluded(net: Net, images: Tensor, targets: Tensor, engine: Engine) -> Tensor:
    """How much the target's logit falls when a window hides a place, mean over the windows: (N, 1, S, S), CPU.

    Source: Zeiler & Fergus 2014, sec. 4.2, arXiv:1311.2901.
    """
    attr = captum("occlusion")
    c, height, width = images.shape[1:]
    window, stride = (max(1, round(share * min(height, width))) for share in (WINDOW, STRIDE))
    x, y = engine.move(images), engine.move(targets)
    with evaluating(net), torch.no_grad():
        found: Tensor = attr.Occlusion(_Logits(net, engine)).attribute(
            x,
            target=y,
            sliding_window_shapes=(c, window, window),
            strides=(c, stride, stride),
            baselines=0,
            perturbations_per_eval=max(1, AT_ONCE // len(x)),
        )
    return found[:, :1].float().cpu()


def integrated(net: Net, images: Tensor, targets: Tensor, engine: Engine) -> Tensor:
    """Each pixel's part of the target's logit above that of the mean colour: (N, C, S, S) on the CPU.

    Complete: the parts sum up to the difference. Source: Sundararajan et al. 2017, eq. 1, arXiv:1703.01365.
    """
    return torch.cat([_integrated(net, x[None], y[None], engine) for x, y in zip(images, targets, strict=True)])


def _integrated(net: Net, images: Tensor, targets: Tensor, engine: Engine) -> Tensor:
    attr = captum("integrated-gradients")
    x, y = engine.move(images), engine.move(targets)
    with evaluating(net):
        logits = _Logits(net, engine)
        with torch.no_grad():
            ends = logits(torch.cat([x, torch.zeros_like(x)])).gather(1, y.expand(2)[:, None])
        due = (ends[0] - ends[1]).abs().clamp_min(1)
        n = FEWEST
        while True:
            found: Tensor
            found, missed = attr.IntegratedGradients(logits).attribute(
                x, baselines=0, target=y, n_steps=n, internal_batch_size=AT_ONCE, return_convergence_delta=True
            )
            if n >= MOST or bool(missed.abs() <= CLOSE * due):
                return found.detach().float().cpu()
            n *= 2


def smoothed(maps: Tensor) -> Tensor:
    """Maps of single pixels (N, S, S) made fit to be seen: blurred a little, the brightest specks cut off."""
    side = maps.shape[-1]
    width = 2 * max(1, round(side / 64)) + 1
    padded = functional.pad(maps[:, None], [width // 2] * 4, mode="replicate")
    soft = functional.avg_pool2d(functional.avg_pool2d(padded, width, 1), width, 1, padding=width // 2)[:, 0]
    most = torch.quantile(soft.flatten(1), CUT, dim=1)[:, None, None]
    return torch.where(most > 0, soft.minimum(most), soft)
