"""Laws of measuring detections: COCO's own tool is the reference, and what can be counted by hand."""

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from residua.boxes.dataset import Target
from residua.detect.counts import (
    KINDS,
    Curve,
    Found,
    best_threshold,
    coco_json,
    curve_of,
    evaluated,
    kinds_of,
    overlaps,
    voc07,
    voc12,
)


def target(boxes, labels, difficult=None) -> Target:
    n = len(boxes)
    aside = np.zeros(n, np.bool_) if difficult is None else np.array(difficult, np.bool_)
    return Target(np.array(boxes, np.float32).reshape(n, 4), np.array(labels, np.int64), aside, np.zeros(n, np.bool_))


def found(boxes, labels, scores) -> Found:
    return Found(np.array(boxes, float).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, float))


def random_case(seed: int, pictures: int = 12, classes: int = 3):
    """Boxes, and detections that are those boxes moved, doubled, misnamed or invented."""
    rng = np.random.default_rng(seed)
    targets, detections = [], []
    for _ in range(pictures):
        n = int(rng.integers(0, 7))
        low = rng.uniform(0, 150, (n, 2))
        boxes = np.concatenate([low, low + rng.uniform(8, 120, (n, 2))], 1).astype(np.float32)
        labels = rng.integers(0, classes, n)
        targets.append(target(boxes, labels))
        again = np.concatenate([np.arange(n), rng.integers(0, n, n // 2) if n else np.zeros(0, int)]).astype(int)
        moved = boxes[again] + rng.normal(0, 6, (len(again), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        invented = rng.uniform(0, 100, (2, 2))
        moved = np.concatenate([moved, np.concatenate([invented, invented + 40], 1)])
        others = rng.integers(0, classes, len(moved))
        names = np.where(np.arange(len(moved)) < len(again) * 0.8, np.append(labels[again], [0, 0]), others)
        detections.append(found(moved, names, rng.permutation(len(moved)) / len(moved) * 0.9 + rng.uniform(0, 0.05)))
    return targets, detections, np.full((pictures, 2), 300)


@pytest.mark.parametrize("seed", range(5))
def test_cocos_numbers_are_those_of_its_own_tool(seed):
    targets, detections, sizes = random_case(seed)
    truth, results = coco_json(targets, detections, sizes, 3)
    annotations = COCO(truth)
    reference = COCOeval_faster(annotations, annotations.loadRes(results), "bbox", print_function=lambda *a, **k: None)
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    ours = evaluated(targets, detections, sizes, ("a", "b", "c"))
    expected = [v if v >= 0 else None for v in reference.stats[:12]]
    assert list(ours.coco.values()) == pytest.approx(expected)
    assert np.mean([c.ap50 for c in ours.classes if c.ap50 is not None]) == pytest.approx(expected[1])


@pytest.mark.parametrize("seed", range(5))
def test_our_curve_at_cocos_recalls_is_its_average_precision(seed):
    """But for detections that COCO gives the second-best box where VOC counts the best alone: a few here."""
    targets, detections, sizes = random_case(seed)
    ours = evaluated(targets, detections, sizes, ("a", "b", "c"))
    for c in ours.classes:
        best = [c.curve.precision[c.curve.recall >= r - 1e-12].max(initial=0.0) for r in np.linspace(0, 1, 101)]
        assert c.ap50 == pytest.approx(np.mean(best), abs=0.02)


def test_voc_by_hand():
    """Right, wrong, right of two boxes: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1."""
    curve = Curve(np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3]), np.array([0.9, 0.8, 0.7]))
    assert voc12(curve) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert voc07(curve) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_a_second_detection_of_a_box_is_wrong_and_one_of_a_difficult_box_is_neither():
    box = [10, 10, 50, 50]
    twice = found([box, box], [0, 0], [0.9, 0.8])
    n, curve = curve_of([target([box], [0])], [twice], 0)
    assert n == 1 and curve.precision.tolist() == [1.0, 0.5]
    n, curve = curve_of([target([box, [60, 60, 90, 90]], [0, 0], [True, False])], [twice], 0)
    assert n == 1 and len(curve.precision) == 0


def test_the_highest_score_counts_first_over_all_pictures():
    a, b = target([[0, 0, 20, 20]], [0]), target([[0, 0, 20, 20]], [0])
    good, bad = found([[0, 0, 20, 20]], [0], [0.3]), found([[50, 50, 70, 70]], [0], [0.9])
    _, curve = curve_of([a, b], [good, bad], 0)
    assert curve.precision.tolist() == [0.0, 0.5] and curve.scores.tolist() == [0.9, 0.3]


def test_nothing_found_and_nothing_there():
    none, empty = found([], [], []), target([], [])
    some = target([[0, 0, 9, 9]], [1])
    ours = evaluated([some, empty], [none, none], np.full((2, 2), 50), ("a", "b"))
    assert ours.voc12 == 0 and ours.coco["ap"] == 0 and [c.ap50 for c in ours.classes] == [None, 0.0]
    assert ours.errors == dict.fromkeys(KINDS, 0) | {"missed": 1}
    bare = evaluated([empty], [found([[0, 0, 9, 9]], [0], [0.9])], np.full((1, 2), 50), ("a",))
    assert bare.coco["ap"] is None and bare.voc12 == 0 and bare.errors["nothing there"] == 1


def test_overlaps_by_hand():
    assert overlaps(
        np.array([[0, 0, 10, 10]]), np.array([[5, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30]])
    ).tolist() == [[pytest.approx(1 / 3), 1.0, 0.0]]


def test_every_kind_of_error_by_hand():
    boxes = target([[0, 0, 40, 40], [100, 100, 140, 140], [200, 0, 240, 40], [200, 200, 240, 240]], [0, 0, 0, 1])
    seen = found(
        [[0, 0, 40, 40], [1, 0, 40, 40], [100, 100, 140, 140],
         [220, 0, 260, 40], [220, 210, 260, 250], [300, 300, 340, 340]],
        [0, 0, 1, 0, 0, 0], [0.95, 0.9, 0.9, 0.9, 0.9, 0.9],
    )  # fmt: skip
    assert kinds_of([boxes], [seen], 0.5) == {
        "right": 1, "twice": 1, "wrong class": 1, "badly placed": 1, "wrong class and place": 1, "nothing there": 1,
        "missed": 3,
    }  # fmt: skip
    assert kinds_of([boxes], [seen], 0.92)["right"] == 1 and kinds_of([boxes], [seen], 0.92)["missed"] == 3


def test_the_threshold_has_the_best_f1():
    targets, detections, _ = random_case(1)
    threshold, f1 = best_threshold(targets, detections)

    def f1_at(score: float) -> float:
        hits = said = total = 0
        for c in range(3):
            n, curve = curve_of(targets, detections, c)
            k = int((curve.scores >= score).sum())
            total, said = total + n, said + k
            hits += round(curve.recall[k - 1] * n) if k else 0
        return 2 * hits / (said + total)

    scores = np.unique(np.concatenate([d.scores for d in detections]))
    assert f1 == pytest.approx(max(map(f1_at, scores))) == pytest.approx(f1_at(threshold))
