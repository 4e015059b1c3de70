"""Steps whose loss is not finite: named, or left out as if they had not been."""

import torch
from torch import Tensor, nn

from residua.errors import NumericError
from residua.training.state import State


class NotFinite(NumericError):
    """The loss of a step is not finite; `step` counts from 1."""

    def __init__(self, line: str, step: int = 0) -> None:
        """What to say, of which step (0: said again by who knows no step)."""
        super().__init__(line)
        self.step = step


def buffers(net: nn.Module) -> list[Tensor]:
    """A copy of what a forward pass in training changes: running statistics, which one NaN would spoil for good."""
    return [b.detach().clone() for b in net.buffers()]


def finite(state: State, sums: Tensor) -> bool:
    """Whether a step may be taken: its loss has an end, and so have its gradients and the running statistics.

    Pixels of 1e30 give norms a variance without an end, and everything behind them numbers that have one. Where
    gradients are scaled (fp16) theirs may be infinite: the scaler leaves such steps out and scales less.
    """
    if not all(bool(t.isfinite().all()) for t in (sums, *state.net.buffers())):
        return False
    grads = [p.grad for p in state.net.parameters() if p.grad is not None]
    return state.scaler.is_enabled() or bool(nn.utils.get_total_norm(grads).isfinite())


@torch.no_grad()
def undo(state: State, before: list[Tensor]) -> Tensor:
    """Leave a step out: the net as it was; gives the sums of no picture. A scaler scales less from now on."""
    for buffer, kept in zip(state.net.buffers(), before, strict=True):
        buffer.copy_(kept)
    state.scaler.unscale_(state.optimiser)
    state.scaler.update()
    state.optimiser.zero_grad(set_to_none=True)
    state.skipped += 1
    return torch.zeros_like(state.epoch)
