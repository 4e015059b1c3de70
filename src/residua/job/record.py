"""What a run folder keeps beside numbers: the machine, the data check, the first batches, the best and worst images."""

import io
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from residua.data.batches import Batches
from residua.data.dataset import Dataset, Split
from residua.data.decode import as_image
from residua.data.facts import quick
from residua.data.view import View
from residua.engine import Decision, Engine
from residua.evaluate import Evaluation
from residua.job.mistakes import mistakes
from residua.job.plan import Plan
from residua.nn.arch import to_json
from residua.nn.cost import cost
from residua.nn.resnet import units
from residua.training import recipe as recipes
from residua.training.loop import Step
from residua.training.run import Run

WORST, BEST, THUMB_PX = 16, 8, 96
#: The contact sheet: this many batches, each in this many rows of this many images.
SHEET = (3, 2, 12)
CELL_PX, GAP_PX = 64, 4


def environment(engine: Engine) -> dict[str, Any]:
    """Machine and versions."""
    libraries = ("residua", "torch", "torchvision", "numpy", "pillow", "safetensors")
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in libraries},
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(engine.device) if engine.kind == "cuda" else None,
        "engine": engine.describe(),
    }


def processor() -> str:
    """The CPU's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def command() -> str:
    """What was typed, as far as it is known."""
    typed = [Path(sys.argv[0]).name, *sys.argv[1:]] if sys.argv and sys.argv[0] else []
    return shlex.join(["residua", *typed[1:]]) if typed and typed[0] in ("residua", "__main__.py") else ""


def data_check(dataset: Dataset, view: View) -> dict[str, Any]:
    """What the data are: images of each class in each split, sizes, what a crop would hide, what was left out and why.

    The quick part of `residua check`: no picture is decoded for it.
    """
    splits = {
        name: dict(
            zip(dataset.classes, np.bincount(split.labels, minlength=len(dataset.classes)).tolist(), strict=True)
        )
        for name, split in dataset.splits.items()
    }
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.classes),
        "channels": dataset.channels,
        "side_px": dataset.side_px,
        "splits": splits,
        **quick(dataset, view),
        "skipped": [{"path": s.path, "reason": s.reason} for s in dataset.skipped],
        "notes": list(dataset.notes),
    }


def decisions(run: Run, made: Iterable[Decision]) -> None:
    """Add to decisions.json."""
    file = run.path("decisions.json")
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    run.write_json("decisions.json", [*earlier, *map(asdict, made)])


def png(image: Image.Image) -> bytes:
    """The picture as PNG."""
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def sheet(batches: Batches) -> Image.Image:
    """The first augmented batches as one contact sheet on a clear ground; a wider gap parts the batches."""
    count, rows, columns = SHEET
    shown = [batches.pictures(step)[: rows * columns] for step in range(count)]
    side = shown[0].shape[-1]
    cell = side * max(1, CELL_PX // side) if side < CELL_PX else min(side, 2 * CELL_PX)
    pitch = cell + GAP_PX
    heights = [-(-len(pictures) // columns) * pitch for pictures in shown]
    width = min(columns, max(map(len, shown))) * pitch - GAP_PX
    page = Image.new("RGBA", (width, sum(heights) + (count - 1) * 2 * GAP_PX - GAP_PX), (0, 0, 0, 0))
    top = 0
    for pictures, height in zip(shown, heights, strict=True):
        for i, pixels in enumerate(pictures):
            how = Image.Resampling.NEAREST if cell > side else Image.Resampling.LANCZOS
            image = as_image(pixels).resize((cell, cell), how)
            page.paste(image, (i % columns * pitch, top + i // columns * pitch))
        top += height + 2 * GAP_PX
    return page


def gallery(run: Run, split: Split, evaluation: Evaluation, classes: tuple[str, ...]) -> None:
    """The images with the highest and lowest loss: gallery.json and a thumbnail each; and mistakes.json."""
    order = np.argsort(-np.nan_to_num(evaluation.losses, nan=np.inf), kind="stable")
    chosen = [("worst", i) for i in order[:WORST]] + [("best", i) for i in order[::-1][:BEST]]
    rows = []
    for n, (kind, i) in enumerate(chosen):
        file = f"gallery/{kind}-{n if kind == 'worst' else n - min(WORST, len(order)):02}.png"
        sample = int(evaluation.index[i])
        image = as_image(split.images[sample])
        image.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
        run.write_bytes(file, png(image))
        rows.append(
            {
                "kind": kind,
                "file": file,
                "name": split.names[sample],
                "truth": classes[int(evaluation.labels[i])],
                "prediction": classes[int(evaluation.top5[i][0])],
                "probability": float(evaluation.top5_probability[i][0]),
                "loss": float(evaluation.losses[i]),
            }
        )
    run.write_json("gallery.json", rows)
    mistakes(run, evaluation, split.names, picture_of=lambda sample: as_image(split.images[sample]))


def gradients(step: Step, net: nn.Module) -> dict[str, Any]:
    """The norm of the gradient in each unit's branch, in network order, after a step: a row of metrics.jsonl."""
    branches = ([p.grad for p in u.branch.parameters() if p.grad is not None] for u in units(net))
    norms = [float(torch.nn.utils.get_total_norm(grads)) for grads in branches]
    return {"event": "gradients", "step": step.step, "epoch": step.epoch, "norms": norms}


def summary(plan: Plan) -> dict[str, Any]:
    """What is trained on what, for the report."""
    price = cost(plan.row, plan.view.side_px)
    return {
        "data": {"name": plan.dataset.name, "spec": plan.options.data},
        "arch": to_json(plan.row),
        "layers": plan.row.layers,
        "params": price.params,
        "macs": price.macs,
        "view": plan.view.to_json(),
        "recipe": recipes.to_json(plan.recipe),
        "seed": plan.options.seed,
        "command": command(),
    }


def origin(plan: Plan) -> dict[str, Any]:
    """What a model file keeps of the data: enough to find the same test split again."""
    o = plan.options
    parted = {"groups": o.groups, "folds": o.folds, "fold": o.fold}
    kept = {"name": plan.dataset.name, "fingerprint": plan.dataset.fingerprint, "seed": o.seed}
    return kept | {k: v for k, v in parted.items() if v is not None}


def spent(plan: Plan, seconds: float) -> dict[str, Any]:
    """What a budget or a forecast said, and what it came to, from the command's start; nothing without either."""
    if plan.forecast_seconds is None:
        return {}
    told = {"budget_seconds": plan.options.budget, "forecast_seconds": plan.forecast_seconds, "spent_seconds": seconds}
    return {k: v for k, v in told.items() if v is not None}
