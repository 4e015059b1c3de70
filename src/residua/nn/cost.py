"""What a net costs: parameters, multiply-adds, activation memory and receptive fields, exact and without running it.

One rule per kind of layer says what leaves it; a walk through the net adds up. Nothing is allocated.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import singledispatch
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from residua.nn.arch import Arch, Row
from residua.nn.blocks import Pad, Residual, Zero
from residua.nn.classics import AtLeast, Concat
from residua.nn.resnet import Net
from residua.nn.zoo import build

FLOAT_BYTES = 4


@dataclass(frozen=True)
class LayerCost:
    """One layer for one image. `out_shape` is (C, H, W), or (features,) behind the last pool.

    `receptive_field` is the side in pixels of the square that one output pixel can see (through the longest of
    parallel paths; it may be larger than the image).
    """

    name: str
    kind: str
    out_shape: tuple[int, ...]
    params: int
    macs: int
    receptive_field: int


@dataclass(frozen=True)
class Cost:
    """A net for one image of `side_px`.

    `params` and `macs` are those of evaluation: GoogLeNet's auxiliary heads are left out. `macs` are multiply-adds of
    convolutions and linear layers (torchvision's "GFLOPS"). `activation_bytes` are the float32 maps that training
    keeps for the backward pass, each counted once: what enters a convolution, norm, pool or linear layer and what
    leaves a ReLU (statistics, pool indices and dropout masks are left out).
    """

    side_px: int
    params: int
    macs: int
    activation_bytes: int
    layers: list[LayerCost]


def cost(row: Row, side_px: int | None = None) -> Cost:
    """What the row's net costs on its own image size, or on `side_px`. Raises UsageError for images too small."""
    return cost_of(blueprint(row), row.channels, side_px or own_side(row))


def cost_of(net: nn.Module, channels: int, side_px: int) -> Cost:
    """What a net, edited or not, costs for an image of (channels, side_px, side_px)."""
    ledger = Ledger()
    through(net, Flow((channels, side_px, side_px)), "", ledger)
    rows = ledger.rows
    return Cost(side_px, sum(r.params for r in rows), sum(r.macs for r in rows), sum(ledger.kept.values()), rows)


def layers(net: nn.Module) -> int:
    """Weighted layers (convolutions and linear layers) on the longest path through a net."""
    return through(net, Flow((1, 224, 224)), "", Ledger()).layers


def own_side(row: Row) -> int:
    """The image side in pixels that the row was made for."""
    return {"3x3": 32, "5x5": 64}.get(row.stem, 224) if isinstance(row, Arch) else 224


def blueprint(row: Row) -> Net:
    """The net of a row on the meta device: names and shapes without memory."""
    with on_meta():
        return build(row)


@contextmanager
def on_meta() -> Iterator[None]:
    """What is built within has names and shapes, and takes neither memory nor time."""
    with torch.device("meta"), Unfilled():
        yield


class Unfilled(TorchFunctionMode):
    """Within it nothing is initialised: on the meta device that would only take time, and import the compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Any function but those that fill a tensor, which is returned as it is."""
        kwargs = kwargs or {}
        if func in FILL:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


FILL = (
    *(Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_),
    *(nn.init.normal_, nn.init.uniform_, nn.init.constant_, nn.init.kaiming_uniform_),
)


# -- the walk -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flow:
    """What is known at one place of a net, for one image."""

    shape: tuple[int, ...]  # (C, H, W) or (features,); () is the zero of a plain net's shortcut
    field: int = 1  # px that one position sees
    jump: int = 1  # px between the centres of neighbouring fields
    layers: int = 0  # weighted layers on the longest path so far
    tensor: int = 0  # which tensor holds the numbers: an in-place layer leaves it as it is

    @property
    def span(self) -> int:
        """Px that all positions see together."""
        return self.field + (self.shape[-1] - 1) * self.jump if len(self.shape) == 3 else self.field


@dataclass
class Ledger:
    """What a walk writes down."""

    rows: list[LayerCost] = field(default_factory=list)
    kept: dict[int, int] = field(default_factory=dict)  # tensor -> bytes
    tensors: int = 0

    def new(self) -> int:
        """The number of a fresh tensor."""
        self.tensors += 1
        return self.tensors

    def keep(self, x: Flow) -> None:
        """Training keeps x."""
        self.kept[x.tensor] = FLOAT_BYTES * prod(x.shape)

    def row(self, name: str, kind: str, y: Flow, module: nn.Module | None = None, macs: int = 0) -> Flow:
        """Write the layer that y leaves; returns y."""
        params = sum(p.numel() for p in module.parameters(recurse=False)) if module is not None else 0
        self.rows.append(LayerCost(name, kind, y.shape, params, macs, y.field))
        return y


@singledispatch
def through(module: nn.Module, x: Flow, name: str, ledger: Ledger) -> Flow:
    """What leaves a module that x enters; its layers are written into the ledger."""
    raise TypeError(f"{name}: no rule for the cost of {type(module).__name__}")


def inside(children: Mapping[str, nn.Module], x: Flow, name: str, ledger: Ledger) -> Flow:
    """One child after the other."""
    for key, child in children.items():
        x = through(child, x, f"{name}.{key}" if name else key, ledger)
    return x


@through.register
def _(module: nn.Sequential, x: Flow, name: str, ledger: Ledger) -> Flow:
    return inside(dict(module.named_children()), x, name, ledger)


@through.register
def _(module: Net, x: Flow, name: str, ledger: Ledger) -> Flow:
    return inside({"stem": module.stem, "stages": module.stages, "head": module.head}, x, name, ledger)


@through.register
def _(module: Residual, x: Flow, name: str, ledger: Ledger) -> Flow:
    branch = through(module.branch, x, f"{name}.branch", ledger)
    shortcut = through(module.shortcut, x, f"{name}.shortcut", ledger)
    y = ledger.row(name, "sum", merged([branch, shortcut], branch.shape or shortcut.shape, ledger))
    return through(module.act, y, f"{name}.act", ledger)


@through.register
def _(module: Concat, x: Flow, name: str, ledger: Ledger) -> Flow:
    paths = [through(path, x, f"{name}.{key}", ledger) for key, path in module.named_children()]
    shape = (sum(p.shape[0] for p in paths), *paths[0].shape[1:])
    return ledger.row(name, "concat", merged(paths, shape, ledger))


def merged(paths: list[Flow], shape: tuple[int, ...], ledger: Ledger) -> Flow:
    """Parallel paths become one map: the widest field and the longest path count."""
    return Flow(
        shape,
        field=max(p.field for p in paths),
        jump=max(p.jump for p in paths),
        layers=max(p.layers for p in paths),
        tensor=ledger.new(),
    )


@through.register
def _(module: Zero, x: Flow, name: str, ledger: Ledger) -> Flow:
    return Flow((), field=0, jump=0, tensor=ledger.new())


@through.register
def _(module: nn.Identity, x: Flow, name: str, ledger: Ledger) -> Flow:
    return x


@through.register
def _(module: AtLeast, x: Flow, name: str, ledger: Ledger) -> Flow:
    module.check(*x.shape[-2:])
    return x


@through.register
def _(module: nn.Conv2d, x: Flow, name: str, ledger: Ledger) -> Flow:
    ledger.keep(x)
    size, stride, padding, dilation = (_square(v) for v in _window(module))
    reach = dilation * (size - 1) + 1
    y = slide(x, reach, stride, tuple((s + 2 * padding - reach) // stride + 1 for s in x.shape[1:]), ledger)
    y = replace(y, shape=(module.out_channels, *y.shape[1:]), layers=x.layers + 1)
    macs = prod(y.shape) * module.in_channels // module.groups * size * size
    kind = f"conv {size}x{size}" + f" /{stride}" * (stride > 1) + f" in {module.groups} groups" * (module.groups > 1)
    return ledger.row(name, kind, y, module, macs)


@through.register
def _(module: nn.MaxPool2d, x: Flow, name: str, ledger: Ledger) -> Flow:
    ledger.keep(x)
    size, stride, padding, _ = (_square(v) for v in _window(module))
    sides = tuple(pooled(s, size, stride, padding, module.ceil_mode) for s in x.shape[1:])
    kind = f"max-pool {size}x{size}" + f" /{stride}" * (stride > 1)
    return ledger.row(name, kind, slide(x, size, stride, sides, ledger))


def slide(x: Flow, size: int, stride: int, sides: tuple[int, ...], ledger: Ledger) -> Flow:
    """What a window of `size` that moves by `stride` leaves: the field grows, the jump multiplies."""
    return replace(
        x,
        shape=(x.shape[0], *sides),
        field=x.field + (size - 1) * x.jump,
        jump=x.jump * stride,
        tensor=ledger.new(),
    )


def pooled(side: int, size: int, stride: int, padding: int, up: bool) -> int:
    """The side that a pool leaves; rounding up, the last window must begin inside the map (torch's rule)."""
    rest = side + 2 * padding - size
    out = (ceil(rest / stride) if up else rest // stride) + 1
    return out - 1 if up and (out - 1) * stride >= side + padding else out


@through.register
def _(module: nn.AdaptiveAvgPool2d, x: Flow, name: str, ledger: Ledger) -> Flow:
    size = _square(module.output_size)
    if size > 1:  # a mean over everything needs nothing but the shape for its backward pass
        ledger.keep(x)
    # A head flattens what this leaves, so the field is that of all positions.
    y = Flow((x.shape[0], size, size), field=x.span, jump=0, layers=x.layers, tensor=ledger.new())
    return ledger.row(name, "mean" if size == 1 else f"mean to {size}x{size}", y)


@through.register
def _(module: nn.Flatten, x: Flow, name: str, ledger: Ledger) -> Flow:
    return replace(x, shape=(prod(x.shape),), field=x.span)


@through.register
def _(module: nn.Linear, x: Flow, name: str, ledger: Ledger) -> Flow:
    ledger.keep(x)
    y = replace(x, shape=(module.out_features,), layers=x.layers + 1, tensor=ledger.new())
    return ledger.row(name, "linear", y, module, module.in_features * module.out_features)


@through.register
def _(module: nn.BatchNorm2d, x: Flow, name: str, ledger: Ledger) -> Flow:
    ledger.keep(x)
    return ledger.row(name, "norm", replace(x, tensor=ledger.new()), module)


@through.register
def _(module: nn.ReLU, x: Flow, name: str, ledger: Ledger) -> Flow:
    y = x if module.inplace else replace(x, tensor=ledger.new())
    ledger.keep(y)
    return ledger.row(name, "relu", y)


@through.register
def _(module: nn.Dropout, x: Flow, name: str, ledger: Ledger) -> Flow:
    return ledger.row(name, f"dropout {module.p:g}", replace(x, tensor=ledger.new()))


@through.register
def _(module: Pad, x: Flow, name: str, ledger: Ledger) -> Flow:
    y = slide(x, 1, module.stride, tuple(ceil(s / module.stride) for s in x.shape[1:]), ledger)
    y = replace(y, shape=(x.shape[0] + module.front + module.back, *y.shape[1:]))
    return ledger.row(name, "zero-pad" + f" /{module.stride}" * (module.stride > 1), y)


def _window(module: nn.Conv2d | nn.MaxPool2d) -> tuple[object, ...]:
    return module.kernel_size, module.stride, module.padding, module.dilation


def _square(size: object) -> int:
    """One number where torch keeps one or two equal ones."""
    first = size[0] if isinstance(size, tuple) else size
    if not isinstance(first, int) or (isinstance(size, tuple) and len(set(size)) > 1):
        raise TypeError(f"only square windows have a rule, got {size}")
    return first
