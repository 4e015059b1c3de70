"""What is exported: nets with what stands before and behind them, as modules that any exporter can follow."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from residua.data.view import View
from residua.errors import UsageError
from residua.export.fitting import Fitting
from residua.export.folding import folded

#: How a file takes pictures: of any size; at the view's side; as normalised numbers; scaled as the view scales a whole.
ANY, SQUARE, RAW, SCALED = "any", "square", "raw", "scaled"


class Normalised(nn.Module):
    """Pixels (N, C, S, S), 0 to 255, as the view normalises them: float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, view: View) -> None:
        """Of a view."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(view.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(view.std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """(x / 255 - mean) / std."""
        return (pixels.float() / 255 - self.mean) / self.std


class Naming(nn.Module):
    """Pictures -> probabilities (N, K), and the logits (N, K) that they are made of, before the temperature."""

    def __init__(self, net: nn.Module, view: View, temperature: float | None, *, fitted: bool) -> None:
        """Around a net; `fitted`: pictures come in any size and are fitted inside."""
        super().__init__()
        self.fitting = Fitting(view) if fitted else nn.Identity()
        self.normalised = Normalised(view)
        self.net = net
        self.temperature = 1.0 if temperature is None else temperature

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (N, C, H, W) in."""
        logits = self.net(self.normalised(self.fitting(pictures)))
        return (logits / self.temperature).softmax(1), logits


@dataclass(frozen=True, eq=False)
class Graph:
    """A module to export: an example of its input, the axes of it that may change by name, and its outputs' names.

    `takes` is one of the words above. `loose`: torch may assume that sides are not tiny, as far as it says so itself.
    """

    module: nn.Module
    takes: str
    example: Tensor
    axes: dict[int, str]
    outputs: tuple[str, ...]
    loose: bool = False

    @property
    def input(self) -> str:
        """The name of the input."""
        return "images" if self.takes == RAW else "pictures"

    @property
    def shape(self) -> list[Any]:
        """The input's shape: numbers, and names where it may change."""
        return [self.axes.get(i, n) for i, n in enumerate(self.example.shape)]


def graph(net: nn.Module, view: View, temperature: float | None, takes: str) -> Graph:
    """The graph of a classifier, its norms folded. Raises UsageError for a net that would not say the same alone."""
    kept = folded(net)
    for numbers in (*kept.parameters(), *kept.buffers()):
        # NNCF takes weights in channels_last for others: a net that is right on 92 % of CIFAR-10 was so on 19 % then.
        numbers.data = numbers.data.cpu().clone(memory_format=torch.contiguous_format)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if takes == RAW:
            example = torch.randn(2, view.channels, view.side_px, view.side_px)
            return Graph(kept, takes, example, {0: "n"}, ("logits",))
        sides = (view.resize_px + 5, view.resize_px + 13) if takes == ANY else (view.side_px, view.side_px)
        example = torch.randint(0, 256, (2, view.channels, *sides), dtype=torch.uint8)
    axes = {0: "n", 2: "height", 3: "width"} if takes == ANY else {0: "n"}
    module = Naming(kept, view, temperature, fitted=takes == ANY).eval()
    if temperature is not None and not temperature > 0:
        raise UsageError(f"a temperature is positive, got {temperature}")
    return Graph(module, takes, example, axes, ("probabilities", "logits"))
