"""A net as a chain of links that can be left out: ``head(unit(...unit(stem(x))))``.

A link is the stem, a unit, or the head; of AlexNet, VGG and GoogLeNet, which have no units, a layer (convolution, norm
and ReLU) or an Inception module. A pool belongs to the link behind it and stays when that link is left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod

from torch import Tensor, nn
from torch.nn import functional

from residua.nn.blocks import Residual, Zero
from residua.nn.classics import Concat
from residua.nn.cost import Flow, Ledger, slide, through
from residua.nn.resnet import Net, units
from residua.words import unknown


@dataclass(frozen=True)
class Link:
    """One link: `stage` counts from 0, -1 is the stem, the number of stages the head. `unit`: it is a `Residual`.

    `path` is that of the `Residual`, of the layer's convolution or of the Inception module. `module` may also hold what
    stands in front: the pool, or the shared norm and ReLU of a pre-activation unit whose shape changes.
    """

    path: str
    stage: int
    module: nn.Module
    removable: bool = True
    unit: bool = False


class Fit(nn.Module):
    """The input in another shape, without parameters: what stands in for a removed layer that changes the shape.

    x: (N, c_in, H, W) -> (N, c_out, ceil((H - border) / stride), ceil((W - border) / stride)): every `stride`-th pixel
    within the border, new channels zero and surplus ones cut, half in front and half behind (shortcut A, both ways).
    """

    def __init__(self, c_in: int, c_out: int, stride: int, border: int = 0) -> None:
        """Take the shapes; `border` is how many pixels of each side of the map no window is centred on."""
        super().__init__()
        self.stride, self.border = stride, border
        self.front = (c_out - c_in) // 2
        self.back = c_out - c_in - self.front

    def forward(self, x: Tensor) -> Tensor:
        """x in its new shape."""
        first, last = self.border // 2, self.border - self.border // 2
        rows, columns = (slice(first, side - last, self.stride) for side in x.shape[2:])
        return functional.pad(x[:, :, rows, columns], (0, 0, 0, 0, self.front, self.back))

    def extra_repr(self) -> str:
        """The numbers, for `print(net)`."""
        return f"stride={self.stride}, border={self.border}, front={self.front}, back={self.back}"


@through.register
def _(module: Fit, x: Flow, name: str, ledger: Ledger) -> Flow:
    sides = tuple(-(-(s - module.border) // module.stride) for s in x.shape[1:])
    y = replace(slide(x, 1, module.stride, sides, ledger), shape=(x.shape[0] + module.front + module.back, *sides))
    return ledger.row(name, "fit" + f" /{module.stride}" * (module.stride > 1), y)


# -- the chain ------------------------------------------------------------------------------------------------------


def chain(net: nn.Module) -> list[Link]:
    """The links in network order: stem, units (or layers), head. In evaluation mode their composition is the net.

    They hold the net's own modules. Raises TypeError for a module that is no `Net`.
    """
    if not isinstance(net, Net):
        raise TypeError(f"{type(net).__name__} is no Net: it has no stem, stages and head")
    parts: list[tuple[int, str, nn.Module]] = []
    if units(net) or not isinstance(net.stem, nn.Sequential):
        parts.append((-1, "stem", net.stem))
    else:
        parts += [(-1, f"stem.{name}", child) for name, child in net.stem.named_children()]
    for i, stage in enumerate(net.stages):
        parts += [(i, f"stages.{i}.{name}", child) for name, child in stage.named_children()]
    return _linked(parts, net)


def _linked(parts: list[tuple[int, str, nn.Module]], net: Net) -> list[Link]:
    """The links of (stage, path, module) in order, and the head."""
    links: list[Link] = []
    front: list[nn.Module] = []  # pools that wait for the layer behind them
    for stage_index, path, module in parts:
        if isinstance(module, nn.MaxPool2d):
            front.append(module)
        elif links and isinstance(module, nn.BatchNorm2d | nn.ReLU):
            links[-1] = replace(links[-1], module=_joined(links[-1].module, module))
        else:
            links.append(_link(path, stage_index, module, front))
            front = []
    head = _joined(*front, net.head)
    return [*links, Link("head", len(net.stages), head, removable=False)]


def _link(path: str, stage: int, module: nn.Module, front: Sequence[nn.Module]) -> Link:
    """The link of one child of the stem or of a stage, with the pools in front of it."""
    if isinstance(module, nn.Conv2d | Concat):
        return Link(path, stage, _joined(*front, module))
    if stage < 0:
        return Link("stem", stage, _joined(*front, module), removable=False)
    inner = [f".{name}" for name, child in module.named_children() if isinstance(child, Residual)]
    if not isinstance(module, Residual) and not inner:
        return Link(path, stage, _joined(*front, module), removable=False)
    return Link(
        path + (inner[0] if not isinstance(module, Residual) else ""), stage, _joined(*front, module), unit=True
    )


def _joined(*modules: nn.Module) -> nn.Module:
    """The modules one after the other, flat; one alone as it is."""
    if len(modules) == 1:
        return modules[0]
    return nn.Sequential(*(c for m in modules for c in (m.children() if type(m) is nn.Sequential else (m,))))


def run(links: Iterable[Link], x: Tensor) -> Tensor:
    """What leaves the last of the links when x enters the first."""
    for link in links:
        x = link.module(x)
    return x


def keeps_shape(link: Link) -> bool:
    """Whether what enters has the shape of what leaves, so that the link may change places with others."""
    if not link.removable or _pools(link):
        return False
    if not link.unit:
        return isinstance(_fit(_layers(link)[0]), nn.Identity)
    return isinstance(link.module, Residual) and isinstance(_fit(link.module.branch), nn.Identity)


def removable(net: nn.Module) -> list[Link]:
    """The links that can be left out."""
    return [link for link in chain(net) if link.removable]


# -- links left out -------------------------------------------------------------------------------------------------


def remainder(link: Link) -> nn.Module:
    """What is left of a link without its layers: a map between the same shapes, on the link's own modules.

    A unit's is ``act(shortcut(x))``. A unit without a shortcut (a plain net's) and a layer leave the identity, or `Fit`
    where the shape changes; pools stay. Raises ValueError for the stem and the head.
    """
    if not link.removable:
        raise ValueError(f"{link.path} cannot be left out")
    if link.unit:
        if isinstance(link.module, Residual):
            return _bare(link.module)
        return nn.Sequential(*(_bare(m) if isinstance(m, Residual) else m for m in link.module.children()))
    return _joined(*_pools(link), _fit(_layers(link)[0]))


def _pools(link: Link) -> list[nn.Module]:
    """The pools in front of a layer."""
    return [m for m in _parts(link.module) if isinstance(m, nn.MaxPool2d)]


def _layers(link: Link) -> list[nn.Module]:
    """A layer's convolution (or Inception module), norm and ReLU."""
    return [m for m in _parts(link.module) if not isinstance(m, nn.MaxPool2d)]


def _parts(module: nn.Module) -> list[nn.Module]:
    return list(module.children()) if isinstance(module, nn.Sequential) else [module]


def _bare(unit: Residual) -> Residual:
    return Residual(Zero(), _shortcut_without(unit), unit.act)


def _shortcut_without(unit: Residual) -> nn.Module:
    """The shortcut of a unit whose branch is gone."""
    return _fit(unit.branch) if isinstance(unit.shortcut, Zero) else unit.shortcut


def _fit(layers: nn.Module) -> nn.Module:
    """The identity where the layers leave the shape as it is, else `Fit`."""
    paths = [[m for m in p.modules() if isinstance(m, nn.Conv2d)] for p in _paths(layers)]
    if not all(paths):
        return nn.Identity()
    c_in, c_out = paths[0][0].in_channels, sum(p[-1].out_channels for p in paths)
    stride = prod(c.stride[0] for c in paths[0])
    border = sum(c.kernel_size[0] - 1 - 2 * int(c.padding[0]) for c in paths[0])
    return nn.Identity() if (c_in, stride, border) == (c_out, 1, 0) else Fit(c_in, c_out, stride, border)


def _paths(layers: nn.Module) -> list[nn.Module]:
    return list(layers.children()) if isinstance(layers, Concat) else [layers]


@contextmanager
def without(net: nn.Module, paths: Iterable[str]) -> Iterator[None]:
    """The net without the units or layers of these paths; on exit, whatever happens, every module is back.

    Each leaves its `remainder`. Raises UsageError for a path that cannot be left out.
    """
    links = {link.path: link for link in removable(net)}
    swaps: list[tuple[nn.Module, str, nn.Module]] = []
    for path in dict.fromkeys(paths):
        if path not in links:
            raise unknown("unit", path, links)
        swaps += _swaps(net, links[path])
    before = [(parent, name, getattr(parent, name)) for parent, name, _ in swaps]
    try:
        for parent, name, module in swaps:
            setattr(parent, name, module)
        yield
    finally:
        for parent, name, module in before:
            setattr(parent, name, module)


def _swaps(net: nn.Module, link: Link) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(parent, name, what stands there instead) of every module that goes."""
    if link.unit:
        unit = net.get_submodule(link.path)
        assert isinstance(unit, Residual)
        yield unit, "branch", Zero()
        if isinstance(unit.shortcut, Zero):
            yield unit, "shortcut", _shortcut_without(unit)
        return
    parent = net.get_submodule(link.path.rpartition(".")[0])
    first, *rest = _layers(link)
    for name, child in parent.named_children():
        if child is first:
            yield parent, name, _fit(child)
        elif any(child is m for m in rest):
            yield parent, name, nn.Identity()
