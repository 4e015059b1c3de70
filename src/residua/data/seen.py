"""Everything that a check has seen of a data set: what was listed, and what each file turned out to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from residua.data.dataset import ArrayImages, Dataset, Indices, Skipped, Split
from residua.data.decode import GREY_MODES, Place
from residua.data.inspection import Looks as Headers
from residua.data.scan import LOOK, Looks
from residua.data.similar import Flags, Prints
from residua.data.view import View, view_for

ORDER = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Material:
    """What is to be looked at: N pictures with names, classes (all of any split, sorted) and splits.

    `paths` is empty where the pictures are in memory (`arrays`, those of a known set, one after the other).
    `empty` are class folders of train without any file, `litter` what is hidden, `advice` why nothing can be trained,
    `root` where a known set was looked for, if not where it is by default.
    """

    spec: str
    name: str
    names: Sequence[str]
    classes: tuple[str, ...]
    labels: Indices
    splits: tuple[str, ...]
    split: Indices
    paths: Sequence[Place] = ()
    arrays: tuple[ArrayImages, ...] = ()
    skipped: Sequence[Skipped] = ()
    notes: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    litter: tuple[str, ...] = ()
    groups: bool = False
    advice: str = ""
    root: str = ""

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.labels)

    @property
    def known(self) -> bool:
        """Whether it is a published set, which nobody here can mend."""
        return bool(self.arrays)


@dataclass(frozen=True, eq=False)
class Seen:
    """Material with a look (N,) at each picture, and the reason of each that cannot be used."""

    of: Material
    looks: Looks
    reasons: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def good(self) -> Flags:
        """Which pictures can be used (N,)."""
        usable = np.ones(len(self.of), np.bool_)
        usable[list(self.reasons)] = False
        return usable

    def counts(self, split: str) -> dict[str, int]:
        """The usable pictures of each class in a split."""
        code = self.of.splits.index(split) if split in self.of.splits else -1
        labels = self.of.labels[self.good & (self.of.split == code)]
        return dict(zip(self.of.classes, np.bincount(labels, minlength=len(self.of.classes)).tolist(), strict=True))

    @cached_property
    def per_split(self) -> dict[str, dict[str, int]]:
        """The usable pictures of each class in each split."""
        return {s: self.counts(s) for s in self.of.splits}

    def where(self, what: Flags) -> Indices:
        """The positions of usable pictures of which something is true."""
        return np.flatnonzero(what & self.good)

    @cached_property
    def prints(self) -> Prints:
        """What the pictures look like; unusable ones, and those too small to be compared, count as flat."""
        looks = self.looks
        small = np.minimum(looks["width"], looks["height"]) < LOOK["tile"].shape[0] * 4
        return Prints(looks["hash"], looks["tile"], looks["flat"] | small | ~self.good, looks["grey"])

    @cached_property
    def channels(self) -> int:
        """1 where every usable file is stored grey, else 3, as training decides."""
        return 1 if np.isin(self.looks["mode"][self.good], GREY_MODES).all() else 3

    @cached_property
    def dataset(self) -> Dataset:
        """A data set of the same name, sizes and classes with a stand-in for its pictures: what decisions go by."""
        import torch

        rows = np.flatnonzero(self.good)
        looks = self.looks[rows]
        told = Headers(rows, looks)
        blank = Split(ArrayImages(torch.zeros(1, self.channels, 1, 1, dtype=torch.uint8)), np.zeros(1, np.int64), ("",))
        return Dataset(
            name=self.of.name, classes=self.of.classes, splits={"train": blank}, channels=self.channels,
            side_px=told.median_side() if len(rows) else 1, same_size=len(rows) > 0 and told.same_size,
            skipped=(), fingerprint="", notes=(),
        )  # fmt: skip

    @cached_property
    def view(self) -> View:
        """The view that training would take by itself; its mean and deviation are a stand-in's."""
        return view_for(self.dataset)
