"""What to say of the data while a net is trained: what became of the cache, and that training waits, and what helps."""

import math
from collections.abc import Iterator

from residua.data.cache import Cache
from residua.data.dataset import FileImages
from residua.data.prepare import Preparation
from residua.engine import Decision, facts
from residua.job.plan import Plan
from residua.training.loop import Epoch

#: A share of an epoch's time that is worth a word, and so many seconds of it.
WORTH, SECONDS = 0.1, 2.0


def news(plan: Plan, heard: set[str]) -> Iterator[Decision]:
    """What the cache has to say that was not `heard` yet."""
    for what, sentence in dict(plan.cache.told).items():
        if what not in heard:
            heard.add(what)
            flag = f"--cache-size {room(plan)}G" if what == "full" else ""
            yield Decision("cache", what, sentence, flag)


def slow(plan: Plan, epoch: Epoch, heard: set[str], *, first: bool) -> Iterator[Decision]:
    """Once, that training waits for its data, and what helps. The `first` epoch here may have to fill a cache."""
    files = isinstance(plan.dataset.splits["train"].images, FileImages)
    cached = isinstance(plan.cache, Cache)
    little = epoch.waiting <= WORTH or epoch.waiting * epoch.seconds < SECONDS
    if little or "waiting" in heard or (first and files and cached):
        return
    heard.add("waiting")
    cores = facts().cores
    if files and not cached:
        why, flag = "every epoch decodes every picture", f"--cache-size {room(plan)}G"
    elif "full" in plan.cache.told:
        why, flag = "the cache is too small for these pictures", f"--cache-size {room(plan)}G"
    elif files and plan.engine.workers < cores:
        why, flag = f"{plan.engine.workers} of {cores} cores read pictures", f"--workers {cores}"
    else:
        why, flag = "preparing the pictures takes longer than the net needs for them", "--image-size, --set augment=..."
    yield Decision("waiting", f"{100 * epoch.waiting:.0f} % of epoch {epoch.epoch}", f"for data: {why}", flag)


def room(plan: Plan) -> int:
    """Gigabytes, rounded up, that the prepared pictures of all splits take, about."""
    training, shown = plan.batches().augment.preparation, Preparation(plan.view)
    total = 0
    for name, split in plan.dataset.splits.items():
        for preparation in {shown, training} if name == "train" else {shown}:
            total += len(split) * preparation.usual_bytes
    return max(1, math.ceil(1.1 * total / 2**30))
