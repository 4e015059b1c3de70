"""What a surface of losses is like, in numbers: how wide the valley around the net is, and how rough the land."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Heights = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Terrain:
    """A surface of R x R losses around a net that tells K classes apart. Shares are fractions of all points.

    `below_chance`: points whose loss is finite and below ln K, that of a net which knows nothing.
    `valley`: those of them that are connected with the middle by steps to the four neighbours.
    `minima`: points lower than all their (three to eight) neighbours; what is not finite counts as higher.
    `nonconvex`: of the inner points whose 3 x 3 neighbourhood is finite, the share that lies above the middle of two
    opposite neighbours. On a plane through a convex function there are none (compare Li et al. 2018, sec. 6).
    `middle`, `lowest` and `highest` are losses, `middle_error` a fraction; `finite` counts points.
    """

    points: int
    finite: int
    middle: float | None
    middle_error: float
    lowest: float | None
    highest: float | None
    chance: float
    below_chance: float
    valley: float
    minima: int
    nonconvex: float | None


def terrain(losses: Heights, errors: Heights, classes: int) -> Terrain:
    """The numbers of a surface; `losses` (R, R) are NaN where not finite, `errors` (R, R) fractions, R odd."""
    middle = losses.shape[0] // 2
    known = np.isfinite(losses)
    low = known & (np.where(known, losses, math.inf) < math.log(classes))
    return Terrain(
        points=losses.size,
        finite=int(known.sum()),
        middle=_number(losses[middle, middle]),
        middle_error=float(errors[middle, middle]),
        lowest=float(losses[known].min()) if known.any() else None,
        highest=float(losses[known].max()) if known.any() else None,
        chance=math.log(classes),
        below_chance=float(low.mean()),
        valley=float(connected(low, (middle, middle)).mean()),
        minima=int(minima(losses).sum()),
        nonconvex=nonconvex(losses),
    )


def connected(mask: Mask, start: tuple[int, int]) -> Mask:
    """The part of the mask that is reached from `start` by steps to the four neighbours."""
    reached = np.zeros_like(mask)
    reached[start] = mask[start]
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= mask
        if (grown == reached).all():
            return reached
        reached = grown


def minima(losses: Heights) -> Mask:
    """Where a point is lower than all its neighbours; beyond the edge and where not finite the land is high."""
    high = np.pad(np.where(np.isfinite(losses), losses, math.inf), 1, constant_values=math.inf)
    rows, columns = losses.shape
    lower = np.isfinite(losses)
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            if di or dj:
                lower &= high[1:-1, 1:-1] < high[1 + di : 1 + di + rows, 1 + dj : 1 + dj + columns]
    return lower


def nonconvex(losses: Heights) -> float | None:
    """The share of inner points that lie above the middle of two opposite neighbours, along any of four lines.

    Only points whose 3 x 3 neighbourhood is finite count; None where there is none. What rounding of the losses could
    raise (1e-6 of the point's) does not count.
    """
    centre = losses[1:-1, 1:-1]
    rows, columns = centre.shape
    known, above = np.isfinite(centre), np.zeros_like(centre, dtype=bool)
    for di, dj in ((0, 1), (1, 0), (1, 1), (1, -1)):
        ahead = losses[1 + di : 1 + di + rows, 1 + dj : 1 + dj + columns]
        behind = losses[1 - di : 1 - di + rows, 1 - dj : 1 - dj + columns]
        known &= np.isfinite(ahead) & np.isfinite(behind)
        above |= centre > ahead / 2 + behind / 2 + 1e-6 * np.abs(centre)
    return float(above[known].mean()) if known.any() else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
