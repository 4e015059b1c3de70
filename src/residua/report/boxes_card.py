"""What the model cards of detectors and localizers share."""

from collections.abc import Iterator

from residua.report import say
from residua.report.boxes_run import mapping
from residua.report.files import RunFiles

#: A class with fewer test images or boxes than this is judged roughly.
FEW = 50


def data(run: RunFiles) -> Iterator[str]:
    """What it was trained on."""
    images, boxes = (mapping(run.summary.get(k)) for k in ("images", "boxes"))
    words = {"train": "for training", "val": "for choosing", "test": "for testing"}
    told = [f"{n:,} images with {boxes.get(s, 0):,} boxes {words.get(s, s)}" for s, n in images.items()]
    yield f"{say.label(run.summary.get('data', ''))}: {'; '.join(told)}."
    if mark := say.label(run.data_check.get("fingerprint") or ""):
        yield f"Fingerprint {mark}: the same data give the same fingerprint."


def training(run: RunFiles, what: str) -> Iterator[str]:
    """How it was trained, on which machine; the first sentence says `what` it is."""
    recipe = mapping(run.summary.get("recipe"))
    name, source = (say.label(v or "") for v in (recipe.get("name"), recipe.get("source")))
    yield what
    yield f"Recipe {name} ({source}), batch {recipe.get('batch_size')}."
    seconds = say.number(run.summary.get("seconds"))
    if seconds:
        yield f"Trained on {say.label(run.environment.get('processor', ''))} in {say.duration(seconds)}."


def elsewhere(command: str) -> Iterator[str]:
    """What no test shows."""
    yield "It has learned nothing of things of other classes, and may take them for its own."
    yield (
        "The test images come from the same source as the training images; of pictures from elsewhere, another camera "
        f"or another time, expect more errors and count them with {command}."
    )
