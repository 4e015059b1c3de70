"""Every net by name: a table for the members that papers list, formulas for those that a rule generates.

Imports no torch until a net is built, so that a wrong name fails at once.

A name may end in ``_A``, ``_B`` or ``_C`` (shortcuts), ``_v1`` (the paper's stride in the first 1x1), ``_w2`` (twice
the channels everywhere), ``_nobn`` (no norms) and ``:3-5-3`` (units per stage); ``plain`` instead of ``resnet``, or
``plain_`` in front, takes the shortcuts away.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from residua.errors import UsageError
from residua.nn.arch import Arch, Classic, Row
from residua.words import unknown

if TYPE_CHECKING:
    from residua.nn.resnet import Net

HE2015 = "He et al. 2015, arXiv:1512.03385"
HE2016 = "He et al. 2016, arXiv:1603.05027"
XIE2017 = "Xie et al. 2017, arXiv:1611.05431"
ZAGORUYKO2016 = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"

NARROW = (64, 128, 256, 512)
WIDE = (256, 512, 1024, 2048)
SMALL = (16, 32, 64)


def imagenet(depths: tuple[int, ...], *, branch: str = "basic", ratio: float = 1.0, groups: int = 1) -> Arch:
    """A four-stage net for 224-pixel images."""
    widths = NARROW if branch == "basic" else WIDE
    return Arch(name="", source=HE2015, depths=depths, widths=widths, branch=branch, ratio=ratio, groups=groups)


def deep(depths: tuple[int, ...], *, ratio: float = 1 / 4, groups: int = 1) -> Arch:
    """A four-stage bottleneck net for 224-pixel images."""
    return imagenet(depths, branch="bottleneck", ratio=ratio, groups=groups)


def pre(arch: Arch) -> Arch:
    """The pre-activation form of a row."""
    return replace(arch, unit="pre_act", family="preact", source=HE2016)


def resnext(arch: Arch) -> Arch:
    """The row under ResNeXt's family and source."""
    return replace(arch, family="resnext", source=XIE2017)


def wide(arch: Arch) -> Arch:
    """The row under the wide nets' family and source."""
    return replace(arch, family="wide", source=ZAGORUYKO2016)


def vgg(*widths: tuple[int, ...], norm: bool) -> Classic:
    """Simonyan & Zisserman's net: five stages of 3x3 convolutions, three linear layers."""
    layers = sum(len(w) for w in widths) + 3
    source = "Simonyan & Zisserman 2014, arXiv:1409.1556"
    return Classic(name="", source=source, family="vgg", widths=widths, layers=layers, norm=norm)


def vgg_stages(*counts: int) -> tuple[tuple[int, ...], ...]:
    """Stages of `counts` convolutions of 64, 128, 256, 512 and 512 channels."""
    return tuple((width,) * n for width, n in zip((64, 128, 256, 512, 512), counts, strict=True))


VGG = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}

ROWS: dict[str, Row] = {
    "resnet18": imagenet((2, 2, 2, 2)),
    "resnet34": imagenet((3, 4, 6, 3)),
    "resnet50": deep((3, 4, 6, 3)),
    "resnet101": deep((3, 4, 23, 3)),
    "resnet152": deep((3, 8, 36, 3)),
    "resnet200": deep((3, 24, 36, 3)),
    "preact_resnet18": pre(imagenet((2, 2, 2, 2))),
    "preact_resnet34": pre(imagenet((3, 4, 6, 3))),
    "preact_resnet50": pre(deep((3, 4, 6, 3))),
    "preact_resnet101": pre(deep((3, 4, 23, 3))),
    "preact_resnet152": pre(deep((3, 8, 36, 3))),
    "preact_resnet200": pre(deep((3, 24, 36, 3))),
    "resnext50_32x4d": resnext(deep((3, 4, 6, 3), ratio=1 / 2, groups=32)),
    "resnext101_32x4d": resnext(deep((3, 4, 23, 3), ratio=1 / 2, groups=32)),
    "resnext101_32x8d": resnext(deep((3, 4, 23, 3), ratio=1.0, groups=32)),
    "resnext101_64x4d": resnext(deep((3, 4, 23, 3), ratio=1.0, groups=64)),
    "wide_resnet50_2": wide(deep((3, 4, 6, 3), ratio=1 / 2)),
    "wide_resnet101_2": wide(deep((3, 4, 23, 3), ratio=1 / 2)),
    **{name: vgg(*vgg_stages(*counts), norm=False) for name, counts in VGG.items()},
    **{f"{name}_bn": vgg(*vgg_stages(*counts), norm=True) for name, counts in VGG.items()},
    "alexnet": Classic(
        name="",
        source="Krizhevsky 2014, arXiv:1404.5997 (one column; torchvision's form)",
        family="alexnet",
        widths=((64,), (192,), (384, 256, 256)),
        layers=8,
    ),
    "googlenet": Classic(
        name="",
        source="Szegedy et al. 2014, arXiv:1409.4842 (with norms and a 3x3 for the 5x5: torchvision's form)",
        family="googlenet",
        widths=(
            (64, 96, 128, 16, 32, 32, 128, 128, 192, 32, 96, 64),
            (
                *(192, 96, 208, 16, 48, 64, 160, 112, 224, 24, 64, 64, 128, 128, 256, 24, 64, 64),
                *(112, 144, 288, 32, 64, 64, 256, 160, 320, 32, 128, 128),
            ),
            (256, 160, 320, 32, 128, 128, 384, 192, 384, 48, 128, 128),
        ),
        layers=22,
        norm=True,
    ),
}


def cifar(depth: int) -> Arch:
    """6n+2 layers for 32-pixel images, shortcut A (He 2015, sec. 4.2)."""
    n = per_stage(depth, 6, 2, "20, 32, 44, 56, 110, 1202")
    return Arch(
        name="", source=HE2015, family="cifar", depths=(n,) * 3, widths=SMALL,
        shortcut="A", stem="3x3", stem_width=16, classes=10,
    )  # fmt: skip


def cifar_preact(depth: int) -> Arch:
    """Pre-activation for 32-pixel images: 6n+2 layers below 164, bottlenecks of 9n+2 from there (He 2016, sec. 5)."""
    row = cifar(20)
    if depth < 164:
        n = per_stage(depth, 6, 2, "20, 56, 110; or 9n+2 with bottlenecks: 164, 1001")
        return replace(pre(row), depths=(n,) * 3, family="cifar_preact")
    n = per_stage(depth, 9, 2, "164, 1001")
    return replace(
        pre(row), depths=(n,) * 3, family="cifar_preact", branch="bottleneck", ratio=1 / 4,
        widths=(64, 128, 256), shortcut="B",
    )  # fmt: skip


def wrn(depth: int, k: int) -> Arch:
    """6n+4 convolutions, k times wider (Zagoruyko 2016, table 1)."""
    n = per_stage(depth, 6, 4, "16, 22, 28, 40")
    if k < 1:
        raise UsageError(f"the widening factor must be at least 1, got {k}")
    return Arch(
        name="", source=ZAGORUYKO2016, family="wrn", unit="pre_act", depths=(n,) * 3,
        widths=(16 * k, 32 * k, 64 * k), stem="3x3", stem_width=16, classes=10,
    )  # fmt: skip


def cifar_resnext(depth: int, groups: int, width: int) -> Arch:
    """9n+2 layers for 32-pixel images, `groups` paths of `width` channels (Xie 2017, sec. 5.2)."""
    n = per_stage(depth, 9, 2, "29, 38")
    return Arch(
        name="", source=XIE2017, family="cifar_resnext", branch="bottleneck", depths=(n,) * 3,
        widths=(256, 512, 1024), ratio=groups * width / 256, groups=groups, stem="3x3", classes=10,
    )  # fmt: skip


def per_stage(depth: int, step: int, rest: int, examples: str) -> int:
    """Units in each of three stages of a net of ``step * n + rest`` layers. Raises UsageError if there is none."""
    n, left = divmod(depth - rest, step)
    if left or n < 1:
        below, above = max(1, n) * step + rest, (max(1, n) + 1) * step + rest
        near = f"{below} or {above}" if n >= 1 else f"{below}"
        raise UsageError(f"depth must be {step}n+{rest} ({examples}, ...), got {depth}: the nearest is {near}")
    return n


FORMULAS: tuple[tuple[str, Callable[..., Arch], tuple[str, ...]], ...] = (
    (
        r"cifar_resnet(\d+)",
        cifar,
        tuple(f"cifar_resnet{d}" for d in (20, 32, 44, 56, 110, 1202)),
    ),
    (r"cifar_preact(\d+)", cifar_preact, ("cifar_preact110", "cifar_preact164", "cifar_preact1001")),
    (r"wrn(\d+)_(\d+)", wrn, ("wrn16_8", "wrn28_10", "wrn40_4")),
    (r"resnext(\d+)_(\d+)x(\d+)d", cifar_resnext, ("resnext29_8x64d", "resnext29_16x64d")),
)

PLAIN_EXAMPLES = ("plain18", "plain34", *(f"cifar_plain{d}" for d in (20, 32, 44, 56, 110)))


def names() -> list[str]:
    """The names to list: every row, and the published members of every formula."""
    return [*ROWS, *(e for _, _, examples in FORMULAS for e in examples), *PLAIN_EXAMPLES]


def find(name: str) -> Row:
    """The row of a name, with any suffixes applied. Raises UsageError that names the nearest valid ones."""
    base, _, depths = name.partition(":")
    options: list[str] = []
    while match := re.fullmatch(r"(.+)_(A|B|C|v1|nobn|w[1-9]\d{0,2})", base):
        base = match[1]
        options.insert(0, match[2])
    row = _plain(base) or _row(base)
    if row is None:
        raise unknown("net", base, names(), "`residua archs` lists them all")
    for option in options:
        row = _option(name, row, option)
    if depths:
        row = with_depths(replace(row, name=base), depths.split("-"))
    return replace(row, name=name)


def with_depths(row: Row, depths: Iterable[int | str]) -> Row:
    """The row with other numbers of units per stage, under a name that says so. Raises UsageError if they misfit."""
    if not isinstance(row, Arch):
        raise UsageError(f"{row.name} has no units: depths can be given for residual and plain nets only")
    try:
        numbers = tuple(int(d) for d in depths)
    except ValueError as e:
        raise UsageError(f"depths must be whole numbers such as {'-'.join(map(str, row.depths))}: {e}") from e
    if len(numbers) != len(row.widths):
        raise UsageError(f"{row.name or 'this net'} has {len(row.widths)} stages: give {len(row.widths)} depths")
    return replace(row, depths=numbers, name=f"{row.name.partition(':')[0]}:{'-'.join(map(str, numbers))}")


def _row(name: str) -> Row | None:
    if name in ROWS:
        return ROWS[name]
    for pattern, make, _ in FORMULAS:
        if match := re.fullmatch(pattern, name):
            return make(*(int(g) for g in match.groups()))
    return None


def _plain(name: str) -> Row | None:
    """The row of ``plain34``, ``cifar_plain20`` or ``plain_NAME``: the residual row without its shortcuts."""
    match = re.fullmatch(r"(cifar_|)plain(\d+)", name)
    residual = f"{match[1]}resnet{match[2]}" if match else name.removeprefix("plain_")
    if residual == name:
        return None
    row = _row(residual)
    if row is None:
        return None
    if not isinstance(row, Arch):
        raise UsageError(f"{residual} has no shortcuts to take away")
    return replace(row, shortcut="none", family="plain")


def _option(name: str, row: Row, option: str) -> Row:
    if not isinstance(row, Arch) or (option == "v1" and row.branch != "bottleneck"):
        raise UsageError(f"'{name}': this net has no form _{option}")
    if option == "v1":
        return replace(row, stride_at="1x1")
    if option == "nobn":
        return replace(row, norm="none")
    if option.startswith("w"):
        k = int(option[1:])
        return replace(row, widths=tuple(k * w for w in row.widths), stem_width=k * row.stem_width)
    if row.shortcut == "none":
        raise UsageError(f"'{name}': a plain net has no shortcuts to choose")
    return replace(row, shortcut=option)


def build(net: str | Row, *, classes: int | None = None, channels: int | None = None) -> "Net":
    """A freshly initialised net, by name or row: (N, channels, H, W) -> (N, classes).

    Raises UsageError for an unknown name, with the nearest valid ones.
    """
    row = find(net) if isinstance(net, str) else net
    row = replace(row, classes=row.classes if classes is None else classes)
    row = replace(row, channels=row.channels if channels is None else channels)
    if isinstance(row, Arch):
        from residua.nn.resnet import resnet

        return resnet(row)
    from residua.nn.classics import classic

    return classic(row)


def stem_for(side_px: int) -> str:
    """The stem that suits images of `side_px`: with the least stride, 1, 2 or 4, after which the last of four stages
    sees at most 7 x 7 pixels, as it does of ImageNet's 224. Less would take more time, more leave too little to see.
    """  # fmt: skip
    return "3x3" if side_px <= 56 else "5x5" if side_px <= 112 else "7x7"
