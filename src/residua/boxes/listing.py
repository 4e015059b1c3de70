"""What annotations say, before any picture is opened: pictures with their boxes, in the frame that the file means."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from residua.data.dataset import Skipped

Boxes = npt.NDArray[np.float64]  # (n, 4): left, top, right, bottom in pixels; the right and lower edges lie outside
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: A box of a picture whose annotation does not state its size.
UNSTATED = (0, 0)
#: A side that an annotation states is less than this.
MOST_PX = 2**31


@dataclass(frozen=True, eq=False)
class Marked:
    """Pictures with boxes as a format lists them. Of picture i are the rows ``starts[i]:starts[i + 1]`` of the boxes.

    `stated` (N, 2) is the width and height that an annotation gives its picture, (0, 0) where it gives none. Boxes
    count in pixels, or, where `relative`, in sides of the picture. `difficult` ones are neither demanded nor counted
    as false; `crowd` boxes hold many things of a class at once.
    """  # fmt: skip

    where: str
    name: str
    kind: str  # of the annotations: "VOC", "COCO", "YOLO", "table", "Tiny ImageNet"
    classes: tuple[str, ...]
    names: tuple[str, ...]
    paths: tuple[str, ...]
    splits: tuple[str, ...]
    stated: Indices
    starts: Indices
    boxes: Boxes
    labels: Indices
    difficult: Flags
    crowd: Flags
    relative: bool
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    ids: tuple[int, ...] = ()  # of the classes, where the format numbers them

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.names)

    def owner(self) -> Indices:
        """The picture of each box (M,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))


class Growing:
    """Marked pictures to be, added one by one; classes in the order in which they are given or first appear."""

    def __init__(self, classes: Sequence[str] = ()) -> None:
        """Start with none."""
        self.classes = {name: i for i, name in enumerate(classes)}
        self.names: list[str] = []
        self.paths: list[str] = []
        self.splits: list[str] = []
        self.stated: list[tuple[int, int]] = []
        self.counts: list[int] = []
        self.boxes, self.labels = array("d"), array("q")
        self.difficult, self.crowd = array("b"), array("b")
        self.skipped: list[Skipped] = []

    def picture(self, name: str, path: str, split: str, stated: tuple[int, int] = UNSTATED) -> None:
        """Add a picture; boxes that follow are its."""
        self.names.append(name)
        self.paths.append(path)
        self.splits.append(split)
        self.stated.append(stated)
        self.counts.append(0)

    def box(
        self, label: str, edges: Sequence[float], *, difficult: bool = False, crowd: bool = False
    ) -> None:  # fmt: skip
        """Add a box (left, top, right, bottom) to the last picture."""
        self.counts[-1] += 1
        self.boxes.extend(edges)
        self.labels.append(self.classes.setdefault(label, len(self.classes)))
        self.difficult.append(difficult)
        self.crowd.append(crowd)

    def skip(self, path: str, reason: str) -> None:
        """Add a file, row or box that is not used."""
        self.skipped.append(Skipped(path, reason))

    def __len__(self) -> int:
        """How many pictures so far."""
        return len(self.names)

    def done(
        self, where: str, name: str, kind: str, *, ordered: bool, relative: bool = False,
        notes: Sequence[str] = (), ids: Sequence[int] = (),
    ) -> Marked:  # fmt: skip
        """The pictures so far; classes sorted by name unless they are `ordered` as they are."""
        words = tuple(self.classes) if ordered else tuple(sorted(self.classes))
        places = {word: i for i, word in enumerate(words)}
        place = np.array([places[w] for w in self.classes], np.int64)
        labels = np.array(self.labels, np.int64)
        return Marked(
            where, name, kind, words, tuple(self.names), tuple(self.paths), tuple(self.splits),
            np.array(self.stated, np.int64).reshape(-1, 2),
            np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64),
            np.array(self.boxes, np.float64).reshape(-1, 4), place[labels] if len(labels) else labels,
            np.array(self.difficult, np.bool_), np.array(self.crowd, np.bool_), relative,
            tuple(self.skipped), tuple(notes), tuple(ids),
        )  # fmt: skip
