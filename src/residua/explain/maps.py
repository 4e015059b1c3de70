"""Where on a picture a net saw a class: maps at the output of a stage, the sum of its last unit. No layer to name.

A stage ends with its last unit's sum by construction (of AlexNet, VGG and GoogLeNet with its last convolution or
module), so a stage's number is all there is to say. A map is one number a place: what speaks for the class.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from residua.engine import Engine
from residua.errors import UsageError
from residua.evaluate import evaluating
from residua.nn.resnet import Net

#: (A, dy/dA), both (N, C, h, w) -> (N, h, w), nowhere below zero.
Rule = Callable[[Tensor, Tensor], Tensor]


def grad_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by the mean of their gradient.

    Source: Selvaraju et al. 2017, eq. 1 (the weights) and 2 (the map), arXiv:1610.02391.
    """
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * features).sum(1).relu()


def grad_cam_plus_plus(features: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by the sum of their positive gradients, each place by its alpha.

    The score is the exponential of the logit: its powers cancel in alpha, and as a factor of the whole map in what
    `scaled` leaves. Source: Chattopadhay et al. 2018, eq. 19 (alpha), 5 and 6 (weights), 7 (map), arXiv:1710.11063.
    """
    square, cube = gradient**2, gradient**3
    below = 2 * square + features.sum((2, 3), keepdim=True) * cube
    alpha = square / torch.where(below == 0, 1, below)
    weights = (alpha * gradient.relu()).sum((2, 3), keepdim=True)
    return (weights * features).sum(1).relu()


def layer_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Every place weighted by its own positive gradient: sharp also at early stages.

    Source: Jiang et al. 2021, "LayerCAM", sec. III-B (weights max(g, 0), sum over channels, ReLU),
    doi:10.1109/TIP.2021.3089943.
    """
    return (gradient.relu() * features).sum(1).relu()


RULES: dict[str, Rule] = {"grad-cam": grad_cam, "grad-cam++": grad_cam_plus_plus, "layer-cam": layer_cam}


def stage_of(net: Net, stage: int | None) -> int:
    """The number of a stage, from 0; the last one for None. Raises UsageError for one that the net does not have."""
    last = len(net.stages) - 1
    if stage is None:
        return last
    if not 0 <= stage <= last:
        raise UsageError(f"--stage {stage}: this net has stages 0 to {last}")
    return stage


def logits_of(net: Net, images: Tensor) -> Tensor:
    """Logits (N, K) as evaluation gives them, by way of the parts: a compiled net has no places to look into."""
    logits: Tensor = net.head(net.stages(net.stem(images)))
    return logits.float()


def at_stage(net: Net, images: Tensor, targets: Tensor, engine: Engine, stage: int) -> tuple[Tensor, Tensor]:
    """What leaves a stage, and the gradient of each image's target logit by it: twice float32 (N, C, h, w).

    images (N, C, S, S) and targets (N,) may be anywhere; the net is left as found, without a gradient.
    """
    with evaluating(net), engine.autocast():
        with torch.no_grad():
            features: Tensor = net.stages[: stage + 1](net.stem(engine.move(images)))
        with torch.enable_grad():
            leaf = features.detach().requires_grad_()
            # A copy goes on: what comes next may work in place, and the leaf must stay what it is.
            logits = net.head(net.stages[stage + 1 :](leaf.clone()))
            chosen = logits.float().gather(1, engine.move(targets)[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, leaf)
    return leaf.detach().float(), gradient.float()


def stage_maps(net: Net, images: Tensor, targets: Tensor, engine: Engine, *, method: str, stage: int) -> Tensor:
    """The maps of `method` as the stage has them, float32 (N, h, w) on the CPU, unscaled and nowhere below zero."""
    return RULES[method](*at_stage(net, images, targets, engine, stage)).cpu()


def fitted(maps: Tensor, side_px: int) -> Tensor:
    """Maps (N, h, w) on the view's square, (N, side_px, side_px), in [0, 1]: bilinear, then divided by the largest."""
    if maps.shape[1:] != (side_px, side_px):
        maps = functional.interpolate(maps[:, None], (side_px, side_px), mode="bilinear", align_corners=False)[:, 0]
    return scaled(maps)


def scaled(maps: Tensor) -> Tensor:
    """Each map divided by its largest value. One without any stays zero: nothing there speaks for the class."""
    most = maps.amax((1, 2), keepdim=True)
    return torch.where(most > 0, maps / most.clamp_min(torch.finfo(torch.float32).tiny), 0).clamp(0, 1)
