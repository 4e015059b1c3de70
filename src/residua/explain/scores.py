"""Is a map to be believed? What happens to the answer when pixels come or go in its order, and to it without training.

Insertion and deletion: Petsiuk et al. 2018, "RISE", sec. 4.1 and algorithm 1, arXiv:1806.07421. Randomised weights:
Adebayo et al. 2018, sec. 3, arXiv:1810.03292: a map that stays as it was shows the picture, not the net.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from residua.engine import Engine
from residua.evaluate import evaluating, tempered
from residua.explain.maps import logits_of
from residua.nn.resnet import Net, initialise
from residua.seeds import generator

#: Parts in which the pixels come or go (RISE: 224, one row's worth each), and pictures shown at a time.
PARTS, AT_ONCE = 28, 32
#: Random maps whose mean scores stand beside those of a map.
RANDOM = 4
#: Side of the grid of a random map's numbers.
GRID = 7


@dataclass(frozen=True)
class Scores:
    """Areas under the target's probability, 0 to 1: higher insertion and lower deletion are better.

    `insertion`: pixels come onto the blurred picture, the map's strongest first; `deletion`: they become the mean
    colour. `_random`: the means of smooth random maps on the same picture.
    """

    insertion: float
    deletion: float
    insertion_random: float
    deletion_random: float


@dataclass(frozen=True, eq=False)
class Judge:
    """A net that says how probable a class is."""

    net: Net
    engine: Engine
    temperature: float | None = None

    def scores(self, image: Tensor, target: int, heat: Tensor, name: str = "") -> Scores:
        """The scores of one map (S, S) of an image (C, S, S); random maps and ties are keyed by `name`."""
        own = self.areas(image, target, heat, name)
        by_chance = [self.areas(image, target, m, name) for m in random_maps(heat.shape[-1], RANDOM, name)]
        insertion, deletion = np.mean(by_chance, axis=0).tolist()
        return Scores(*own, insertion, deletion)

    def areas(self, image: Tensor, target: int, heat: Tensor, name: str = "") -> tuple[float, float]:
        """(insertion, deletion) of a map."""
        order = ranked(heat, name)
        rising = self._curve(blurred(image), image, order, target)
        falling = self._curve(image, torch.zeros_like(image), order, target)
        return area(rising), area(falling)

    def _curve(self, start: Tensor, end: Tensor, order: Tensor, target: int) -> Tensor:
        """The target's probability while the pixels of `start` become those of `end` in their order: (PARTS + 1,)."""
        steps = torch.linspace(0, 1, PARTS + 1)
        shown = [torch.where(order < step, end, start) for step in steps]
        with evaluating(self.net), torch.inference_mode(), self.engine.autocast():
            found = [
                tempered(logits_of(self.net, self.engine.move(torch.stack(shown[i : i + AT_ONCE]))), self.temperature)
                for i in range(0, len(shown), AT_ONCE)
            ]
        return torch.cat(found).softmax(1)[:, target].cpu()


def ranked(heat: Tensor, name: str = "") -> Tensor:
    """The share of pixels that are stronger than each pixel of a map (S, S), in [0, 1); equal ones in random order."""
    flat = heat.flatten().double().numpy()
    order = np.lexsort((generator("ties", name).random(flat.size), -flat))
    place = np.empty(flat.size)
    place[order] = np.arange(flat.size) / flat.size
    return torch.from_numpy(place).reshape(heat.shape)


def area(curve: Tensor) -> float:
    """The area under values at equal steps from 0 to 1, by trapezoids."""
    return float(torch.trapezoid(curve.double(), dx=1 / (len(curve) - 1)))


def random_maps(side: int, n: int, name: str = "") -> Iterator[Tensor]:
    """Maps (side, side) of smooth noise: as coarse as those of a last stage."""
    for i in range(n):
        cells = torch.from_numpy(generator("random map", name, i).random((1, 1, GRID, GRID), np.float32))
        yield functional.interpolate(cells, (side, side), mode="bilinear", align_corners=False)[0, 0]


def blurred(image: Tensor) -> Tensor:
    """The image (C, S, S) without detail: a Gaussian of 5 of 224 pixels, RISE's."""
    side = image.shape[-1]
    sigma = max(0.5, 5 * side / 224)
    reach = min(side - 1, max(1, round(3 * sigma)))
    line = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    line = (line / line.sum()).to(image.dtype)
    x = functional.pad(image[None], [reach] * 4, mode="reflect") if side > 1 else image[None]
    if side == 1:
        return image
    kernel = line.expand(len(image), 1, 1, -1)
    x = functional.conv2d(functional.conv2d(x, kernel, groups=len(image)), kernel.transpose(2, 3), groups=len(image))
    return x[0]


# -- without training -----------------------------------------------------------------------------------------------


def randomised(net: Net, seed: int = 0) -> Iterator[tuple[str, Net]]:
    """Copies of a net with fresh weights from the top down: the head's, then also the last stage's, and so on.

    Gives (the part that became random last, the copy); the copy is the same object each time. The net stays as it is.
    """
    made = copy.deepcopy(net)
    parts = [("head", made.head), *((f"stages.{i}", s) for i, s in reversed(list(enumerate(made.stages))))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, part in [*parts, ("stem", made.stem)]:
            forget(part)
            yield name, made


def forget(part: nn.Module) -> None:
    """Weights and statistics as they are before training, in place, drawn on the CPU: the same on every device."""
    device = next((p.device for p in part.parameters()), None)
    part.cpu()
    for m in part.modules():
        if isinstance(m, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
            m.reset_parameters()
    initialise(part)
    if device is not None:
        part.to(device)


def likeness(net: Net, maps: Callable[[Net], Tensor]) -> dict[str, float]:
    """The mean rank correlation of a net's maps with those of the net randomised from the top down, by part.

    `maps` gives a net's maps (N, h, w). Near 0 where a map depends on what was learned; maps without any contrast
    count as 0.
    """
    own = maps(net)
    return {
        name: float(np.mean([rank_correlation(a, b) for a, b in zip(own, maps(other).nan_to_num(), strict=True)]))
        for name, other in randomised(net)
    }


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rho of two maps: the correlation of their ranks, equal values sharing the mean of theirs."""
    x, y = (_ranks(v.flatten().double()) for v in (a, b))
    x, y = x - x.mean(), y - y.mean()
    size = float(x.norm() * y.norm())
    return float(x @ y) / size if size > 0 else 0.0


def _ranks(values: Tensor) -> Tensor:
    _, which, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    shared: Tensor = last - (counts.double() - 1) / 2
    return shared[which]
