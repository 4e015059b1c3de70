"""A localizer: a net that names one thing, and heads for each class that say where it would be."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from residua.localize.row import LocalizerRow
from residua.nn.blocks import conv, named, norm, relu
from residua.nn.resnet import Net, initialise
from residua.nn.zoo import build as build_net

#: Of each class so many of the surest boxes have a say in where its thing is.
VOICES = 32
#: How much more a surer voice counts: odds to this power.
POWER = 2.0
#: A cut-out shows so many times the sides of its box: a margin lets the second look move the edges outwards.
MARGIN = 1.25
#: So many cut-outs go through the second net at a time.
CUTS = 256
#: The sides of a box are at most e^4 times its anchor's, and at least as much smaller.
LARGEST = 4.0


@dataclass(frozen=True, eq=False)
class Answers:
    """What a localizer says of N pictures, of K classes at M anchors: logits (N, K) of the classes; of each class the
    logit of how much its box would overlap the thing, `surety` (N, M, K), and the box as `numbers` (N, M, K, 4) beside
    its anchor; `anchors` (M, 4) are middles and sides."""

    logits: Tensor
    surety: Tensor
    numbers: Tensor
    anchors: Tensor

    def of(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Surety (N, C, M) and boxes (N, C, M, 4), edges in pixels, of some classes (N, C) of each picture."""
        which = classes[:, None].expand(-1, self.surety.shape[1], -1)  # (N, M, C)
        surety = self.surety.gather(2, which).float().transpose(1, 2)
        numbers = self.numbers.gather(2, which[..., None].expand(-1, -1, -1, 4)).float().transpose(1, 2)
        return surety, beside(self.anchors, numbers)


def beside(anchors: Tensor, numbers: Tensor) -> Tensor:
    """Edges (..., 4) of boxes that numbers (..., 4) describe beside anchors (..., 4): R-CNN's coding."""
    middle = anchors[..., :2] + numbers[..., :2] * anchors[..., 2:]
    half = 0.5 * anchors[..., 2:] * numbers[..., 2:].clamp(-LARGEST, LARGEST).exp()
    return torch.cat([middle - half, middle + half], -1)


def centred(boxes: Tensor) -> Tensor:
    """Edges (..., 4) as middles and sides."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)


def edges(anchors: Tensor) -> Tensor:
    """Middles and sides (..., 4) as edges."""
    half = anchors[..., 2:] / 2
    return torch.cat([anchors[..., :2] - half, anchors[..., :2] + half], -1)


class RegionHead(nn.Module):
    """A map (N, C, H, W) -> surety (N, H W A, K) and numbers (N, H W A, K, 4): a 3x3 layer and two 1x1 beside it."""

    def __init__(self, c_in: int, width: int, anchors: int, classes: int) -> None:
        """For so many anchors at each place, and classes."""
        super().__init__()
        self.anchors, self.classes = anchors, classes
        self.shared = named(conv1=conv(c_in, width, 3), bn1=norm(width), relu1=relu())
        initialise(self.shared)
        self.surety = nn.Conv2d(width, anchors * classes, 1)
        self.numbers = nn.Conv2d(width, anchors * classes * 4, 1)
        for layer, bias in ((self.surety, -2.0), (self.numbers, 0.0)):  # most anchors lie beside the thing
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Surety and numbers."""
        x = self.shared(x)
        n, _, h, w = x.shape
        surety = self.surety(x).view(n, self.anchors, self.classes, h, w).permute(0, 3, 4, 1, 2)
        numbers = self.numbers(x).view(n, self.anchors, self.classes, 4, h, w).permute(0, 4, 5, 1, 2, 3)
        return surety.reshape(n, -1, self.classes), numbers.reshape(n, -1, self.classes, 4)


class Localizer(nn.Module):
    """A classifier (`net`), the region head on its last map (`region`), and for the second look a `refiner` or none.

    Images are (N, C, H, W), normalised.
    """

    def __init__(self, row: LocalizerRow, net: Net) -> None:
        """Take a net that the row describes, with its weights."""
        super().__init__()
        self.row, self.net = row, net
        self.region = RegionHead(row.net.widths[-1], row.width, len(row.anchors), row.classes)
        self.refiner = second(row) if row.refined else None

    def forward(self, images: Tensor) -> Answers:
        """What is on the pictures, and where each class would be."""
        x = self.net.stages(self.net.stem(images))
        pooling = False
        shared = x
        for name, layer in self.net.head.named_children():
            pooling = pooling or name == "pool"
            x = layer(x)
            shared = shared if pooling else x  # a pre-activation net's last sum is normalised in its head
        surety, numbers = self.region(shared)
        return Answers(x, surety, numbers, self.anchors(shared.shape[2], shared.shape[3], images.device))

    def anchors(self, height: int, width: int, device: torch.device) -> Tensor:
        """Middles and sides (H W A, 4) of all anchors of a map, in pixels."""
        y, x = ((torch.arange(n, device=device) + 0.5) * self.row.stride for n in (height, width))
        middles = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], -1)[:, :, None]  # (H, W, 1, 2)
        sides = torch.tensor(self.row.anchors, device=device).expand(height, width, -1, -1)  # (H, W, A, 2)
        return torch.cat([middles.expand_as(sides), sides], -1).reshape(-1, 4)

    def places(self, answers: Answers, classes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Where things of some classes (N, C) of each picture are: boxes (N, C, 4) within it, and surety (N, C).

        Surety is the overlap that the net expects. Without a second look the surest boxes are averaged; with one the
        surest are looked at again, and what that gives is averaged.
        """
        surety, boxes = answers.of(classes)
        size = images.shape[3], images.shape[2]
        if self.refiner is not None:
            surety, kept = surety.topk(min(self.row.proposals, surety.shape[2]))
            boxes = within(boxes.gather(2, kept[..., None].expand(-1, -1, -1, 4)), size)
            again, boxes = self.again(images, boxes, classes)
            surety = both(surety, again)
        return agreed(surety, within(boxes, size))

    def again(self, images: Tensor, boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """A second look at boxes (N, C, P, 4) of classes (N, C): the logits of their overlap, and better boxes."""
        assert self.refiner is not None
        n, c, p, _ = boxes.shape
        flat, owner = boxes.reshape(-1, 4), torch.arange(n, device=boxes.device).repeat_interleave(c * p)
        asked = classes.reshape(-1).repeat_interleave(p)
        parts = [
            self.looked(images, flat[i : i + CUTS], owner[i : i + CUTS], asked[i : i + CUTS])
            for i in range(0, len(flat), CUTS)
        ]
        surety, numbers = (torch.cat(v) for v in zip(*parts, strict=True))
        better = beside(centred(flat), numbers)
        return surety.view(n, c, p), better.view(n, c, p, 4)

    def looked(self, images: Tensor, boxes: Tensor, owner: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Cut boxes (R, 4) out of the pictures that own them (R,), and ask for a class (R,) of each: surety (R,), and
        numbers (R, 4) beside the box."""
        assert self.refiner is not None
        middle = centred(boxes)
        half = (middle[:, 2:] * MARGIN / 2).clamp(min=0.5)
        rois = torch.cat([owner[:, None].to(boxes.dtype), middle[:, :2] - half, middle[:, :2] + half], 1)
        cut = roi_align(images.float(), rois, (images.shape[2], images.shape[3]), sampling_ratio=2, aligned=True)
        out = self.refiner(cut.contiguous(memory_format=torch.channels_last)).float()
        k = self.row.classes
        own = torch.arange(out.shape[0], device=out.device)
        return out[own, classes], out[:, k:].view(-1, k, 4)[own, classes]


def second(row: LocalizerRow) -> Net:
    """The net of the second look: the row's, with a surety and four numbers for each class; it begins by leaving boxes
    as they are."""
    made = build_net(replace(row.net, classes=5 * row.classes))
    assert isinstance(made, Net)
    *_, last = made.head.children()
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight[row.classes :] = 0
        last.bias[row.classes :] = 0
    return made


def within(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes cut to a picture of this width and height."""
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([*size, *size]))


def both(first: Tensor, second: Tensor) -> Tensor:
    """The logit of what two looks expect together: the geometric mean of their overlaps."""
    return torch.logit((first.sigmoid() * second.sigmoid()).sqrt(), eps=1e-6)


def agreed(surety: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The one box (N, C, 4) that boxes (N, C, M, 4) with logits (N, C, M) speak for, and its surety (N, C).

    Of the surest boxes, those that overlap the surest by half or more are averaged, weighted by powers of their odds:
    box voting (Gidaris & Komodakis 2015, arXiv:1505.01749, sec. 5).
    """
    voices, which = surety.topk(min(VOICES, surety.shape[2]))
    some = boxes.gather(2, which[..., None].expand(-1, -1, -1, 4))
    near = overlap(some[:, :, :1], some) >= 0.5
    near[:, :, 0] = True  # also where the surest is without area
    weights = torch.where(near, (POWER * (voices - voices[..., :1])).exp(), 0.0)
    weights = weights / weights.sum(2, keepdim=True)
    return (some * weights[..., None]).sum(2), voices[..., 0].sigmoid()


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (...) of boxes (..., 4) in pairs."""
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    inside = sides.prod(-1)
    area = [(x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (a, b)]
    return inside / (area[0] + area[1] - inside).clamp(min=1e-6)


def build(row: LocalizerRow, net: Net | None = None) -> Localizer:
    """The localizer of a row, on a net with weights of its own, or on a new one."""
    made = net if net is not None else build_net(row.net)
    assert isinstance(made, Net)
    return Localizer(row, made)
