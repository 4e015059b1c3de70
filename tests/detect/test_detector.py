"""Laws of detectors: torchvision's own are the reference."""

import numpy as np
import pytest
import torch
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops import FrozenBatchNorm2d

from residua.boxes.dataset import Target
from residua.detect.detector import Detector, build, wanted
from residua.detect.names import from_torchvision
from residua.detect.row import DetectorRow, detector_row, row_from_json, row_to_json
from residua.errors import UsageError
from residua.nn.zoo import find

SIDES = [(96, 160), (128, 140)]


def images(seed: int = 0) -> torch.Tensor:
    """Two pictures, each in the upper left corner of a canvas of 128 x 160; the rest is zero, as torchvision pads."""
    x = torch.randn(2, 3, 128, 160, generator=torch.Generator().manual_seed(seed))
    for i, (h, w) in enumerate(SIDES):
        x[i, :, h:] = 0
        x[i, :, :, w:] = 0
    return x


def targets() -> list[dict[str, torch.Tensor]]:
    boxes = torch.tensor([[10.0, 20.0, 50.0, 80.0], [60.0, 30.0, 150.0, 90.0]])
    return [
        {"boxes": boxes, "labels": torch.tensor([1, 3])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()},
    ]


def lively(model: torch.nn.Module) -> None:
    """Statistics and scales that are not 0 and 1, and heads that find something."""
    g = torch.Generator().manual_seed(1)
    for m in model.modules():
        if isinstance(m, FrozenBatchNorm2d):
            m.running_mean.copy_(0.1 * torch.randn(m.running_mean.shape, generator=g))
            m.running_var.copy_(0.5 + torch.rand(m.running_var.shape, generator=g))
            m.weight.copy_(0.5 + torch.rand(m.weight.shape, generator=g))
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(3)


def ours_of(reference: torch.nn.Module, row: DetectorRow) -> Detector:
    made = build(row)
    made.load_state_dict(from_torchvision(reference.state_dict(), list(made.state_dict()), row))
    return made


def their_row(arch: str, classes: int) -> DetectorRow:
    return detector_row(find(arch), classes, norm="frozen")


def both() -> tuple[torch.nn.Module, Detector]:
    torch.manual_seed(0)
    reference = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=7)
    body = reference.backbone.body
    for name, m in list(body.named_modules()):  # as with trained weights
        if isinstance(m, torch.nn.BatchNorm2d):
            parent = body.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], FrozenBatchNorm2d(m.num_features))
    lively(reference)
    return reference, ours_of(reference, their_row("resnet50", 6))


def inside(reference: torch.nn.Module, x: torch.Tensor):
    """What torchvision's detector finds in pictures that are already scaled and normalised."""
    from torchvision.models.detection.image_list import ImageList

    maps = reference.backbone(x)
    proposals, _ = reference.rpn(ImageList(x, SIDES), maps)
    return reference.roi_heads(maps, proposals, SIDES)[0]


def test_detections_are_torchvisions_bit_for_bit():
    reference, ours = both()
    reference.eval(), ours.eval()
    with torch.no_grad():
        expected, found = inside(reference, images()), ours(images(), SIDES)
    assert sum(len(e["boxes"]) for e in expected) > 4
    for e, f in zip(expected, found, strict=True):
        assert torch.equal(e["boxes"], f.boxes) and torch.equal(e["scores"], f.scores)
        assert torch.equal(e["labels"] - 1, f.labels)


def test_detections_are_those_of_torchvisions_whole_model_on_its_own_pictures():
    reference, ours = both()
    reference.eval(), ours.eval()
    pictures = [torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(3))]
    reference.transform.min_size, reference.transform.max_size = (120,), 400
    with torch.no_grad():
        expected = reference(pictures)[0]
        scaled, _ = reference.transform(pictures)
        found = ours(scaled.tensors, scaled.image_sizes)[0]
    assert torch.equal(expected["scores"], found.scores) and len(found.scores) > 5
    assert torch.allclose(expected["boxes"], found.boxes / 2, atol=1e-3)


def test_losses_are_torchvisions():
    reference, ours = both()
    reference.train(), ours.train()
    from torchvision.models.detection.image_list import ImageList

    x = images()
    torch.manual_seed(5)
    maps = reference.backbone(x)
    proposals, first = reference.rpn(ImageList(x, SIDES), maps, targets())
    _, second = reference.roi_heads(maps, proposals, SIDES, targets())
    torch.manual_seed(5)
    found = ours.losses(x, SIDES, targets())
    expected = [*first.values(), *second.values()]
    assert [v.item() for v in found.parts.values()] == pytest.approx([v.item() for v in expected], rel=1e-4)
    assert [v.item() for v in found.parts.values()][:2] == [v.item() for v in first.values()]
    assert found.total.item() == pytest.approx(sum(v.item() for v in expected))


def test_numbers_of_parameters_are_torchvisions():
    reference = FasterRCNN(_resnet_fpn_extractor(resnet18(norm_layer=torch.nn.BatchNorm2d), 5), 4)
    ours = build(detector_row(find("resnet18"), 3))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in reference.parameters())


@pytest.mark.parametrize("arch", ["resnet18", "cifar_resnet20", "wrn10_2", "cifar_preact20", "resnext50_32x4d"])
@pytest.mark.parametrize("form", ["fpn", "c4"])
def test_any_residual_net_becomes_a_detector(arch, form):
    row = detector_row(find(arch), 2, form=form, small=True)
    made = build(row).train()
    x = torch.randn(2, 3, 64, 96)
    losses = made.losses(
        x, [(64, 96)] * 2, [{"boxes": torch.tensor([[5.0, 5, 40, 50]]), "labels": torch.tensor([1])}] * 2
    )
    losses.total.backward()
    used = [n for n, p in made.named_parameters() if p.grad is None]
    assert not used and torch.isfinite(losses.total)
    assert row_from_json(row_to_json(row)) == row


@pytest.mark.parametrize("norm", ["frozen", "group", "batch"])
def test_norms(norm):
    made = build(detector_row(find("resnet18"), 2, norm=norm, small=True)).train()
    kinds = {
        type(m).__name__
        for m in made.modules()
        if "Norm" in type(m).__name__ and not isinstance(m, torch.nn.Sequential)
    }
    assert kinds == {{"frozen": "FrozenBatchNorm2d", "group": "GroupNorm", "batch": "BatchNorm2d"}[norm]}


def test_a_step_on_one_picture_fits_it_ever_better():
    torch.manual_seed(0)
    made = build(detector_row(find("cifar_resnet20"), 2, norm="group", small=True)).train()
    x = torch.randn(1, 3, 64, 64)
    one = [{"boxes": torch.tensor([[8.0, 8, 40, 44]]), "labels": torch.tensor([2])}]
    optimiser = torch.optim.Adam(made.parameters(), 1e-3)
    for _ in range(80):
        losses = made.losses(x, [(64, 64)], one)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
    made.eval()
    with torch.no_grad():
        (found,) = made(x, [(64, 64)])
    assert found.labels[0] == 1 and found.scores[0] > 0.5  # of three classes, background included
    assert torch.allclose(found.boxes[0], one[0]["boxes"][0], atol=4)


def test_pictures_without_boxes_train_without_nan():
    made = build(detector_row(find("cifar_resnet20"), 2, small=True)).train()
    none = wanted([Target(np.zeros((0, 4), np.float32), *(np.zeros(0, t) for t in (np.int64, bool, bool)))] * 2)
    losses = made.losses(torch.randn(2, 3, 64, 64), [(64, 64)] * 2, none)
    losses.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


def test_detections_do_not_depend_on_what_else_is_in_the_batch():
    made = build(detector_row(find("resnet18"), 3, small=True)).eval()
    with torch.no_grad():
        made.roi_heads.box_predictor.cls_score.weight.mul_(3)
        x = torch.randn(3, 3, 96, 128)
        together = made(x, [(96, 128)] * 3)
        alone = [made(x[i : i + 1], [(96, 128)])[0] for i in range(3)]
    for a, b in zip(together, alone, strict=True):
        assert len(a.boxes) == len(b.boxes) > 0
        assert torch.allclose(a.boxes, b.boxes, atol=1e-3) and torch.allclose(a.scores, b.scores, atol=1e-5)


def test_crowds_and_difficult_boxes_are_not_learned_from():
    boxes = np.array([[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7]], np.float32)
    (t,) = wanted([Target(boxes, np.array([0, 1, 1]), np.array([False, True, False]), np.array([False, False, True]))])
    assert t["labels"].tolist() == [1] and t["boxes"].tolist() == [[0, 0, 9, 9]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"form": "yolo"}, "form"), ({"norm": "layer"}, "norm"), ({"classes": 0}, "at least one class"),
        ({"anchor_sizes": ((32.0,),)}, "maps"), ({"anchor_sizes": ((32.0,),) * 4 + ((1.0, 2.0),)}, "same number"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_detector_are_one_line(change, words):
    with pytest.raises(UsageError, match=words):
        DetectorRow(**{"net": find("resnet18"), "classes": 2} | change)
