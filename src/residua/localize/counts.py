"""How good a localizer is: ILSVRC's errors, with the class known too, beside the class errors and the mean box's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from residua.boxes.dataset import Target
from residua.evaluate import wilson

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: A box is right from this overlap with a true one on (Russakovsky et al. 2015, arXiv:1409.0575, sec. 4).
HIT = 0.5
#: So many classes of a picture are answered.
TOP = 5

#: What an answer can be, from good to bad.
KINDS = ("right", "badly placed", "wrong class", "wrong class and place")


@dataclass(frozen=True, eq=False)
class Places:
    """What was answered to N pictures, the likeliest of C classes first: `labels` and `scores` (N, C), the box of each
    in pixels of the file (N, C, 4), and the `overlaps` that the net expects of them (N, C). `given` (N, 4) is the box
    of the true class, where that is known."""

    labels: Indices
    scores: Floats
    boxes: Floats
    overlaps: Floats
    given: Floats | None = None

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.labels)


@dataclass(frozen=True)
class OfClass:
    """One class: its pictures; how many of them are named wrongly, placed wrongly although the class is known, and one
    or the other; and how many the mean box of the class misses."""

    name: str
    n: int
    class_wrong: int
    given_wrong: int
    wrong: int
    mean_box_wrong: int


@dataclass(frozen=True)
class LocalizationEvaluation:
    """All of it over `n` pictures, as fractions. An answer is right if the class is and its box overlaps a true one by
    half or more; `given` errors ask for the box of the true class (He et al. 2015, table 13). The mean box of a class
    needs no net: with the class known, and with the class that the net says."""

    n: int
    top1_localization_error: float
    top5_localization_error: float
    given_localization_error: float
    top1_error: float
    top5_error: float
    mean_overlap: float
    mean_box_given_error: float
    mean_box_top1_error: float
    classes: tuple[OfClass, ...]
    kinds: Mapping[str, int]

    @property
    def headline(self) -> tuple[float, str]:
        """The top-1 localization error, and the two errors behind it."""
        class_, given = 100 * self.top1_error, 100 * self.given_localization_error
        return self.top1_localization_error, f"class {class_:.1f} %, place {given:.1f} %"

    def interval(self, error: float) -> tuple[float, float]:
        """The 95 % interval of one of the errors: Wilson's."""
        return wilson(round(error * self.n), self.n)

    def to_json(self) -> dict[str, Any]:
        """Words and numbers."""
        words = {k: v for k, v in vars(self).items() if k not in ("classes", "kinds")}
        intervals = {k: list(self.interval(v)) for k, v in words.items() if k.endswith("error")}
        classes = [vars(c) for c in self.classes]
        return words | {"intervals": intervals, "kinds": dict(self.kinds), "classes": classes}


def evaluated(
    targets: Sequence[Target], sizes: Indices, found: Places, mean_boxes: Floats, classes: Sequence[str]
) -> LocalizationEvaluation:
    """Compare answers with what the pictures show; `sizes` (N, 2) are heights and widths, mean boxes (K, 4) shares."""
    n = len(targets)
    assert found.given is not None
    true = np.array([int(t.labels[0]) for t in targets], np.int64)
    sides = sizes[:, [1, 0, 1, 0]].astype(np.float64)
    named = found.labels == true[:, None]
    placed = np.stack([hits(found.boxes[:, c], targets) for c in range(found.labels.shape[1])], 1)
    given = overlaps(found.given, targets)
    mean = hits(mean_boxes[true] * sides, targets)
    right = named[:, 0] & placed[:, 0]
    kinds = np.where(named[:, 0], np.where(placed[:, 0], 0, 1), np.where(placed[:, 0], 2, 3))
    return LocalizationEvaluation(
        n=n,
        top1_localization_error=share(~right),
        top5_localization_error=share(~(named & placed).any(1)),
        given_localization_error=share(given < HIT),
        top1_error=share(~named[:, 0]),
        top5_error=share(~named.any(1)),
        mean_overlap=float(given.mean()),
        mean_box_given_error=share(~mean),
        mean_box_top1_error=share(~(named[:, 0] & mean)),
        classes=tuple(
            OfClass(
                name, int((true == k).sum()), int((~named[true == k, 0]).sum()), int((given[true == k] < HIT).sum()),
                int((~right[true == k]).sum()), int((~mean[true == k]).sum()),
            )
            for k, name in enumerate(classes)
        ),
        kinds={kind: int((kinds == i).sum()) for i, kind in enumerate(KINDS)},
    )  # fmt: skip


def kinds_of(targets: Sequence[Target], found: Places) -> list[str]:
    """What each first answer is, by `KINDS`."""
    true = [int(t.labels[0]) for t in targets]
    placed = hits(found.boxes[:, 0], targets)
    return [
        KINDS[2 * (label != k) + (not hit)]
        for k, label, hit in zip(true, found.labels[:, 0].tolist(), placed.tolist(), strict=True)
    ]


def share(wrong: Flags) -> float:
    """Which part of all is wrong."""
    return float(wrong.mean())


def hits(boxes: Floats, targets: Sequence[Target]) -> Flags:
    """Whether the box of each picture (N, 4) overlaps a true one enough."""
    return overlaps(boxes, targets) >= HIT


def overlaps(boxes: Floats, targets: Sequence[Target]) -> Floats:
    """How much the box of each picture (N, 4) overlaps a true one at best (N,)."""
    return np.array([overlap(box, t.boxes.astype(np.float64)) for box, t in zip(boxes, targets, strict=True)])


def overlap(box: Floats, boxes: Floats) -> float:
    """The best intersection over union of a box (4,) with some (n, 4)."""
    inside = (np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])).clip(0).prod(1)
    area, areas = (box[2:] - box[:2]).clip(0).prod(), (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return float((inside / (area + areas - inside)).max())
