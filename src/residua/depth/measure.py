"""What each unit of a net does: how much it changes its input, how much it learns, how its layers respond."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from residua.data.batches import Batch
from residua.depth.chain import Link, chain
from residua.depth.probe import Probe, layers, residual
from residua.engine import Engine
from residua.errors import DataError, UsageError
from residua.evaluate import check_labels, evaluating
from residua.nn.blocks import Pad, Zero

#: Images that the gradient is taken of, and at a time.
GRADIENT_IMAGES, GRADIENT_BATCH = 256, 32


@dataclass(frozen=True)
class UnitMeasure:
    """One unit, or one layer of a net without units.

    `ratio`: |F(x)| / |x|, the mean over images of the ratio of their L2 norms; x is what F(x) is added to, the
    shortcut's output. `cosine`: of x and H(x) = F(x) + x, before the activation. `last_norm`: mean |weight| of the
    branch's last norm. `gradient_norm`: of the mean loss by the branch's parameters, and `gradient_share`: that over
    the sum of all units'. None where a number makes no sense (a plain unit has no ratio).
    """

    unit: str
    stage: int
    shortcut: str  # identity, zero-pad, projection, none
    ratio: float | None
    cosine: float | None
    last_norm: float | None
    gradient_norm: float
    gradient_share: float


@dataclass(frozen=True)
class LayerMeasure:
    """The responses of one convolution: `std` and `mean` over all their values, behind its norm (see `probe.layers`).

    `index` counts from 1 in network order, `size` is the side of the window: the paper's figure takes 3x3 layers.
    """

    index: int
    layer: str
    stage: int
    size: int
    mean: float
    std: float


@dataclass(frozen=True)
class Measurement:
    """All units and layers, over the first `n` images."""

    n: int
    units: tuple[UnitMeasure, ...]
    layers: tuple[LayerMeasure, ...]


def measure(net: nn.Module, batches: Iterable[Batch], classes: int, engine: Engine) -> Iterator[Measurement]:
    """What the units of `net`, placed by the engine, do so far, after each batch.

    The gradient is that of the first batch's images, at most `GRADIENT_IMAGES`. The net is left as found. Raises
    UsageError for a net without units or layers and DataError where there are no images.
    """
    links = [link for link in chain(net) if link.removable]
    if not links:
        raise UsageError("this net has no units or layers to measure")
    probe = Probe(net)
    norms: dict[str, float] = {}
    n = 0
    for batch in batches:
        check_labels(batch.targets, classes)
        with evaluating(net):
            norms = norms or gradients(net, batch, engine)
            with probe, torch.inference_mode(), engine.autocast():
                net(engine.move(batch.images))
        n += len(batch.targets)
        yield Measurement(n, tuple(_units(links, probe, norms)), tuple(_layers(net, probe)))
    if n == 0:
        raise DataError("there are no images to measure with")


def gradients(net: nn.Module, batch: Batch, engine: Engine) -> dict[str, float]:
    """The norm of the gradient of the mean loss by each unit's (or layer's) own parameters; no ``.grad`` is touched."""
    own = parameters(net)
    wanted = [p for ps in own.values() for p in ps if p.requires_grad]
    images, targets = batch.images[:GRADIENT_IMAGES], batch.targets[:GRADIENT_IMAGES]
    sums = [torch.zeros_like(p, dtype=torch.float32) for p in wanted]
    for x, y in zip(torch.split(images, GRADIENT_BATCH), torch.split(targets, GRADIENT_BATCH), strict=True):
        with torch.enable_grad(), engine.autocast():
            logits = net(engine.move(x))
            loss = functional.cross_entropy(logits.float(), engine.move(y), reduction="sum") / len(images)
        found = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
        for total, g in zip(sums, found, strict=True):
            if g is not None:
                total += g
    squares = {id(p): float(g.square().sum()) for p, g in zip(wanted, sums, strict=True)}
    return {path: sum(squares.get(id(p), 0.0) for p in ps) ** 0.5 for path, ps in own.items()}


def parameters(net: nn.Module) -> dict[str, list[Tensor]]:
    """The parameters of each unit's branch, or of each layer, by its path."""
    links = (link for link in chain(net) if link.removable)
    return {k.path: list((residual(k).branch if k.unit else k.module).parameters()) for k in links}


def shares(norms: dict[str, float]) -> dict[str, float]:
    """Each number over their sum; zeros where that is zero or not finite."""
    total = sum(norms.values())
    return {k: v / total if 0 < total < float("inf") else 0.0 for k, v in norms.items()}


def _units(links: list[Link], probe: Probe, norms: dict[str, float]) -> Iterator[UnitMeasure]:
    share = shares(norms)
    for link in links:
        ratio, cosine = probe.relations[link.path].means()
        yield UnitMeasure(
            unit=link.path,
            stage=link.stage,
            shortcut=shortcut_of(link),
            ratio=ratio,
            cosine=cosine,
            last_norm=_last_norm(residual(link).branch if link.unit else link.module),
            gradient_norm=norms[link.path],
            gradient_share=share[link.path],
        )


def shortcut_of(link: Link) -> str:
    """The kind of a unit's shortcut: identity, zero-pad, projection, or none."""
    if not link.unit or isinstance(residual(link).shortcut, Zero):
        return "none"
    shortcut = residual(link).shortcut
    return (
        "identity" if isinstance(shortcut, nn.Identity) else "zero-pad" if isinstance(shortcut, Pad) else "projection"
    )


def _last_norm(layers: nn.Module) -> float | None:
    found = [m for m in layers.modules() if isinstance(m, nn.BatchNorm2d)]
    return float(found[-1].weight.detach().abs().mean()) if found else None


def _layers(net: nn.Module, probe: Probe) -> Iterator[LayerMeasure]:
    for index, (name, _) in enumerate(layers(net), 1):
        spread = probe.spreads[name]
        convolution = net.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)
        stage = int(name.split(".")[1]) if name.startswith("stages.") else -1
        yield LayerMeasure(index, name, stage, convolution.kernel_size[0], spread.mean, spread.std)
