"""How good detections are: COCO's twelve numbers, VOC's average precision, curves, and kinds of errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from residua.boxes.dataset import Target
from residua.boxes.found import Found
from residua.errors import UsageError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

#: COCO's numbers in the order in which its tools give them, by our names.
COCO = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip

#: A detection counts from this overlap on; below the other it has nothing to do with a box.
HIT, NEAR = 0.5, 0.1

#: What a detection or a box can be, from good to bad (after Bolya et al. 2020, arXiv:2008.08115).
KINDS = ("right", "twice", "wrong class", "badly placed", "wrong class and place", "nothing there", "missed")


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision at each recall of a class, the surest detection first; `scores` are the thresholds. All (n,)."""

    recall: Floats
    precision: Floats
    scores: Floats


@dataclass(frozen=True, eq=False)
class OfClass:
    """One class: its boxes that count, its average precisions (None where it has no box), its curve at overlap 0.5."""

    name: str
    boxes: int
    ap: float | None
    ap50: float | None
    voc07: float | None
    voc12: float | None
    curve: Curve


@dataclass(frozen=True, eq=False)
class BoxEvaluation:
    """All of it over `n` pictures with `boxes` boxes. `voc07` and `voc12` are means over classes at overlap 0.5.

    `errors` counts detections of a score of at least `threshold`, the one with the best F1, by `KINDS`.
    """

    n: int
    boxes: int
    coco: Mapping[str, float | None]
    voc07: float
    voc12: float
    classes: tuple[OfClass, ...]
    threshold: float
    f1: float
    errors: Mapping[str, int]

    @property
    def headline(self) -> tuple[float, str]:
        """COCO's AP at overlap 0.5, and the mean over all overlaps."""
        return self.coco["ap50"] or 0.0, f"AP {100 * (self.coco['ap'] or 0.0):.2f} %"

    def to_json(self) -> dict[str, Any]:
        """Words and numbers; curves are left to `OfClass`."""
        return {
            "n": self.n, "boxes": self.boxes, "coco": dict(self.coco), "voc07": self.voc07, "voc12": self.voc12,
            "threshold": self.threshold, "f1": self.f1, "errors": dict(self.errors),
            "classes": [
                {"name": c.name, "boxes": c.boxes, "ap": c.ap, "ap50": c.ap50, "voc07": c.voc07, "voc12": c.voc12}
                for c in self.classes
            ],
        }  # fmt: skip


def check_installed() -> None:
    """Raise UsageError without faster-coco-eval: before a training, not after its first epoch."""
    if find_spec("faster_coco_eval") is None:
        raise UsageError("measuring detectors needs faster-coco-eval: pip install 'residua[detect]'")


def evaluated(
    targets: Sequence[Target], found: Sequence[Found], sizes: Indices, classes: Sequence[str]
) -> BoxEvaluation:
    """Compare detections with targets, picture by picture; `sizes` (N, 2) are heights and widths.

    Raises UsageError without faster-coco-eval.
    """
    coco, by_class = coco_numbers(targets, found, sizes, len(classes))
    rows = []
    for c, name in enumerate(classes):
        n, curve = curve_of(targets, found, c)
        ap, ap50 = by_class[c]
        rows.append(OfClass(
            name, n, ap if n else None, ap50 if n else None,
            voc07(curve) if n else None, voc12(curve) if n else None, curve,
        ))  # fmt: skip
    means = [float(np.mean([v for v in values if v is not None] or [0.0]))
             for values in ([r.voc07 for r in rows], [r.voc12 for r in rows])]  # fmt: skip
    threshold, f1 = best_threshold(targets, found)
    return BoxEvaluation(
        n=len(targets), boxes=sum(r.boxes for r in rows), coco=coco, voc07=means[0], voc12=means[1],
        classes=tuple(rows), threshold=threshold, f1=f1, errors=kinds_of(targets, found, threshold),
    )  # fmt: skip


def overlaps(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Floats:
    """Intersection over union of each of a (n, 4) with each of b (m, 4): (n, m)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None] - inside
    found: Floats = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return found


# -- VOC ------------------------------------------------------------------------------------------------------------


def curve_of(targets: Sequence[Target], found: Sequence[Found], c: int) -> tuple[int, Curve]:
    """The boxes of a class that count, and its curve: each detection in turn takes the box that it overlaps most.

    It is right where that is at least 0.5 and the box is not taken yet; one on a difficult box or in a crowd counts
    neither way. Source: Everingham et al. 2010, sec. 4.4, and the development kit's VOCevaldet.
    """
    total, rows = 0, []  # of detections: score, whether it is right, whether it counts
    for target, of in zip(targets, found, strict=True):
        own, mine = target.labels == c, of.labels == c
        aside = (target.difficult | target.crowd)[own]
        total += int((~aside).sum())
        order = np.argsort(-of.scores[mine], kind="stable")
        scores = of.scores[mine][order]
        near = overlaps(of.boxes[mine][order], target.boxes[own])
        taken = np.zeros(len(aside), np.bool_)
        for score, row in zip(scores.tolist(), near, strict=True):
            best = int(row.argmax()) if len(row) else -1
            hit = best >= 0 and row[best] >= HIT
            if hit and aside[best]:
                continue
            rows.append((score, hit and not taken[best]))
            if hit:
                taken[best] = True
    scores, right = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], np.bool_)
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    precision = hits / np.arange(1, len(hits) + 1)
    return total, Curve(hits / max(total, 1), precision, scores[order])


def voc12(curve: Curve) -> float:
    """The area under the curve, its precision made to fall (VOC 2010 to 2012)."""
    recall = np.concatenate([[0.0], curve.recall, [1.0]])
    precision = np.concatenate([[0.0], curve.precision, [0.0]])
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * falling[steps]).sum())


def voc07(curve: Curve) -> float:
    """The mean of the best precision from each of eleven recalls on (VOC 2007)."""
    best = [curve.precision[curve.recall >= r].max(initial=0.0) for r in np.linspace(0, 1, 11)]
    return float(np.mean(best))


# -- COCO -----------------------------------------------------------------------------------------------------------


def coco_numbers(
    targets: Sequence[Target], found: Sequence[Found], sizes: Indices, classes: int
) -> tuple[dict[str, float | None], list[tuple[float | None, float | None]]]:
    """COCO's twelve numbers (None where there is nothing to measure), and AP and AP50 of each class.

    Difficult boxes count as crowds do. Raises UsageError without faster-coco-eval.
    """
    check_installed()
    from faster_coco_eval import COCO as Annotations
    from faster_coco_eval import COCOeval_faster

    truth, results = coco_json(targets, found, sizes, classes)
    nothing: dict[str, float | None] = dict.fromkeys(COCO, None)
    if not truth["annotations"]:
        return nothing, [(None, None)] * classes
    if not results:
        there = {a["category_id"] - 1 for a in truth["annotations"]}
        return dict.fromkeys(COCO, 0.0), [(0.0, 0.0) if c in there else (None, None) for c in range(classes)]
    annotations = Annotations(truth)
    evaluation = COCOeval_faster(annotations, annotations.loadRes(results), "bbox", print_function=lambda *a, **k: None)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    numbers = [float(v) if v >= 0 else None for v in evaluation.stats[: len(COCO)]]
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # overlaps, recalls, classes; all areas, most detections
    rows: list[tuple[float | None, float | None]] = []
    for c in range(classes):
        of = precision[:, :, c]
        rows.append(tuple(float(p[p > -1].mean()) if (p > -1).any() else None for p in (of, of[:1])))  # type: ignore[arg-type]
    return dict(zip(COCO, numbers, strict=True)), rows


def coco_json(
    targets: Sequence[Target], found: Sequence[Found], sizes: Indices, classes: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Targets and detections as COCO's tools take them, numbers from 1."""
    images = [{"id": i, "height": int(h), "width": int(w)} for i, (h, w) in enumerate(sizes.tolist(), 1)]
    annotations: list[dict[str, Any]] = []
    results = []
    for i, (target, of) in enumerate(zip(targets, found, strict=True), 1):
        for box, label, aside in zip(target.boxes, target.labels, target.difficult | target.crowd, strict=True):
            left, top, right, bottom = map(float, box)
            annotations.append({
                "id": len(annotations) + 1, "image_id": i, "category_id": int(label) + 1, "iscrowd": int(aside),
                "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top),
            })  # fmt: skip
        for box, label, score in zip(of.boxes, of.labels, of.scores, strict=True):
            left, top, right, bottom = map(float, box)
            results.append({
                "image_id": i, "category_id": int(label) + 1, "score": float(score),
                "bbox": [left, top, right - left, bottom - top],
            })  # fmt: skip
    categories = [{"id": c + 1, "name": str(c + 1)} for c in range(classes)]
    return {"images": images, "annotations": annotations, "categories": categories}, results


# -- kinds of errors ------------------------------------------------------------------------------------------------


def best_threshold(targets: Sequence[Target], found: Sequence[Found]) -> tuple[float, float]:
    """The score from which on detections of all classes together have the best F1, and that F1."""
    classes = 1 + max((int(t.labels.max()) for t in targets if len(t.labels)), default=-1)
    total, scores, right = 0, [np.zeros(0)], [np.zeros(0)]
    for c in range(classes):
        n, curve = curve_of(targets, found, c)
        total += n
        hits = curve.recall * max(n, 1)
        scores.append(curve.scores)
        right.append(np.diff(hits, prepend=0.0))
    every, good = np.concatenate(scores), np.concatenate(right)
    if not len(every) or not total:
        return 0.5, 0.0
    order = np.argsort(-every, kind="stable")
    hits = np.cumsum(good[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + total)
    best = int(f1.argmax())
    return float(every[order][best]), float(f1[best])


def kinds_of(targets: Sequence[Target], found: Sequence[Found], threshold: float) -> dict[str, int]:
    """How many detections from a score on are of each kind, and how many boxes are missed."""
    counts = dict.fromkeys(KINDS, 0)
    for target, of in zip(targets, found, strict=True):
        aside = target.difficult | target.crowd
        sure = np.flatnonzero(of.scores >= threshold)
        sure = sure[np.argsort(-of.scores[sure], kind="stable")]
        near = overlaps(of.boxes[sure], target.boxes)
        taken = np.zeros(len(aside), np.bool_)
        for i, row in zip(sure.tolist(), near, strict=True):
            same = target.labels == of.labels[i]
            own = np.where(same, row, 0.0)
            best, other = (float(v.max(initial=0.0)) for v in (own, np.where(same, 0.0, row)))
            where = int(own.argmax()) if len(own) else 0
            if best >= HIT:
                if aside[where]:
                    continue
                counts["twice" if taken[where] else "right"] += 1
                taken[where] = True
            elif other >= HIT:
                counts["wrong class"] += 1
            elif best >= NEAR:
                counts["badly placed"] += 1
            elif other >= NEAR:
                counts["wrong class and place"] += 1
            else:
                counts["nothing there"] += 1
        counts["missed"] += int((~taken & ~aside).sum())
    return counts
