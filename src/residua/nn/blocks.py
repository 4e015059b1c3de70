"""The residual unit and what it is made of: branches, shortcuts, units.

Shapes are (N, C, H, W). A branch and a shortcut map (N, c_in, H, W) to (N, c_out, ceil(H / stride), ceil(W / stride)).
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Branch = Callable[[int, int, int], nn.Sequential]  # (c_in, c_out, stride) -> F
Shortcut = Callable[[int, int, int], nn.Module]  # (c_in, c_out, stride) -> where shapes change


class Residual(nn.Module):
    """``y = act(shortcut(x) + branch(x))`` -- the residual unit, H(x) = F(x) + x.

    x: (N, C, H, W) -> y: the common output shape of `branch` and `shortcut`.
    The sum is out of place, so a hook on `branch` sees F(x) untouched.
    Source: He et al. 2015, eq. 1-2, arXiv:1512.03385.
    """

    region = True  # compiled on its own in deep nets: `engine.regions`

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None, act: nn.Module | None = None) -> None:
        """Take the three parts; a missing `shortcut` or `act` is the identity."""
        super().__init__()
        self.branch = branch
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.act = nn.Identity() if act is None else act

    def forward(self, x: Tensor) -> Tensor:
        """H(x)."""
        return self.act(self.shortcut(x) + self.branch(x))  # type: ignore[no-any-return]


class Zero(nn.Module):
    """The zero function: as a shortcut it makes a plain net, as a branch it removes the unit.

    Returns a 0-dimensional zero, which broadcasts in the sum whatever the shape.
    """

    def forward(self, x: Tensor) -> Tensor:
        """0."""
        return x.new_zeros(())


class Pad(nn.Module):
    """Shortcut A: subsample and fill the new channels with zeros, half in front and half behind; no parameters.

    x: (N, c_in, H, W) -> (N, c_out, ceil(H / stride), ceil(W / stride)).
    Source: He et al. 2015, sec. 3.3, option A. The paper does not say where the zeros go; half in front is what
    the trained CIFAR nets in circulation do.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        """Raise ValueError where channels would have to be dropped."""
        super().__init__()
        if c_out < c_in:
            raise ValueError(f"a zero-padding shortcut cannot go from {c_in} to {c_out} channels")
        self.stride = stride
        self.front = (c_out - c_in) // 2
        self.back = c_out - c_in - self.front

    def forward(self, x: Tensor) -> Tensor:
        """The subsampled, widened x."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.front, self.back))

    def extra_repr(self) -> str:
        """The numbers, for `print(net)`."""
        return f"stride={self.stride}, front={self.front}, back={self.back}"


class DropBranch(nn.Sequential):
    """A branch that is left out, for the whole batch, with probability `p` in training (stochastic depth).

    The kept branch is divided by its survival probability, so evaluation needs no change of scale. It takes the
    branch's own layers over, under their own names: parameter names stay what they were.
    Source: Huang et al. 2016, arXiv:1603.09382 (which scales at test time instead).
    """

    def __init__(self, branch: nn.Sequential, p: float) -> None:
        """Raise ValueError unless 0 <= p < 1."""
        if not 0 <= p < 1:
            raise ValueError(f"the probability of dropping a unit must be in [0, 1), got {p}")
        super().__init__(OrderedDict(branch.named_children()))
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """F(x) / (1 - p), or 0."""
        if self.training and self.p > 0 and torch.rand(()).item() < self.p:
            return x.new_zeros(())
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return y / (1 - self.p) if self.training and self.p > 0 else y

    def extra_repr(self) -> str:
        """The probability, for `print(net)`."""
        return f"p={self.p:g}"


# -- layers ---------------------------------------------------------------------------------------------------------


def named(**layers: nn.Module) -> nn.Sequential:
    """The layers in order, under their names."""
    return nn.Sequential(OrderedDict(layers))


def conv(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A square convolution without bias, padded so that only the stride changes the size."""
    return nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, groups=groups, bias=False)


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm (eps 1e-5, momentum 0.1: torch's own, which torchvision and timm keep)."""
    return nn.BatchNorm2d(channels)


def relu() -> nn.ReLU:
    """ReLU in place: it always follows a norm or a sum, whose output nobody else reads."""
    return nn.ReLU(inplace=True)


# -- branches: F ----------------------------------------------------------------------------------------------------


def basic(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """3x3, 3x3 (He 2015, fig. 5 left; torchvision's BasicBlock)."""
    return named(
        conv1=conv(c_in, c_out, 3, stride),
        bn1=norm(c_out),
        relu1=relu(),
        conv2=conv(c_out, c_out, 3),
        bn2=norm(c_out),
    )


def bottleneck(
    c_in: int, c_out: int, stride: int, *, ratio: float = 1 / 4, groups: int = 1, stride_at: str = "3x3"
) -> nn.Sequential:
    """1x1, 3x3, 1x1 (He 2015, fig. 5 right; grouped: ResNeXt, Xie 2017, fig. 3c, arXiv:1611.05431).

    `ratio` is inner over outer channels. The paper strides in the first 1x1 (``"1x1"``, "v1"); ``"3x3"`` is
    Facebook's and torchvision's later choice ("v1.5").
    """
    c_mid = round(c_out * ratio)
    first, second = (stride, 1) if stride_at == "1x1" else (1, stride)
    return named(
        conv1=conv(c_in, c_mid, 1, first),
        bn1=norm(c_mid),
        relu1=relu(),
        conv2=conv(c_mid, c_mid, 3, second, groups),
        bn2=norm(c_mid),
        relu2=relu(),
        conv3=conv(c_mid, c_out, 1),
        bn3=norm(c_out),
    )


def pre_basic(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """Norm and ReLU before each 3x3 (He 2016, fig. 1b, arXiv:1603.05027)."""
    return named(
        bn1=norm(c_in),
        relu1=relu(),
        conv1=conv(c_in, c_out, 3, stride),
        bn2=norm(c_out),
        relu2=relu(),
        conv2=conv(c_out, c_out, 3),
    )


def pre_bottleneck(
    c_in: int, c_out: int, stride: int, *, ratio: float = 1 / 4, groups: int = 1, stride_at: str = "3x3"
) -> nn.Sequential:
    """Norm and ReLU before each of 1x1, 3x3, 1x1 (He 2016, fig. 1b)."""
    c_mid = round(c_out * ratio)
    first, second = (stride, 1) if stride_at == "1x1" else (1, stride)
    return named(
        bn1=norm(c_in),
        relu1=relu(),
        conv1=conv(c_in, c_mid, 1, first),
        bn2=norm(c_mid),
        relu2=relu(),
        conv2=conv(c_mid, c_mid, 3, second, groups),
        bn3=norm(c_mid),
        relu3=relu(),
        conv3=conv(c_mid, c_out, 1),
    )


# -- shortcuts where the shape changes ------------------------------------------------------------------------------


def project(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """Shortcut B: 1x1 convolution and norm (He 2015, eq. 2 with W_s)."""
    return named(conv=conv(c_in, c_out, 1, stride), bn=norm(c_out))


def pre_project(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """The pre-activation net's projection: a bare 1x1 convolution (it sees the activated x)."""
    return named(conv=conv(c_in, c_out, 1, stride))


def nothing(c_in: int, c_out: int, stride: int) -> Zero:
    """No shortcut: the plain net."""
    return Zero()


# -- units ----------------------------------------------------------------------------------------------------------


def post_act(
    c_in: int, c_out: int, stride: int, *, branch: Branch, shortcut: Shortcut = project, everywhere: bool = False
) -> Residual:
    """The 2015 unit: ReLU after the sum. `everywhere`: the shortcut also where the identity would fit."""
    same = c_in == c_out and stride == 1 and not everywhere
    return Residual(branch(c_in, c_out, stride), None if same else shortcut(c_in, c_out, stride), relu())


def pre_act(
    c_in: int, c_out: int, stride: int, *, branch: Branch, shortcut: Shortcut = pre_project, everywhere: bool = False
) -> nn.Module:
    """The 2016 unit: norm and ReLU before each convolution, nothing after the sum.

    Where the shape changes, the projection sees the *activated* x: the first norm and ReLU then stand before the
    unit (``pre``). Source: He 2016, appendix; github.com/KaimingHe/resnet-1k-layers.
    """
    layers = branch(c_in, c_out, stride)
    if shortcut is nothing:
        return Residual(layers, Zero())
    if c_in == c_out and stride == 1 and not everywhere:
        return Residual(layers)
    return named(pre=layers[:2], unit=Residual(layers[2:], shortcut(c_in, c_out, stride)))
