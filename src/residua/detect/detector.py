"""Faster R-CNN on any residual net: torchvision's proposals and regions, our nets behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork

from residua.boxes.dataset import Target
from residua.detect.parts import Conv5, Predictor, ProposalHead, Pyramid, Shared, with_norms
from residua.detect.pooling import Pooling
from residua.detect.row import DetectorRow
from residua.nn.resnet import Net
from residua.nn.zoo import build as build_net

Sides = Sequence[tuple[int, int]]  # height and width of each picture within its canvas

#: The parts of the loss, as torchvision names them and as we do.
LOSSES = {
    "loss_objectness": "objectness", "loss_rpn_box_reg": "proposal_boxes",
    "loss_classifier": "classes", "loss_box_reg": "boxes",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one picture, the surest first: boxes (n, 4) float32 in pixels, classes from 0, scores (n,)."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor


@dataclass(frozen=True, eq=False)
class Losses:
    """What a batch costs: the parts of the loss by name, and the share of the drawn regions with a wrong class."""

    parts: Mapping[str, Tensor]
    wrong: Tensor

    @property
    def total(self) -> Tensor:
        """The sum."""
        return torch.stack([v.float() for v in self.parts.values()]).sum()


class Detector(nn.Module):
    """A backbone, proposals (`rpn`), and regions (`roi_heads`): torchvision's names and numbers.

    Images are (N, C, H, W), normalised, each in the upper left corner of its canvas.
    """

    def __init__(self, row: DetectorRow, net: Net) -> None:
        """Take the parts of a net that the row describes; its norms are made what the row says."""
        super().__init__()
        self.row = row
        with_norms(net, row.norm)
        widths = tuple(row.net.widths[i] for i in row.stages)
        self.backbone: Pyramid | Shared
        if row.form == "fpn":
            self.backbone = Pyramid(net, row.stages, widths, row.pyramid_width)
            pool = Pooling(tuple(row.strides[i] for i in row.stages), 7, 2)
            head: nn.Module = TwoMLPHead(row.pyramid_width * 7**2, row.head_width)
            predictor = Predictor(row.head_width, row.classes + 1)
        else:
            self.backbone = Shared(net, row.stages[0], widths[0])
            pool = Pooling((row.strides[row.stages[0]],), 14, 2)
            head = Conv5(net)
            predictor = Predictor(row.net.widths[-1], row.classes + 1)
        ratios = (row.anchor_ratios,) * len(row.anchor_sizes)
        anchors = AnchorGenerator(row.anchor_sizes, ratios)
        (train, kept), (test, shown) = row.proposals_train, row.proposals_test
        self.rpn = RegionProposalNetwork(
            anchors, ProposalHead(self.backbone.out_channels, anchors.num_anchors_per_location()[0]),
            0.7, 0.3, 256, 0.5, {"training": train, "testing": test}, {"training": kept, "testing": shown}, 0.7,
        )  # fmt: skip
        self.roi_heads = RoIHeads(
            pool, head, predictor, 0.5, 0.5, row.regions, 0.25, None,
            row.score_threshold, row.overlap, row.detections,
        )  # fmt: skip

    def forward(self, images: Tensor, sides: Sides) -> list[Detections]:
        """What is in each picture."""
        maps = self.backbone(images)
        proposals, _ = self.rpn(ImageList(images, list(sides)), maps)
        found, _ = self.roi_heads(maps, proposals, list(sides))
        return [Detections(f["boxes"], f["labels"] - 1, f["scores"]) for f in found]

    def losses(self, images: Tensor, sides: Sides, targets: Sequence[Mapping[str, Tensor]]) -> Losses:
        """What a batch costs. Targets are those of `wanted`."""
        maps = self.backbone(images)
        proposals, parts = self.rpn(ImageList(images, list(sides)), maps, list(targets))
        roi = self.roi_heads
        proposals, _, labels, numbers = roi.select_training_samples(proposals, list(targets))
        logits, boxes = roi.box_predictor(roi.box_head(roi.box_roi_pool(maps, proposals, list(sides))))
        classes, edges = fastrcnn_loss(logits, boxes, labels, numbers)
        parts = {**parts, "loss_classifier": classes, "loss_box_reg": edges}
        wrong = (logits.detach().argmax(1) != torch.cat(labels)).float().mean()
        return Losses({LOSSES[k]: v for k, v in parts.items()}, wrong)


def wanted(targets: Sequence[Target], device: torch.device | str = "cpu") -> list[dict[str, Tensor]]:
    """Targets as torchvision's parts take them: classes from 1, without crowds and what is marked difficult."""
    found = []
    for t in targets:
        use = ~(t.difficult | t.crowd)
        boxes, labels = torch.from_numpy(t.boxes[use]), torch.from_numpy(t.labels[use]) + 1
        found.append({"boxes": boxes.to(device), "labels": labels.to(device)})
    return found


def build(row: DetectorRow, net: Net | None = None) -> Detector:
    """The detector of a row, on a net with weights of its own, or on a new one."""
    made = net if net is not None else build_net(row.net)
    assert isinstance(made, Net)
    return Detector(row, made)
