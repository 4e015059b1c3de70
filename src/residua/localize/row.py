"""What a localizer is, in words and numbers: enough to build it again. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from residua.errors import UsageError
from residua.nn.arch import Arch, from_json, to_json
from residua.words import unknown

#: The region head is no wider than this: at 2048 its 3x3 layer alone would outweigh the net.
WIDEST = 512


@dataclass(frozen=True, kw_only=True)
class LocalizerRow:
    """A classifier and, on its last map, a region head for each class (He et al. 2015, appendix C).

    `anchors` are widths and heights in pixels of what the net sees, the same at every place of the map. `refined`:
    a second net looks again at the `proposals` best places of a class, each cut out and scaled up (the paper's R-CNN).
    Raises UsageError for words and numbers that make no localizer.
    """

    net: Arch
    anchors: tuple[tuple[float, float], ...]
    refined: bool = False
    proposals: int = 8

    def __post_init__(self) -> None:
        """Check the numbers: a row may come from a file."""
        sides = [s for shape in self.anchors for s in shape]
        if not self.anchors or not all(len(shape) == 2 for shape in self.anchors):
            raise UsageError("a localizer needs anchors: a width and a height each")
        if not all(0 < s < 1e5 for s in sides) or self.proposals < 1:
            raise UsageError("anchors need positive sides, and a refinement at least one proposal")

    @property
    def classes(self) -> int:
        """How many."""
        return self.net.classes

    @property
    def stride(self) -> int:
        """How many pixels apart the places of the shared map are."""
        return self.net.strides[-1]

    @property
    def width(self) -> int:
        """Channels of the region head."""
        return min(self.net.widths[-1], WIDEST)


def row_to_json(row: LocalizerRow) -> dict[str, Any]:
    """The row as plain words, numbers and lists."""
    words = {k: v for k, v in asdict(row).items() if k not in ("net", "anchors")}
    return {"net": to_json(row.net), "anchors": [list(a) for a in row.anchors], **words}


def row_from_json(data: Mapping[str, Any]) -> LocalizerRow:
    """The row that `row_to_json` wrote. Raises UsageError for anything else."""
    known = [f.name for f in fields(LocalizerRow)]
    if extra := sorted(data.keys() - set(known)):
        raise unknown("field of a localizer", extra[0], known)
    try:
        values = dict(data)
        net = from_json(values.pop("net"))
        if not isinstance(net, Arch):
            raise UsageError("a localizer stands on a residual net")
        values["anchors"] = tuple((float(w), float(h)) for w, h in values["anchors"])
        return LocalizerRow(net=net, **values)
    except (TypeError, ValueError, KeyError) as e:
        raise UsageError(f"not a localizer: {e}") from e
