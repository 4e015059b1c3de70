"""The batch on which a training ended since its loss has no end: kept to be looked at, and what it most likely was."""

from typing import Any

import torch
from torch import Tensor

from residua.boxes.dataset import Target
from residua.boxes.draw import sheet
from residua.data.decode import as_image
from residua.job.record import png
from residua.nn.modelfile import seal
from residua.training.finite import NotFinite
from residua.training.run import Run

#: The sheet: rows of so many pictures, each at this side.
COLUMNS, CELL_PX = 8, 128
#: A loss that is so many times the lowest of the run was on its way up before.
RISEN = 2.0


def kept(error: NotFinite, run: Run, batches: Any, *, view: Any, precision: str) -> NotFinite:
    """Write ``nan/step-N.png`` and ``.safetensors`` (images, targets, names) into the run; the error, which says so.

    The batch is made again: it is a function of the step. Of several processes the first keeps its share.
    """
    batch = batches.at(error.step - 1)
    name = f"nan/step-{error.step}"
    names = [batches.split.names[int(i)] for i in batch.index]
    run.write_bytes(f"{name}.png", png(sheet(pictures(view, batch.images), COLUMNS, CELL_PX)))
    words = {"task": "a look at its batch", "step": error.step, "names": names}
    seal(run.path(f"{name}.safetensors"), words, tensors(batch), overwrite=True)
    where = run.folder / f"{name}.png"
    return NotFinite(
        f"{error}; most likely {cause(run, batch.images, precision)}; its {len(names)} pictures are in {where}, the "
        f"numbers beside it; --on-nan skip leaves such steps out",
        error.step,
    )


def pictures(view: Any, images: Tensor) -> list[Any]:
    """The pictures as the net sees them (N, C, H, W), for people."""
    colours = getattr(view, "colours", view)
    return [as_image(p) for p in colours.restore(images.nan_to_num())]


def tensors(batch: Any) -> dict[str, Tensor]:
    """What a batch holds, by name; of pictures with boxes a tensor each."""
    found = {"images": batch.images, "index": torch.from_numpy(batch.index)}
    if isinstance(batch.targets, Tensor):
        return found | {"targets": batch.targets}
    for i, target in enumerate(batch.targets):
        assert isinstance(target, Target)
        found[f"boxes.{i}"], found[f"labels.{i}"] = map(torch.from_numpy, (target.boxes, target.labels))
    return found


def cause(run: Run, images: Tensor, precision: str) -> str:
    """What it most likely was, in words."""
    if not bool(images.isfinite().all()):
        return "its pictures: their numbers have no end"
    rows = run.metrics()
    losses = [row["loss"] for row in rows if row.get("event") == "step" and row.get("loss") is not None]
    if losses and losses[-1] > RISEN * min(losses):
        return f"the learning rate: the loss had risen from {min(losses):.3g} to {losses[-1]:.3g} before"
    if precision == "fp16":
        return "the short numbers of fp16: --precision bf16 or fp32"
    return "the learning rate"
