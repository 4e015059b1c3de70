"""What every training on boxes needs: the data, how pictures become tensors, batches; each decision said."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from residua.boxes.augment import BoxAugment
from residua.boxes.batches import BoxBatches, Pictures
from residua.boxes.dataset import BoxDataset
from residua.boxes.view import BoxView
from residua.boxes.words import check_words
from residua.data.cache import Decoding
from residua.data.names import Words
from residua.engine import Decision, Engine
from residua.errors import UsageError
from residua.job.boxes.options import BoxOptions
from residua.nn.arch import Arch
from residua.ranks import now
from residua.training.recipe import Recipe

#: What suits photographs of things: mirror images, and other sizes.
USUAL = ("scale:0.8:1.25", "flip")


@dataclass(frozen=True, kw_only=True)
class BoxPlan(ABC):
    """Everything that a training needs; `options` and `recipe` are resolved: nothing in them is "auto"."""

    options: BoxOptions
    dataset: BoxDataset
    pictures: Mapping[str, Pictures]
    view: BoxView
    recipe: Recipe
    engine: Engine
    augment: BoxAugment
    lineage: list[Any] = field(default_factory=list)
    decisions: tuple[Decision, ...] = ()
    cache: Decoding = field(default_factory=Decoding)

    #: How the parts of the residual net are called within what is trained.
    prefix = ""

    @property
    @abstractmethod
    def arch(self) -> Arch:
        """The residual net."""

    @abstractmethod
    def net(self) -> nn.Module:
        """What is trained, before the first step, on the CPU: a function of the seed, or on weights to start from."""

    @abstractmethod
    def norms(self) -> tuple[Decision, ...]:
        """What there is to say of the norms of many processes."""

    def among(self, net: nn.Module) -> nn.Module:
        """What is trained, its norms as many processes need them."""
        return net

    def held(self) -> Recipe:
        """The recipe, its parts named as within what is trained."""
        return replace(self.recipe, freeze=tuple(self.prefix + name for name in self.recipe.freeze))

    def batches(self) -> BoxBatches:
        """Training's batches."""
        pictures = self.pictures["train"]
        quick = bool(pictures.kept) and not self.augment.words.keys() & {"scale", "color"}
        return BoxBatches(
            pictures, batch_size=self.recipe.batch_size, seed=self.options.seed, augment=self.augment, quick=quick,
            rank=now().rank, world=now().world,
        )  # fmt: skip


def check_learned(recipe: Recipe) -> None:
    """Raise UsageError where parts of random weights would be kept as they are."""
    if recipe.freeze:
        raise UsageError(
            "--freeze keeps what a net has learned, and random weights have learned nothing: give --weights"
        )


def augmentations(words: Iterable[str]) -> Words:
    """What ``--augment`` asks for, "auto" replaced."""
    return check_words(w for word in words for w in (USUAL if word == "auto" else (word,)))


def written(words: Words) -> tuple[str, ...]:
    """Augmentations as they are written."""
    return tuple(":".join([w, *(f"{n:g}" for n in numbers)]) for w, numbers in words.items())


def data_decisions(dataset: BoxDataset) -> list[Decision]:
    """What was decided about the data."""
    told = [Decision("data", f"{dataset.name} ({dataset.kind})", note, "") for note in dataset.notes]
    if dataset.skipped:
        why = f"{dataset.skipped[0].path}: {dataset.skipped[0].reason}"
        told.append(Decision("skipped", f"{len(dataset.skipped)} files or rows", f"they cannot be used: {why}", ""))
    return told


def data_check(data: BoxDataset) -> dict[str, Any]:
    """What the data are: pictures and boxes of each class in each split, and what was left out and why."""
    return {
        "name": data.name, "kind": data.kind, "fingerprint": data.fingerprint, "classes": list(data.classes),
        "channels": data.channels, "pictures": {name: len(s) for name, s in data.splits.items()},
        "splits": {
            name: dict(zip(data.classes, s.counts(len(data.classes)).tolist(), strict=True))
            for name, s in data.splits.items()
        },
        "skipped": [{"path": s.path, "reason": s.reason} for s in data.skipped],
        "bad_boxes": [asdict(b) for b in data.bad], "cut_boxes": len(data.cut), "notes": list(data.notes),
    }  # fmt: skip
