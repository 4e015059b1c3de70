"""Localization errors against counts by hand, and against torchvision's overlaps."""

import numpy as np
import torch
from torchvision.ops import box_iou

from residua.boxes.dataset import Target
from residua.localize.counts import KINDS, Places, evaluated, kinds_of, overlaps

MEAN = np.array([[0.0, 0, 1, 1]] * 6)


def target(label: int, *boxes) -> Target:
    none = np.zeros(len(boxes), np.bool_)
    return Target(np.array(boxes, np.float32), np.full(len(boxes), label, np.int64), none, none)


def test_every_error_by_hand():
    whole, corner = [0.0, 0, 10, 10], [0.0, 0, 5, 5]
    targets = [target(k, whole) for k in (0, 1, 2, 3)]
    sizes = np.full((4, 2), 10)
    labels = np.array([[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [0, 2, 1, 3, 4], [0, 1, 2, 4, 5]])
    boxes = np.array([[whole] * 5, [corner] * 5, [corner, whole, *[corner] * 3], [whole] * 5])
    given = np.array([whole, corner, whole, whole])
    places = Places(labels, np.full((4, 5), 0.2), boxes, np.ones((4, 5)), given)
    found = evaluated(targets, sizes, places, MEAN, ("a", "b", "c", "d", "e", "f"))
    assert found.top1_error == 0.5 and found.top5_error == 0.25
    assert found.top1_localization_error == 0.75  # the second is placed badly, the third and fourth are named wrongly
    assert found.top5_localization_error == 0.5  # the third is right at the second place
    assert found.given_localization_error == 0.25 and found.mean_overlap == (1 + 0.25 + 1 + 1) / 4
    assert found.mean_box_given_error == 0 and found.mean_box_top1_error == 0.5
    assert kinds_of(targets, places) == [KINDS[0], KINDS[1], KINDS[3], KINDS[2]]
    assert found.kinds == dict.fromkeys(KINDS, 1)
    assert [(c.n, c.wrong, c.class_wrong, c.given_wrong) for c in found.classes] == [
        (1, 0, 0, 0), (1, 1, 0, 1), (1, 1, 1, 0), (1, 1, 1, 0), (0, 0, 0, 0), (0, 0, 0, 0)
    ]  # fmt: skip
    document = found.to_json()
    assert document["n"] == 4 and document["classes"][1]["name"] == "b"
    low, high = document["intervals"]["top1_localization_error"]
    assert low < 0.75 < high and found.headline[0] == 0.75


def test_the_best_of_several_boxes_counts_as_torchvision_overlaps_them():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 30, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 30, (40, 2))], 1)
    targets = [target(0, *boxes[i : i + 3].astype(np.float32)) for i in range(30)]
    asked = boxes[rng.permutation(40)[:30]]
    theirs = [
        float(box_iou(torch.tensor(b[None]), torch.tensor(t.boxes).double()).max())
        for b, t in zip(asked, targets, strict=True)
    ]
    assert np.allclose(overlaps(asked, targets), theirs, atol=1e-6)


def test_exactly_half_is_right():
    targets, sizes = [target(0, [0.0, 0, 10, 10])], np.array([[10, 10]])
    half = np.array([[[0.0, 0, 10, 5]]])
    places = Places(np.array([[0]]), np.ones((1, 1)), half, np.ones((1, 1)), half[:, 0])
    assert evaluated(targets, sizes, places, MEAN[:1], ("a",)).top1_localization_error == 0
