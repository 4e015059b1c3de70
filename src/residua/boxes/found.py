"""What a net found in a picture: boxes with names and scores, whatever net it was."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in one picture: boxes float (n, 4), classes from 0 (n,), scores (n,)."""

    boxes: Floats
    labels: npt.NDArray[np.int64]
    scores: Floats

    def first(self, n: int) -> "Found":
        """The first n of them."""
        return Found(self.boxes[:n], self.labels[:n], self.scores[:n])
