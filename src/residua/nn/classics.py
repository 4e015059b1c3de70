"""AlexNet, VGG and GoogLeNet: what the residual nets are compared with, layer for layer torchvision's.

A stage ends with its last convolution; the pool behind it opens the next stage, so features are as fine as they can be.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from residua.errors import UsageError
from residua.nn.arch import Arch, Classic, Row
from residua.nn.blocks import named, relu
from residua.nn.resnet import Net, initialise
from residua.words import unknown

#: The smallest image, in pixels, that leaves one pixel to the last pool (torchvision's ``min_size``).
MIN_SIDE_PX = {"alexnet": 63, "googlenet": 15, "vgg": 32}

Kernels = tuple[tuple[tuple[int, int, int], ...], ...]  # (kernel, stride, padding) of each convolution of each stage

ALEXNET: Kernels = (((11, 4, 2),), ((5, 1, 2),), ((3, 1, 1),) * 3)

HIDDEN = 4096  # width of the linear layers before the classifier, AlexNet and VGG


def min_side(row: Row) -> int:
    """The smallest image side in pixels that the row's net accepts; 1 for residual and plain nets."""
    return 1 if isinstance(row, Arch) else MIN_SIDE_PX[row.family]


class AtLeast(nn.Module):
    """The identity on images of at least `side_px`; raises UsageError for smaller ones."""

    def __init__(self, side_px: int, name: str) -> None:
        """Take the smallest side and the net's name for the message."""
        super().__init__()
        self.side_px = side_px
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        self.check(*x.shape[-2:])
        return x

    def check(self, height: int, width: int) -> None:
        """Raise UsageError for an image too small."""
        if height < self.side_px or width < self.side_px:
            raise UsageError(
                f"{self.name} needs images of at least {self.side_px} px, got {height}x{width}: "
                f"take --image-size {self.side_px} or more, or a residual net"
            )

    def extra_repr(self) -> str:
        """The numbers, for `print(net)`."""
        return f"side_px={self.side_px}"


class Concat(nn.Module):
    """The outputs of parallel paths, side by side: (N, c_in, H, W) -> (N, sum of the paths' channels, H, W)."""

    def __init__(self, **paths: nn.Module) -> None:
        """Take the paths under their names."""
        super().__init__()
        for name, path in paths.items():
            self.add_module(name, path)

    def forward(self, x: Tensor) -> Tensor:
        """Every path sees the same x."""
        return torch.cat([path(x) for path in self.children()], 1)


class GoogLeNet(Net):
    """A net with two auxiliary heads behind the first and fourth module of its second stage.

    Training returns ``(logits, aux2, aux1)``, torchvision's order; evaluation the logits alone, without computing the
    auxiliary heads. Source: Szegedy et al. 2014, sec. 5, arXiv:1409.4842.
    """

    def __init__(
        self, stem: nn.Module, stages: list[nn.Module], aux1: nn.Module, aux2: nn.Module, head: nn.Module
    ) -> None:
        """Take the parts."""
        super().__init__(stem, stages, nn.Identity())
        del self.head  # the auxiliary heads stand before it, so that keys come in torchvision's order
        self.aux1 = aux1
        self.aux2 = aux2
        self.head = head

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Logits (N, classes); in training also those of the auxiliary heads, the later one first."""
        if not self.training:
            return super().forward(x)
        first, second, third = self.stages
        x = first(self.stem(x))
        aux = {}
        for name, module in second.named_children():
            x = module(x)
            if name in ("a", "d"):
                aux[name] = (self.aux1 if name == "a" else self.aux2)(x)
        return self.head(third(x)), aux["d"], aux["a"]


def classic(row: Classic) -> Net:
    """The net of a row, initialised: convolutions as He et al. did, linear layers normal with std 0.01.

    (torchvision gives AlexNet torch's default and GoogLeNet a normal of 0.01 throughout.)
    Raises UsageError for an unknown family or widths that it has no form for.
    """
    if row.family not in FAMILIES:
        raise unknown("family of nets", row.family, FAMILIES)
    net = FAMILIES[row.family](row)
    initialise(net)
    for m in net.modules():
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, 0, 0.01)
        if isinstance(m, nn.Linear | nn.Conv2d) and m.bias is not None:
            nn.init.zeros_(m.bias)
    return net


def alexnet(row: Classic) -> Net:
    """Five convolutions, three linear layers: (N, channels, H, W) -> (N, classes)."""
    if tuple(len(w) for w in row.widths) != tuple(len(s) for s in ALEXNET):
        raise UsageError(f"{row.name}: AlexNet has stages of 1, 1 and 3 convolutions, got {row.widths}")
    pool = partial(nn.MaxPool2d, 3, stride=2)
    head = named(
        pool=pool(),
        mean=nn.AdaptiveAvgPool2d(6),
        flatten=nn.Flatten(),
        drop1=nn.Dropout(0.5),
        fc1=nn.Linear(row.widths[-1][-1] * 6 * 6, HIDDEN),
        relu1=relu(),
        drop2=nn.Dropout(0.5),
        fc2=nn.Linear(HIDDEN, HIDDEN),
        relu2=relu(),
        fc3=nn.Linear(HIDDEN, row.classes),
    )
    return Net(AtLeast(min_side(row), row.name), stages(row, ALEXNET, pool), head)


def vgg(row: Classic) -> Net:
    """3x3 convolutions, three linear layers: (N, channels, H, W) -> (N, classes)."""
    pool = partial(nn.MaxPool2d, 2, stride=2)
    head = named(
        pool=pool(),
        mean=nn.AdaptiveAvgPool2d(7),
        flatten=nn.Flatten(),
        fc1=nn.Linear(row.widths[-1][-1] * 7 * 7, HIDDEN),
        relu1=relu(),
        drop1=nn.Dropout(0.5),
        fc2=nn.Linear(HIDDEN, HIDDEN),
        relu2=relu(),
        drop2=nn.Dropout(0.5),
        fc3=nn.Linear(HIDDEN, row.classes),
    )
    kernels = tuple(((3, 1, 1),) * len(widths) for widths in row.widths)
    return Net(AtLeast(min_side(row), row.name), stages(row, kernels, pool), head)


def stages(row: Classic, kernels: Kernels, pool: Callable[[], nn.Module]) -> list[nn.Module]:
    """Convolutions (with bias), norms where the row has them, and ReLUs; a pool opens every stage but the first."""
    made: list[nn.Module] = []
    c_in = row.channels
    for i, (widths, sizes) in enumerate(zip(row.widths, kernels, strict=True)):
        layers: dict[str, nn.Module] = {"pool": pool()} if i else {}
        for j, (c_out, (size, stride, padding)) in enumerate(zip(widths, sizes, strict=True), 1):
            layers[f"conv{j}"] = nn.Conv2d(c_in, c_out, size, stride, padding)
            if row.norm:
                layers[f"bn{j}"] = nn.BatchNorm2d(c_out)
            layers[f"relu{j}"] = relu()
            c_in = c_out
        made.append(named(**layers))
    return made


def googlenet(row: Classic) -> GoogLeNet:
    """Three stages of 2, 5 and 2 Inception modules: (N, channels, H, W) -> (N, classes)."""
    if tuple(len(w) for w in row.widths) != (12, 30, 12):
        raise UsageError(f"{row.name}: GoogLeNet has 2, 5 and 2 modules of six widths each, got {row.widths}")
    stem = named(
        size=AtLeast(min_side(row), row.name),
        **conv_norm(1, row.channels, 64, 7, 2),
        pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        **conv_norm(2, 64, 64, 1),
        **conv_norm(3, 64, 192, 3),
        pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),
    )  # (N, 192, H/8, W/8)
    made: list[nn.Module] = []
    c_in = 192
    outs = []  # channels that leave each module
    for i, widths in enumerate(row.widths):
        layers: dict[str, nn.Module] = {"pool": nn.MaxPool2d(3 if i == 1 else 2, stride=2, ceil_mode=True)} if i else {}
        for letter, six in zip("abcde", sixes(widths), strict=False):
            layers[letter] = inception(c_in, *six)
            c_in = six[0] + six[2] + six[4] + six[5]
            outs.append(c_in)
        made.append(named(**layers))
    head = named(
        pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), drop=nn.Dropout(0.2), fc=nn.Linear(c_in, row.classes)
    )
    return GoogLeNet(stem, made, auxiliary(outs[2], row.classes), auxiliary(outs[5], row.classes), head)


def sixes(widths: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The widths of each Inception module of a stage."""
    return (widths[i : i + 6] for i in range(0, len(widths), 6))


def conv_norm(i: int, c_in: int, c_out: int, size: int, stride: int = 1) -> dict[str, nn.Module]:
    """Convolution, norm and ReLU number `i` of a path. eps is torchvision's, from Inception's TensorFlow form."""
    return {
        f"conv{i}": nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, bias=False),
        f"bn{i}": nn.BatchNorm2d(c_out, eps=1e-3),
        f"relu{i}": relu(),
    }


def inception(c_in: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int) -> Concat:
    """Four paths: 1x1; 1x1, 3x3; 1x1, "5x5"; 3x3 pool, 1x1 (Szegedy 2014, fig. 2b). The "5x5" is torchvision's 3x3."""
    pool = nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True)
    return Concat(
        path1=named(**conv_norm(1, c_in, one, 1)),
        path2=named(**conv_norm(1, c_in, reduce3, 1), **conv_norm(2, reduce3, three, 3)),
        path3=named(**conv_norm(1, c_in, reduce5, 1), **conv_norm(2, reduce5, five, 3)),
        path4=named(pool=pool, **conv_norm(1, c_in, pooled, 1)),
    )


def auxiliary(c_in: int, classes: int) -> nn.Sequential:
    """A head on a middle map, for training only: (N, c_in, H, W) -> (N, classes)."""
    return named(
        pool=nn.AdaptiveAvgPool2d(4),
        **conv_norm(1, c_in, 128, 1),
        flatten=nn.Flatten(),
        fc1=nn.Linear(128 * 4 * 4, 1024),
        relu2=relu(),
        drop=nn.Dropout(0.7),
        fc2=nn.Linear(1024, classes),
    )


FAMILIES: dict[str, Callable[[Classic], Net]] = {"alexnet": alexnet, "googlenet": googlenet, "vgg": vgg}
