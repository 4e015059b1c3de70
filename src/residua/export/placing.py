"""A localizer's answer in steps that exporters can follow."""

import torch
from torch import Tensor, nn

from residua.boxes.view import BoxView
from residua.export.fitting import Fitting
from residua.export.folding import folded
from residua.export.graphs import Normalised
from residua.localize.localizer import Localizer, agreed, beside, both, centred, within


class Placing(nn.Module):
    """Pictures of one size, uint8 (N, C, H, W) -> the `top` likeliest classes (N, T), their probabilities (N, T), boxes
    (N, T, 4) in the pictures' pixels, and the overlaps (N, T) that the net expects of them."""

    def __init__(self, net: Localizer, view: BoxView, top: int) -> None:
        """Of a localizer, whose norms are folded in a copy."""
        super().__init__()
        made = folded(net)
        assert isinstance(made, Localizer)
        self.net, self.top, self.side = made, top, view.short_px
        self.fitting, self.normalised = Fitting(view.colours), Normalised(view.colours)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is where."""
        images = self.normalised(self.fitting(pictures))
        answers = self.net(images)
        scores, which = answers.logits.softmax(1).topk(self.top)
        surety, boxes = answers.of(which)
        size = images.shape[3], images.shape[2]
        if self.net.refiner is not None:
            surety, boxes = self.again(images, which, surety, boxes)
        boxes, overlaps = agreed(surety, within(boxes, size))
        own = [torch.scalar_tensor(pictures.shape[d], dtype=torch.float32) for d in (3, 2)]
        return which, scores, boxes * (torch.stack(own) / self.side).repeat(2), overlaps

    def again(self, images: Tensor, classes: Tensor, surety: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The second look of `Localizer.places`, at all boxes at once."""
        size = images.shape[3], images.shape[2]
        surety, kept = surety.topk(min(self.net.row.proposals, surety.shape[2]))
        boxes = within(boxes.gather(2, kept[..., None].expand(-1, -1, -1, 4)), size)
        n, c, p = surety.shape
        owner = torch.arange(n)[:, None].expand(-1, c * p).reshape(-1)
        asked = classes[..., None].expand(-1, -1, p).reshape(-1)
        flat = boxes.reshape(-1, 4)
        better, numbers = self.net.looked(images, flat, owner, asked)
        return both(surety, better.view(n, c, p)), beside(centred(flat), numbers).view(n, c, p, 4)
