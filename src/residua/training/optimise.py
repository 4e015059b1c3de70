"""Optimisers from a recipe: parameter groups, torch's SGD and AdamW, LAMB, averaged weights."""

import copy
from collections.abc import Callable, Iterable
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from residua.training.recipe import Recipe

#: What torch shields from its compiler in every optimiser. The shields import that compiler: seconds, and 200 MB.
SHIELDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
#: Kernels that update all parameters at once exist on these devices (three times as fast on a CPU).
FUSED = ("cpu", "cuda")


def groups(net: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The trainable parameters, decayed and not (norms and biases are not unless `decay_norms`), with the factor
    `scale` of their learning rate: `lr_decay` once for each stage that lies behind theirs.
    """  # fmt: skip
    stages = {name: level(name) for name, p in net.named_parameters() if p.requires_grad}
    last = max((s for s in stages.values() if s is not None), default=0) + 1
    found: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, p in net.named_parameters():
        if not p.requires_grad:
            continue
        decays = recipe.decay_norms or p.ndim > 1
        stage = stages[name]
        scale = recipe.lr_decay ** (0 if stage is None else last - stage)
        decay = recipe.weight_decay if decays else 0.0
        group = found.setdefault((scale, decays), {"params": [], "weight_decay": decay, "scale": scale})
        group["params"].append(p)
    return sorted(found.values(), key=lambda g: (-g["scale"], -g["weight_decay"]))


def level(name: str) -> int | None:
    """How far from the picture a parameter lies: 0 in the stem, 1 in the first stage; None in a head."""
    first, *rest = name.removeprefix("backbone.body.").split(".")  # of a detector
    return 0 if first == "stem" else int(rest[0]) + 1 if first == "stages" else None


def optimiser(net: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimiser over the net's parameters, which must already be on their device."""
    parts = groups(net, recipe)
    fused = all(p.device.type in FUSED for g in parts for p in g["params"])
    if recipe.optimiser == "sgd":
        momentum, nesterov = recipe.momentum, recipe.nesterov
        sgd = unshielded(torch.optim.SGD)(parts, recipe.lr, momentum=momentum, nesterov=nesterov, fused=fused or None)
        for p in (p for g in parts for p in g["params"] if momentum):
            # the fused kernel fails where a first step leaves parameters without gradient (stochastic depth)
            sgd.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return sgd
    beta1, beta2 = recipe.betas
    if recipe.optimiser == "adamw":
        adamw = unshielded(torch.optim.AdamW)
        return adamw(parts, recipe.lr, betas=(beta1, beta2), eps=recipe.eps, fused=fused or None)
    return unshielded(Lamb)(parts, recipe.lr, betas=(beta1, beta2), eps=recipe.eps)


def unshielded(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """The same optimiser for steps that are never compiled (only nets are): its methods without torch's decorators."""
    methods: dict[str, Any] = {name: unwrap(getattr(kind, name)) for name in SHIELDED}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(unwrap(kind.step))})


def set_lr(optimiser: Optimizer, lr: float) -> None:
    """Every group's learning rate: `lr` times the group's scale."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get("scale", 1.0)


class Lamb(Optimizer):
    """Adam's step, scaled for each tensor by the norm of the weights over the norm of the step.

    Source: You et al. 2019, algorithm 2, arXiv:1904.00962, with Adam's bias correction and, as in NVIDIA's and timm's
    forms, a ratio of 1 for tensors that are not decayed. (Those also clip the gradient's global norm to 1 inside: here
    that is the recipe's `clip_norm`.)
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]] | Iterable[Tensor],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        """Take parameters or groups of them."""
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "step": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for p in params:
                if not self.state[p]:
                    self.state[p] = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            group["step"] += 1
            step = self._adam(group, params)
            if group["weight_decay"]:
                torch._foreach_add_(step, params, alpha=group["weight_decay"])
                ratios = [_ratio(p, s) for p, s in zip(params, step, strict=True)]
                torch._foreach_mul_(step, ratios)
            torch._foreach_add_(params, step, alpha=-group["lr"])

    def _adam(self, group: dict[str, Any], params: list[Tensor]) -> list[Tensor]:
        """Adam's direction for each parameter."""
        (beta1, beta2), n = group["betas"], group["step"]
        grads = [p.grad for p in params if p.grad is not None]
        mean = [self.state[p]["exp_avg"] for p in params]
        square = [self.state[p]["exp_avg_sq"] for p in params]
        torch._foreach_lerp_(mean, grads, 1 - beta1)
        torch._foreach_mul_(square, beta2)
        torch._foreach_addcmul_(square, grads, grads, 1 - beta2)
        root = torch._foreach_sqrt(square)
        torch._foreach_div_(root, (1 - beta2**n) ** 0.5)
        torch._foreach_add_(root, group["eps"])
        step = torch._foreach_div(mean, 1 - beta1**n)
        torch._foreach_div_(step, root)
        return list(step)


def _ratio(p: Tensor, step: Tensor) -> Tensor:
    """|p| / |step|, and 1 where either is 0."""
    p_norm, step_norm = p.norm(2.0), step.norm(2.0)
    return torch.where((p_norm > 0) & (step_norm > 0), p_norm / step_norm, 1.0)


class Ema:
    """A net whose parameters and buffers are running averages of another's; that other itself if `decay` is None.

    Early on the average reaches back less: ``min(decay, (1 + n) / (10 + n))`` after n updates (TensorFlow's
    ExponentialMovingAverage). Whole numbers (a norm's count of batches) are copied.
    """

    def __init__(self, net: nn.Module, decay: float | None) -> None:
        """Start from the net as it is."""
        self.decay = decay
        self.updates = 0
        self.net = net if decay is None else copy.deepcopy(net).requires_grad_(False)

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take the net's present values in."""
        if self.decay is None:
            return
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        ours, theirs = list(self.net.state_dict().values()), list(net.state_dict().values())
        pairs = list(zip(ours, theirs, strict=True))
        averaged = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in averaged], [b for _, b in averaged], weight)
        for a, b in pairs:
            if not a.is_floating_point():
                a.copy_(b)

    def state_dict(self) -> dict[str, Any]:
        """The averages and their count; empty where nothing is averaged."""
        return {} if self.decay is None else {"net": self.net.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        if self.decay is not None:
            self.net.load_state_dict(state["net"])
            self.updates = state["updates"]
