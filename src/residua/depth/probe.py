"""What units do to their inputs, read by hooks while a net runs: ratios, cosines, and the spread of layer responses."""

from collections.abc import Callable, Iterator
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from residua.depth.chain import Link, chain
from residua.nn.blocks import Residual
from residua.nn.classics import Concat

#: Below this the norm of what a unit is added to counts as zero, and the image is left out.
TINY = 1e-12


class Relation:
    """Sums over images of |F(x)| / |x| and of the cosine of x and H(x); where a number makes no sense it stays None.

    x is what the sum adds F(x) to, the shortcut's output, and H(x) the sum before the activation. Without a shortcut
    H(x) = F(x), x is the input, and there is no ratio, and no cosine either where the shapes differ.
    """

    def __init__(self) -> None:
        """Nothing has been seen."""
        self.sums: Tensor | None = None  # ratio, cosine, images that count
        self.has_ratio = self.has_cosine = False

    def add(self, x: Tensor, h: Tensor, branch: Tensor | None) -> None:
        """Count a batch: x and h (N, ...), and the branch's output where there is a shortcut."""
        if x.shape != h.shape:
            return
        x, h = x.float(), h.float()
        size, length = _norms(x), _norms(h)
        cosine = _sums(x * h) / (size * length).clamp_min(TINY)
        ratio = torch.zeros_like(size) if branch is None else _norms(branch.float()) / size.clamp_min(TINY)
        counted = size > TINY
        rows = torch.stack((ratio, cosine, torch.ones_like(size)))
        added = torch.where(counted, rows, 0).to(_exact(x)).sum(1)
        self.sums = added if self.sums is None else self.sums + added
        self.has_cosine, self.has_ratio = True, branch is not None

    def means(self) -> tuple[float | None, float | None]:
        """(|F(x)| / |x|, cosine of x and H(x)), means over the images."""
        if self.sums is None:
            return None, None
        ratio, cosine, n = self.sums.tolist()
        if not n:
            return None, None
        return ratio / n if self.has_ratio else None, cosine / n if self.has_cosine else None


class Spread:
    """Mean and standard deviation of all values that a layer gave, exact, in one pass (Chan et al. 1983, eq. 2.1)."""

    def __init__(self) -> None:
        """Nothing has been seen."""
        self.n, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, values: Tensor) -> None:
        """Count all values of a batch."""
        exact = values.to(_exact(values), copy=True)
        n, mean = exact.numel(), float(exact.mean())
        squares = float(torch.linalg.vector_norm(exact.sub_(mean))) ** 2
        away = mean - self.mean
        total = self.n + n
        self.squares += squares + away * away * self.n * n / total
        self.mean += away * n / total
        self.n = total

    @property
    def std(self) -> float:
        """The standard deviation (of the population, not a sample's)."""
        return float((self.squares / self.n) ** 0.5) if self.n else 0.0


class Probe:
    """Hooks on a net while the block lasts: `relations` of its units (or layers), `spreads` of its layers' responses.

    The net computes what it computes without them. With ``responses=False`` no spreads are taken.
    """

    def __init__(self, net: nn.Module, responses: bool = True) -> None:
        """Find the places; nothing is attached yet."""
        self.links = [link for link in chain(net) if link.removable]
        self.relations = {link.path: Relation() for link in self.links}
        self.places = dict(layers(net)) if responses else {}
        self.spreads = {name: Spread() for name in self.places}
        self._held: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        """Attach."""
        for name, module in self.places.items():
            self._hooks.append(module.register_forward_hook(self._response(name)))
        for link in self.links:
            self._attach(link)
        return self

    def __exit__(self, *error: object) -> None:
        """Detach."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._held.clear()

    def _attach(self, link: Link) -> None:
        if link.unit:
            unit = residual(link)
            self._hooks.append(unit.shortcut.register_forward_hook(self._hold(link.path)))
            self._hooks.append(unit.branch.register_forward_hook(self._sum(link.path)))
            return
        first, last = ends(link)
        self._hooks.append(first.register_forward_pre_hook(self._enter(link.path)))
        self._hooks.append(last.register_forward_hook(self._leave(link.path)))

    def _response(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, x, y: self.spreads[name].add(y.detach())

    def _hold(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, x: tuple[Tensor, ...], y: Tensor) -> None:
            self._held[path] = y.detach()

        return hook

    def _sum(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, x: tuple[Tensor, ...], y: Tensor) -> None:
            shortcut, branch = self._held.pop(path), y.detach()
            if shortcut.ndim == 0:  # a plain net's
                self.relations[path].add(x[0].detach(), branch, None)
            else:
                self.relations[path].add(shortcut, shortcut + branch, branch.expand_as(shortcut))

        return hook

    def _enter(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, x: tuple[Tensor, ...]) -> None:
            self._held[path] = x[0].detach()

        return hook

    def _leave(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, x, y: self.relations[path].add(self._held.pop(path), y.detach(), None)


def residual(link: Link) -> Residual:
    """The unit itself of a link that is one."""
    return next(m for m in link.module.modules() if isinstance(m, Residual))


def ends(link: Link) -> tuple[nn.Module, nn.Module]:
    """Where a layer begins and where its response leaves: its convolution and its norm (or an Inception module)."""
    inside = link.module.children() if isinstance(link.module, nn.Sequential) else iter((link.module,))
    parts = [m for m in inside if isinstance(m, nn.Conv2d | nn.BatchNorm2d | Concat)]
    return parts[0], parts[-1]


def layers(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path of a convolution, module that its response leaves), in network order, shortcuts' projections left out.

    The response is what leaves the norm behind the convolution, or the convolution where no norm follows at once:
    before any non-linearity and before the addition (He et al. 2015, fig. 7).
    """
    names = {id(m): name for name, m in net.named_modules()}
    for link in chain(net)[:-1]:
        inside = residual(link).branch if link.unit else link.module
        for sequence in [m for m in inside.modules() if isinstance(m, nn.Sequential)] or [nn.Sequential(inside)]:
            children = list(sequence.children())
            for child, behind in zip(children, [*children[1:], None], strict=True):
                if isinstance(child, nn.Conv2d):
                    yield names[id(child)], behind if isinstance(behind, nn.BatchNorm2d) else child


def _norms(x: Tensor) -> Tensor:
    """The length of each image's vector: (N, ...) -> (N,)."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)))
    return norms


def _sums(x: Tensor) -> Tensor:
    return x.sum(dim=tuple(range(1, x.ndim)))


def _exact(x: Tensor) -> torch.dtype:
    """float64, but on Apple GPUs, which have none."""
    return torch.float32 if x.device.type == "mps" else torch.float64
