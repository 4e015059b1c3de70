"""What a detector is, in words and numbers: enough to build it again. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from residua.errors import UsageError
from residua.nn.arch import Arch, from_json, to_json
from residua.words import unknown

FORMS = ("fpn", "c4")
NORMS = ("batch", "frozen", "group", "sync")


@dataclass(frozen=True, kw_only=True)
class DetectorRow:
    """Faster R-CNN on a residual net (Ren et al. 2015; He et al. 2015, appendix A).

    `form`: "fpn" looks for things on a pyramid of all stages from stride 4 on (Lin et al. 2017); "c4" is the paper's:
    conv1 to conv4 are shared, and conv5 works on each region. `norm`: what the norms of the net are: "frozen" as they
    came with trained weights, "batch", "group", or "sync" over processes. `anchor_sizes` are sides in pixels, a tuple
    for each map, `anchor_ratios` height over width. `proposals_train` and `proposals_test` are how many boxes of a map
    go into non-maximum suppression, and how many of a picture come out; `regions` are drawn of a picture to learn from.
    Raises UsageError for words and numbers that make no detector.
    """  # fmt: skip

    net: Arch
    classes: int
    form: str = "fpn"
    norm: str = "batch"
    pyramid_width: int = 256
    head_width: int = 1024
    anchor_sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    proposals_train: tuple[int, int] = (2000, 2000)
    proposals_test: tuple[int, int] = (1000, 1000)
    regions: int = 512
    score_threshold: float = 0.05
    overlap: float = 0.5
    detections: int = 100

    def __post_init__(self) -> None:
        """Check words, and that there are anchors for every map."""
        for field, known in (("form", FORMS), ("norm", NORMS)):
            if getattr(self, field) not in known:
                raise unknown(f"{field} of a detector", str(getattr(self, field)), known)
        if self.form == "c4" and len(self.net.depths) < 2:
            raise UsageError(f"{self.net.name} has one stage: the form c4 shares all but the last")
        if len(self.anchor_sizes) != self.maps:
            raise UsageError(
                f"{self.net.name} as {self.form} has {self.maps} maps, but {len(self.anchor_sizes)} anchors"
            )
        numbers = [*(s for sizes in self.anchor_sizes for s in sizes), *self.anchor_ratios]
        if not all(0 < n < 1e5 for n in numbers) or not all(self.anchor_sizes) or not self.anchor_ratios:
            raise UsageError("anchors need positive sizes and ratios, at least one for each map")
        if len({len(sizes) for sizes in self.anchor_sizes}) > 1:
            raise UsageError("every map needs the same number of anchor sizes: one head looks at all of them")
        counts = (*self.proposals_train, *self.proposals_test, self.regions, self.detections, self.classes)
        if min(*counts, self.pyramid_width, self.head_width) < 1:
            raise UsageError("a detector needs at least one class, proposal, region and detection")

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each stage of the net."""
        return self.net.strides

    @property
    def stages(self) -> tuple[int, ...]:
        """The stages whose maps are looked at."""
        return stages_of(self.net, self.form)

    @property
    def maps(self) -> int:
        """How many maps there are: a pyramid has one more, half as fine as its last."""
        return len(self.stages) + (self.form == "fpn")


def stages_of(net: Arch, form: str) -> tuple[int, ...]:
    """Of a pyramid, all stages from stride 4 on, or the last two where none is so coarse; of c4 the last but one."""
    depth = len(net.depths)
    if form == "c4":
        return (depth - 2,)
    coarse = tuple(i for i, stride in enumerate(net.strides) if stride >= 4)
    return coarse if len(coarse) > 1 else tuple(range(max(0, depth - 2), depth))


def anchors_for(net: Arch, form: str, times: float) -> tuple[tuple[float, ...], ...]:
    """Anchor sizes: of each map its stride times `times`; of the single map of c4 five sizes (32 to 512 at 8 times)."""
    strides = [net.strides[i] for i in stages_of(net, form)]
    if form == "c4":
        base = strides[0] * times / 4
        return (tuple(float(base * 2**i) for i in range(5)),)
    return tuple((float(s * times),) for s in (*strides, 2 * strides[-1]))


def detector_row(
    net: Arch, classes: int, *, form: str = "fpn", norm: str = "batch", small: bool = False,
    anchors: Sequence[Sequence[float]] | None = None, ratios: Sequence[float] | None = None,
) -> DetectorRow:  # fmt: skip
    """The row for a net: torchvision's numbers for large pictures; for `small` ones (at most 512 px or so) a pyramid
    and a head of half the width, anchors of half the size and a quarter of the regions, which a CPU can train."""
    if form not in FORMS:
        raise unknown("form of a detector", form, FORMS)
    sizes = tuple(tuple(map(float, s)) for s in anchors) if anchors else anchors_for(net, form, 4 if small else 8)
    row = DetectorRow(net=net, classes=classes, form=form, norm=norm, anchor_sizes=sizes)
    if ratios:
        row = replace(row, anchor_ratios=tuple(map(float, ratios)))
    if small:
        row = replace(
            row, pyramid_width=128, head_width=512, regions=128, proposals_train=(500, 300), proposals_test=(500, 300)
        )
    return row


def row_to_json(row: DetectorRow) -> dict[str, Any]:
    """The row as plain words, numbers and lists."""
    words = {k: v for k, v in asdict(row).items() if k != "net"}
    words["anchor_sizes"] = [list(s) for s in row.anchor_sizes]
    return {"net": to_json(row.net), **{k: list(v) if isinstance(v, tuple) else v for k, v in words.items()}}


def row_from_json(data: Mapping[str, Any]) -> DetectorRow:
    """The row that `row_to_json` wrote. Raises UsageError for anything else."""
    known = [f.name for f in fields(DetectorRow)]
    if extra := sorted(data.keys() - set(known)):
        raise unknown("field of a detector", extra[0], known)
    try:
        values = dict(data)
        net = from_json(values.pop("net"))
        if not isinstance(net, Arch):
            raise UsageError("a detector stands on a residual net")
        values["anchor_sizes"] = tuple(tuple(map(float, s)) for s in values["anchor_sizes"])
        values |= {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return DetectorRow(net=net, **values)
    except (TypeError, ValueError, KeyError) as e:
        raise UsageError(f"not a detector: {e}") from e
