"""An architecture as data: a row of words and numbers that any net can be built from again. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from residua.errors import UsageError
from residua.words import unknown

#: The words that a row may use, by field. `nn.resnet` knows what each one means.
WORDS: Mapping[str, tuple[str, ...]] = {
    "unit": ("post_act", "pre_act"),
    "branch": ("basic", "bottleneck"),
    "shortcut": ("A", "B", "C", "none"),
    "stem": ("7x7", "5x5", "3x3"),
    "stride_at": ("3x3", "1x1"),
    "norm": ("batch", "none"),
}


@dataclass(frozen=True, kw_only=True)
class Arch:
    """A residual or plain net. `widths` are the channels that *leave* each stage, `depths` the units in it.

    Raises UsageError for a word or number that makes no net.
    """

    name: str
    source: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    family: str = "resnet"
    unit: str = "post_act"
    branch: str = "basic"
    shortcut: str = "B"  # He 2015, sec. 3.3: A zero-padding, B projection where shapes change, C everywhere
    stem: str = "7x7"  # "7x7": stride 2 and max-pool (ImageNet); "5x5": stride 2; "3x3": stride 1 (CIFAR)
    stem_width: int = 64
    ratio: float = 1.0  # inner over outer channels of a bottleneck
    groups: int = 1
    stride_at: str = "3x3"  # which layer of a bottleneck strides
    norm: str = "batch"  # "none": convolutions with a bias instead
    drop_depth: float = 0.0  # stochastic depth: probability of dropping the last unit, linear from 0 at the first
    classes: int = 1000
    channels: int = 3

    def __post_init__(self) -> None:
        """Check words and numbers, so that a row from a file is as safe as one from the table."""
        for field, words in WORDS.items():
            if getattr(self, field) not in words:
                raise unknown(field, str(getattr(self, field)), words)
        if not self.depths or len(self.depths) != len(self.widths):
            raise UsageError(
                f"{self.name}: {len(self.widths)} stages need {len(self.widths)} depths, got {len(self.depths)}"
            )
        if min(self.depths) < 1:
            raise UsageError(f"{self.name}: every stage needs at least one unit, got depths {self.depths}")
        if max(self.depths) > 10_000 or max(self.widths) > 1_000_000:
            raise UsageError(f"{self.name}: depths or widths out of range")
        if not 0 <= self.drop_depth < 1:
            raise UsageError(f"{self.name}: drop_depth must be in [0, 1), got {self.drop_depth}")
        if min(self.classes, self.channels, self.groups, self.stem_width, *self.widths) < 1 or self.ratio <= 0:
            raise UsageError(f"{self.name}: classes, channels, groups, ratio and widths must be positive")

    @property
    def layers_per_unit(self) -> int:
        """Weighted layers in a branch."""
        return 2 if self.branch == "basic" else 3

    @property
    def strides(self) -> tuple[int, ...]:
        """How many pixels apart the places of each stage's map are."""
        first = {"7x7": 4, "5x5": 2, "3x3": 1}[self.stem]
        return tuple(first * 2**i for i in range(len(self.depths)))

    @property
    def layers(self) -> int:
        """Weighted layers as the papers count them: stem, branches and classifier.

        Wide nets count every convolution, the three projections included, and not the classifier
        (Zagoruyko 2016, sec. 2).
        """
        inside = self.layers_per_unit * sum(self.depths)
        return inside + (1 + len(self.depths) if self.family == "wrn" else 2)


@dataclass(frozen=True, kw_only=True)
class Classic:
    """AlexNet, VGG or GoogLeNet: what the residual nets are compared with.

    `widths` are the convolutions' channels of each stage (for GoogLeNet each stage's Inception modules, six
    numbers each: 1x1; reduce, 3x3; reduce, "5x5"; pool).
    """

    name: str
    source: str
    family: str
    widths: tuple[tuple[int, ...], ...]
    layers: int
    norm: bool = False
    classes: int = 1000
    channels: int = 3


Row = Arch | Classic


def to_json(row: Row) -> dict[str, Any]:
    """The row as plain words, numbers and lists, with its kind."""
    return {"kind": type(row).__name__, **asdict(row)}


def from_json(data: Mapping[str, Any]) -> Row:
    """The row that `to_json` wrote. Raises UsageError for anything else."""
    kinds: dict[str, type[Arch] | type[Classic]] = {"Arch": Arch, "Classic": Classic}
    kind = kinds.get(str(data.get("kind")))
    if kind is None:
        raise UsageError(f"unknown kind of architecture '{data.get('kind')}'")
    known = {f.name for f in fields(kind)}
    values = {k: _tuples(v) for k, v in data.items() if k != "kind"}
    if extra := sorted(values.keys() - known):
        raise unknown("field of an architecture", extra[0], known)
    try:
        return kind(**values)
    except TypeError as e:
        raise UsageError(f"not an architecture: {e}") from e


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
