"""What pruning works with: training pictures, held-out ones that choose, test pictures that are looked at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from residua.data.batches import Batch, Batches, in_order
from residua.data.dataset import Split
from residua.data.splits import VAL_AT_MOST, divided
from residua.data.view import View
from residua.depth.greedy import Pictures
from residua.engine import Engine
from residua.nn.modelfile import Header
from residua.pair import Pair, pair
from residua.training.recipe import Recipe

#: The share of the training pictures that is held out where the training held out none.
HELD_FRACTION = 0.1
#: Batches that the norms are recalibrated on, and their size.
SEEN, SEEN_SIZE = 16, 128
#: Pictures are kept as tensors up to this size, and read again each time beyond.
KEEP_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class Material:
    """The test with the model, and the training pictures in two parts; `held_seen`: the model was trained on both."""

    test: Pair
    train: Split
    held: Split
    held_seen: bool
    notes: tuple[str, ...]


def material(path: Path, data: str, *, root: str | None = None, limit: int | None = None) -> Material:
    """The model and the data, divided as the training divided them.

    Raises DataError for a file that is no model, and for data that do not fit it.
    """
    test = pair(path, data, split="test", root=root, limit=limit)
    training = pair(path, data, split="train", root=root, limit=limit)
    train, seed = training.splits[0], int(test.header.data.get("seed", 0))
    recipe = test.header.recipe
    if "val" in training.dataset.splits:
        held = pair(path, data, split="val", root=root, limit=limit).splits[0]
    else:
        count = min(round(len(train) * HELD_FRACTION), VAL_AT_MOST)
        train, held = divided(train, count, seed, "val")
    seen = recipe is None or not recipe.get("val_fraction")
    notes = list(test.notes)
    if seen:
        notes.append(
            f"as far as is known the model was trained on the {len(held):,} held-out pictures too: "
            "its error on them is too small, and after a fine-tune the whole net is fine-tuned to compare with"
        )
    return Material(test, train, held, seen, tuple(notes))


def fine_tune(header: Header, epochs: float) -> Recipe:
    """The short training of a net that has lost units: one cycle from small to small, a tenth of the usual rate."""
    theirs: dict[str, Any] = dict(header.recipe or {})
    return Recipe(
        name="prune",
        source="one-cycle SGD after Smith & Topin 2017, arXiv:1708.07120",
        epochs=epochs,
        batch_size=128,
        lr=0.01,
        nesterov=True,
        weight_decay=theirs.get("weight_decay", 1e-4),
        decay_norms=theirs.get("decay_norms", False),
        schedule="one-cycle",
        peak_at=0.2,
        start_factor=0.1,
        augment=tuple(theirs.get("augment", ("auto",))),
        drop_depth=theirs.get("drop_depth", 0.0),
    )


def training_batches(found: Material, recipe: Recipe) -> Batches:
    """The batches of the fine-tune, by a seed of their own."""
    k = len(found.test.classes)
    size, augment = recipe.batch_size, recipe.augment
    return Batches(found.train, found.test.view, batch_size=size, seed=0, classes=k, augment=augment)


def pictures(found: Material, recipe: Recipe, batch_size: int, engine: Engine) -> Pictures:
    """What the choice is made by: the held-out pictures, and training batches for the norms."""
    view = found.test.view
    picture_bytes = 4 * view.channels * view.side_px**2
    held: Iterable[Batch] = Stream(found.held, view, batch_size, engine.workers)
    if len(found.held) * picture_bytes <= KEEP_BYTES:
        held = list(held)
    words = tuple(w for w in recipe.augment if not w.startswith(("mixup", "cutmix")))
    seen = training_batches(found, replace(recipe, batch_size=SEEN_SIZE, augment=words))
    count = max(1, min(SEEN, seen.steps_per_epoch, KEEP_BYTES // (SEEN_SIZE * picture_bytes)))
    return Pictures(held, [b.images for b in seen.stream(0, count, engine.workers)], found.test.classes)


@dataclass(frozen=True, eq=False)
class Stream:
    """The pictures of a split in order, read anew each time."""

    split: Split
    view: View
    batch_size: int
    workers: int

    def __iter__(self) -> Iterator[Batch]:
        """The batches."""
        return in_order(self.split, self.view, self.batch_size, self.workers)
