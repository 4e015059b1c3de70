"""A detector's answer to one picture in steps that exporters can follow: no lists of pictures, no cutting by counts.

Where torchvision takes the best n or however many there are, rows without area or score are added and the best n
taken, so that most shapes are known; what was added is left out again. Numbers are those of `Detector.forward`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import nms, roi_align

from residua.boxes.view import WHOLE, BoxView
from residua.detect.detector import Detector
from residua.export.folding import folded
from residua.export.graphs import Normalised

#: Boxes with a shorter side are left out: of proposals and of answers (torchvision's).
SMALL_PROPOSAL, SMALL_ANSWER = 1e-3, 1e-2


class Finding(nn.Module):
    """One picture, uint8 (1, C, h, w) as the view scales it -> boxes (n, 4) in its pixels, classes and scores (n,)."""

    colour: Tensor

    def __init__(self, net: Detector, view: BoxView) -> None:
        """Of a detector, whose norms are folded in a copy."""
        super().__init__()
        made = folded(net)
        assert isinstance(made, Detector)
        self.net, self.normalised = made, Normalised(view.colours)
        colour = torch.tensor(view.colours.mean_colour, dtype=torch.float32)[:, None, None]
        self.register_buffer("colour", colour)
        for i, anchors in enumerate(net.rpn.anchor_generator.cell_anchors):
            self.register_buffer(f"anchors{i}", anchors.clone())

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is in the picture, the surest first."""
        height, width = picture.shape[2:]
        x = self.normalised(self.canvas(picture))
        maps = self.net.backbone(x)
        size = torch.stack([torch.scalar_tensor(n, dtype=torch.float32) for n in (width, height)]).repeat(2)
        proposals, real = self.proposals(x, list(maps.values()), size)
        regions = self.pooled([maps[name] for name in self.net.roi_heads.box_roi_pool.featmap_names], proposals)
        logits, numbers = self.net.roi_heads.box_predictor(self.net.roi_heads.box_head(regions))
        return self.answers(logits, numbers, proposals, real, size)

    def canvas(self, picture: Tensor) -> Tensor:
        """The picture in the upper left corner of a canvas with whole sides, else the mean colour."""
        height, width = picture.shape[2:]
        rest = (0, (-width) % WHOLE, 0, (-height) % WHOLE)
        return functional.pad(picture.float() - self.colour, rest) + self.colour

    def proposals(self, x: Tensor, maps: list[Tensor], size: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (P, 4) worth a look, and which of them are real (P,)."""
        rpn = self.net.rpn
        before, after = rpn.pre_nms_top_n(), rpn.post_nms_top_n()
        boxes, scores, levels = [], [], []
        for i, (objectness, numbers) in enumerate(zip(*rpn.head(maps), strict=True)):
            anchors = self.anchors(i, x, maps[i])
            logits = objectness[0].permute(1, 2, 0).reshape(-1)
            coded = numbers[0].unflatten(0, (-1, 4)).permute(2, 3, 0, 1).reshape(-1, 4)
            best, which = padded(logits, before, -1e4).topk(before)
            coded, anchors = padded(coded, before, 0.0)[which], padded(anchors, before, 0.0)[which]
            boxes.append(rpn.box_coder.decode_single(coded, anchors))
            scores.append(best.sigmoid())
            levels.append(torch.full((before,), float(i)))
        every, score = clipped(torch.cat(boxes), size), torch.cat(scores)
        real = sides(every).amin(1) >= SMALL_PROPOSAL
        kept = apart(every, torch.where(real, score, -1.0), torch.cat(levels), rpn.nms_thresh)
        return padded(every[kept], after, 0.0)[:after], padded(real[kept], after, False)[:after]

    def anchors(self, i: int, x: Tensor, seen: Tensor) -> Tensor:
        """The anchors (H W A, 4) of map i."""
        rows, columns = (
            torch.arange(seen.shape[d], dtype=torch.float32) * (x.shape[d] // seen.shape[d]) for d in (2, 3)
        )
        y = rows[:, None].expand(-1, seen.shape[3]).reshape(-1)
        places = torch.stack([columns.repeat(seen.shape[2]), y], 1).repeat(1, 2)
        own: Tensor = getattr(self, f"anchors{i}")
        return (places[:, None] + own[None]).reshape(-1, 4)

    def pooled(self, maps: list[Tensor], boxes: Tensor) -> Tensor:
        """Of each box (R, 4) what the map that suits its size shows: (R, C, S, S).

        The maps stand in one batch, the smaller ones with their last rows and columns over again, so that one pooling
        reads them all; scaled to the map, no box reaches further than its edge.
        """
        pool = self.net.roi_heads.box_roi_pool
        finest = maps[0]
        batch = [finest]
        for other in maps[1:]:
            down, right = (
                torch.arange(finest.shape[d]).clamp(max=other.shape[d] - 1) for d in (2, 3)
            )  # fmt: skip
            batch.append(other.index_select(2, down).index_select(3, right))
        levels = pool.map_levels([boxes]) if len(maps) > 1 else torch.zeros(len(boxes), dtype=torch.int64)
        scaled = boxes * torch.tensor(pool.scales)[levels][:, None]
        rois = torch.cat([levels[:, None].to(boxes.dtype), scaled], 1)
        regions: Tensor = roi_align(
            torch.cat(batch), rois, pool.output_size, 1.0, pool.sampling_ratio, aligned=False
        )  # fmt: skip
        return regions

    def answers(
        self, logits: Tensor, numbers: Tensor, proposals: Tensor, real: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, classes and scores of what the regions show."""
        heads = self.net.roi_heads
        most, classes = heads.detections_per_img, logits.shape[1] - 1
        boxes = heads.box_coder.decode(numbers, [proposals])[:, 1:].reshape(-1, 4)
        boxes, scores = clipped(boxes, size), logits.softmax(1)[:, 1:].reshape(-1)
        labels = torch.arange(classes).repeat(proposals.shape[0])
        fit = (scores > heads.score_thresh) & (sides(boxes).amin(1) >= SMALL_ANSWER)
        some = (fit & real[:, None].expand(-1, classes).reshape(-1)).nonzero()[:, 0]
        boxes, scores, labels = boxes[some], scores[some], labels[some]
        kept = apart(boxes, scores, labels.float(), heads.nms_thresh)
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        boxes, scores, labels = (padded(v, most, 0)[:most] for v in (boxes, scores, labels))
        found = (scores > 0).nonzero()[:, 0]
        return boxes[found], labels[found], scores[found]


def padded(x: Tensor, n: int, value: float | bool) -> Tensor:
    """x with n more rows of a value: at least n."""
    return torch.cat([x, x.new_full((n, *x.shape[1:]), value)])


def clipped(boxes: Tensor, size: Tensor) -> Tensor:
    """Boxes (n, 4) cut to the picture, whose width, height, width and height are `size`."""
    return torch.minimum(boxes.clamp(min=0), size)


def sides(boxes: Tensor) -> Tensor:
    """Width and height (n, 2)."""
    return boxes[:, 2:] - boxes[:, :2]


def apart(boxes: Tensor, scores: Tensor, kinds: Tensor, overlap: float) -> Tensor:
    """Non-maximum suppression within each kind: which are kept, the surest first. Kinds are moved apart for it."""
    room = torch.cat([boxes.reshape(-1), boxes.new_zeros(1)]).max() + 1
    kept: Tensor = nms(boxes + (kinds * room)[:, None], scores, overlap)
    return kept
