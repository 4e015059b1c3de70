"""The view's scaling and cropping as plain arithmetic that any format can hold, equal to torch's own to the last bit.

What formats call an antialiased resize differs from torch's by a step of 255 here and there, and by more in places; a
net then says something else. So the weights of each axis are computed in the graph, as torch computes them for bytes:
in double precision, rounded to 16-bit integers, each axis rounded to bytes (UpSampleKernel.cpp of torch, after Pillow).
A product of doubles is exact for such numbers, in whatever order a runtime adds them up.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from residua.data.view import View

#: How many pixels wide the filter is where a picture is scaled up.
WIDTHS = {"bilinear": 2, "bicubic": 4}
#: Weights are less than this, as integers, and are scaled by at most two to this power.
LIMIT, MOST_BITS = 2**15, 22
#: Scaled down by this or more, the first or last row of an axis has the largest weight: no other has to be asked.
COARSE = 4


class Fitting(nn.Module):
    """What `View.picture` does, for pictures of one size: uint8 (N, C, H, W) -> float64 (N, C, S, S), whole numbers."""

    powers: Tensor
    colour: Tensor

    def __init__(self, view: View) -> None:
        """Of a view."""
        super().__init__()
        self.view = view
        self.width = WIDTHS[view.interpolation]
        self.register_buffer("powers", 2.0 ** torch.arange(MOST_BITS + 1, dtype=torch.float64), persistent=False)
        colour = torch.tensor(view.mean_colour, dtype=torch.float64)[:, None, None]
        self.register_buffer("colour", colour, persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """The pictures, fitted: across first, then down."""
        h, w = (torch.scalar_tensor(n, dtype=torch.int64) for n in pictures.shape[2:])
        short, long = torch.minimum(h, w), torch.maximum(h, w)
        across, inside_x = self.scaled(pictures.double(), w, short, long)
        fitted, inside_y = self.scaled(across.transpose(2, 3), h, short, long)
        fitted = fitted.transpose(2, 3)
        if self.view.fit != "pad":
            return fitted
        return torch.where(inside_y[:, None] & inside_x, fitted, self.colour)

    def scaled(self, x: Tensor, size: Tensor, short: Tensor, long: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, A, B) -> (N, C, A, S) along the axis of this size, and which of the S places show the picture (S,)."""
        begin, n, out, first = self.part(size, short, long)
        i = torch.arange(self.view.side_px, device=x.device) + first
        places = torch.arange(x.shape[3], device=x.device) - begin
        weights = self.weights(i[:, None], places, n, out)
        unit = self.powers.index_select(0, self.bits(self.largest(x.shape[3], n, out)))
        whole = torch.trunc(weights * unit + torch.where(weights < 0, -0.5, 0.5))
        product = x @ whole.transpose(0, 1)
        return torch.floor((product + unit / 2) / unit).clamp(0, 255), (i >= 0) & (i < out)

    def part(self, size: Tensor, short: Tensor, long: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of an axis: where what is scaled begins, how long it is, how long that becomes, and which place of it comes
        first in the square."""
        view, nothing = self.view, torch.zeros_like(size)
        if view.fit == "squash":
            return nothing, size, nothing + view.side_px, nothing
        if view.fit == "pad":
            share = (
                torch.full_like(long, view.side_px).double() / long.double()
            )  # int / tensor would be int * (1 / tensor)
            out = torch.round(size.double() * share).to(torch.int64).clamp(min=1)
            return nothing, size, out, -((view.side_px - out) // 2)
        strip = (long > 4 * short) & (short < view.resize_px)
        n = torch.where(strip, torch.minimum(size, 4 * short), size)
        out = view.resize_px * n // short
        return middle(size - n), n, out, middle(out - view.side_px)

    def weights(self, i: Tensor, places: Tensor | None, n: Tensor, out: Tensor) -> Tensor:
        """The shares (R, P) that `places` (P,) have in the new places `i` (R, 1); without `places`, those of the
        places within the filter, from its first on."""
        scale = n.double() / out.double()
        half = self.width * 0.5 * scale.clamp(min=1.0)
        centre = scale * (i.double() + 0.5)
        low = (centre - half + 0.5).to(torch.int64).clamp(min=0)
        high = torch.minimum((centre + half + 0.5).to(torch.int64), n)
        if places is None:
            places = low + torch.arange(self.width * COARSE + 1, device=i.device)
        beside = (places - low).double() + (low.double() - centre) + 0.5
        inverse = torch.where(scale >= 1.0, 1.0 / scale, 1.0)
        shares = FILTERS[self.view.interpolation]((beside * inverse).abs())
        shares = torch.where((places >= low) & (places < high), shares, 0.0)
        return shares / shares.sum(1, keepdim=True)

    def largest(self, length: int, n: Tensor, out: Tensor) -> Tensor:
        """The largest share of any place in any new place, also of those that are cut off."""
        ends = torch.stack([torch.zeros_like(out), out - 1])[:, None]
        most = self.weights(ends, torch.arange(length, device=out.device), n, out).max()
        rows = self.view.side_px if self.view.fit != "crop" else length + 4 * self.view.resize_px
        every = torch.arange(rows, device=out.device)[:, None]
        shares = torch.where(every < out, self.weights(every, None, n, out), 0.0).max()
        return torch.where(n < COARSE * out, torch.maximum(most, shares), most)

    def bits(self, largest: Tensor) -> Tensor:
        """By how many powers of two weights are scaled, so that the largest stays below the limit."""
        return (torch.trunc(0.5 + largest * self.powers[1:]) < LIMIT).sum(0, keepdim=True)


def middle(room: Tensor) -> Tensor:
    """Half of the room, halves to the even number: as Python rounds, and with it torchvision."""
    half = room // 2
    return half + (room % 2) * (half % 2)


def linear(x: Tensor) -> Tensor:
    """A triangle, of distances."""
    return (1.0 - x).clamp(min=0.0)


def cubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -0.5, as Pillow's."""
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))


FILTERS: dict[str, Callable[[Tensor], Tensor]] = {"bilinear": linear, "bicubic": cubic}
