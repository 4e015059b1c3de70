"""RoI align as one sparse matrix: pooled = weights x maps. On a CPU its gradient is several times faster so.

torchvision's own gradient adds up one number after the other on one core; a product with the transposed matrix uses
all of them (docs/log.md). Values agree with torchvision's to rounding.
"""

import warnings
from math import log2
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper


class Pooling(MultiScaleRoIAlign):  # type: ignore[misc]
    """torchvision's MultiScaleRoIAlign of maps with known strides; on a CPU, for gradients, by a sparse matrix.

    Of a pyramid, a box goes to the map that suits its size (Lin et al. 2017, eq. 1).
    """

    def __init__(self, strides: tuple[int, ...], size: int, ratio: int) -> None:
        """Bins of `size` x `size`, each the mean of `ratio` x `ratio` samples; maps are named "0", "1" and so on."""
        super().__init__([str(i) for i in range(len(strides))], size, ratio)
        low, high = (int(log2(s)) for s in (strides[0], strides[-1]))
        self.scales = [1 / s for s in strides]  # torchvision would guess them from the first picture
        self.map_levels = initLevelMapper(low, high, self.canonical_scale, self.canonical_level)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Maps by name and boxes of each picture (R_i, 4) -> (R, C, S, S)."""
        maps = [x[name] for name in self.featmap_names]
        if not (torch.is_grad_enabled() and maps[0].requires_grad and maps[0].device.type == "cpu"):
            pooled: Tensor = super().forward(x, boxes, image_shapes)
            return pooled
        rois = torch.cat(boxes)
        levels = self.map_levels(boxes) if len(maps) > 1 else torch.zeros(len(rois), dtype=torch.int64)
        picture = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([len(b) for b in boxes]))
        size = self.output_size[0]
        weights = matrix(rois, picture, levels, maps, self.scales, size, self.sampling_ratio)
        channels = maps[0].shape[1]
        dense = torch.cat([m.permute(0, 2, 3, 1).reshape(-1, channels).float() for m in maps])
        made: Tensor = Product.apply(dense, weights)
        return made.reshape(len(rois), size, size, channels).permute(0, 3, 1, 2)


def matrix(
    rois: Tensor, picture: Tensor, levels: Tensor, maps: list[Tensor], scales: list[float], size: int, ratio: int
) -> Tensor:
    """The weights of RoI align (He et al. 2017, sec. 3), ``aligned=False``: CSR, R x S x S rows, a column a place.

    Each of the S x S bins is the mean of `ratio` x `ratio` samples, each sample of its four nearest places.
    """
    heights, widths = (torch.tensor([m.shape[d] for m in maps])[levels] for d in (2, 3))
    pictures = len(maps[0])
    first = torch.tensor([0, *(pictures * m.shape[2] * m.shape[3] for m in maps)]).cumsum(0)
    edges = rois.detach().float() * torch.tensor(scales)[levels][:, None]
    rows, across = _along(edges[:, 1], edges[:, 3], heights, size, ratio)
    columns, down = _along(edges[:, 0], edges[:, 2], widths, size, ratio)
    start = first[levels] + picture * heights * widths
    places = (
        start[:, None, None, None, None]
        + rows[:, :, None, :, None] * widths[:, None, None, None, None]
        + columns[:, None, :, None, :]
    )
    values = across[:, :, None, :, None] * down[:, None, :, None, :]
    each = (2 * ratio) ** 2
    begins = torch.arange(0, len(rois) * size * size * each + 1, each)
    return _csr(begins, places.reshape(-1), values.reshape(-1), (len(rois) * size * size, int(first[-1])))


def _along(low: Tensor, high: Tensor, length: Tensor, size: int, ratio: int) -> tuple[Tensor, Tensor]:
    """Along one axis, of each bin (R, S) the places (R, S, 2 ratio) that its samples lie between, and their shares."""
    samples = torch.arange(size * ratio)
    span = (high - low).clamp(min=1.0)[:, None] / size
    at = low[:, None] + span * (samples // ratio) + span * ((samples % ratio) + 0.5) / ratio
    last = (length - 1)[:, None].float()
    outside = (at < -1) | (at > last + 1)
    at = at.clamp(min=0)
    before = torch.minimum(at.floor(), last)
    share = torch.where(before >= last, 0.0, at - before)
    after = torch.minimum(before + 1, last)
    places = torch.stack([before, after], -1).long().reshape(len(low), size, 2 * ratio)
    shares = torch.stack([1 - share, share], -1).masked_fill(outside[..., None], 0.0)
    return places, shares.reshape(len(low), size, 2 * ratio) / ratio


def _csr(begins: Tensor, places: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings(action="ignore"):  # that sparse matrices are in beta
        return torch.sparse_csr_tensor(begins, places, values, shape, check_invariants=False)


class Product(torch.autograd.Function):
    """weights x maps, with a gradient for the maps alone."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weights: Tensor) -> Tensor:
        """(P, C) -> (R S S, C)."""
        ctx.weights = weights
        with torch.autocast("cpu", enabled=False):  # sparse products are of fp32
            return torch.mm(weights, maps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """By the transposed matrix: its columns are this one's rows."""
        by_column = ctx.weights.to_sparse_csc()
        shape = (ctx.weights.shape[1], ctx.weights.shape[0])
        turned = _csr(by_column.ccol_indices(), by_column.row_indices(), by_column.values(), shape)
        with torch.autocast("cpu", enabled=False):
            return torch.mm(turned, gradients[0].float().contiguous()), None
