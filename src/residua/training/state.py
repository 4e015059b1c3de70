"""Everything that a training changes, as one value that is saved and taken up again."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from residua.engine import Engine
from residua.training.hold import hold
from residua.training.optimise import Ema, optimiser
from residua.training.recipe import Recipe
from residua.training.schedule import Memory


@dataclass
class State:
    """All that training changes. `ema.net` is what to evaluate and keep: the net itself unless weights are averaged.

    `epoch` holds the sums of the unfinished epoch: loss, wrong, images; `seconds` its time, `waited` the part of it
    that was spent waiting for data, `skipped` how many of its steps were left out since their loss had no end.
    """

    net: nn.Module
    optimiser: Optimizer
    ema: Ema
    scaler: torch.amp.GradScaler
    epoch: Tensor
    step: int = 0
    memory: Memory = field(default_factory=Memory)
    seconds: float = 0.0
    waited: float = 0.0
    skipped: int = 0
    slices: int = 1  # that a batch is cut into: the recipe's number, or more where memory ran out
    lesson: nn.Module | None = None  # the net with its losses, where a forward pass in training is not the net's own
    parallel: nn.Module | None = None  # either among those of other processes, while they train together

    @property
    def model(self) -> nn.Module:
        """What a forward pass in training goes through."""
        return self.lessons if self.parallel is None else self.parallel

    @property
    def lessons(self) -> nn.Module:
        """What training calls: the net with its losses, or the net itself."""
        return self.net if self.lesson is None else self.lesson

    def state_dict(self) -> dict[str, Any]:
        """Tensors, words and numbers: loads with ``weights_only=True``."""
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "memory": asdict(self.memory),
            "seconds": self.seconds,
            "waited": self.waited,
            "skipped": self.skipped,
            "slices": self.slices,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave, in this net's memory format."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        for p, kept in self.optimiser.state.items():  # fused kernels need the layout of the parameter
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.shape == p.shape:
                    kept[name] = torch.empty_like(p, dtype=value.dtype).copy_(value)
        self.ema.load_state_dict(state["ema"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch.copy_(state["epoch"])
        self.step, self.seconds, self.waited = state["step"], state["seconds"], state.get("waited", 0.0)
        self.skipped = state.get("skipped", 0)
        self.memory = Memory(**state["memory"])
        self.slices = max(self.slices, state.get("slices", 1))


def begin(net: nn.Module, recipe: Recipe, engine: Engine) -> State:
    """The state before the first step, of a net that the engine has placed."""
    sums = torch.zeros(3, dtype=torch.float32 if engine.kind == "mps" else torch.float64, device=engine.device)
    hold(net, recipe.freeze)
    return State(net, optimiser(net, recipe), Ema(net, recipe.ema), engine.scaler(), sums, slices=recipe.accumulate)
