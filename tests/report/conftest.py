"""Made-up run folders: what a finished training leaves, with names that try to break the page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

HOSTILE = ("<script>alert(1)</script>", "new\nline", "\"quotes' & more", "ünï ☃", "5")

DECISIONS = [
    {"what": "device", "value": "cpu", "why": "no GPU is there", "flag": "--device"},
    {"what": "precision", "value": "bf16", "why": "<b>fast</b>", "flag": "--precision"},
]


def evaluation(classes: tuple[str, ...], seed: int = 0) -> dict[str, Any]:
    """What evaluation.json holds, about a tenth of it wrong."""
    rng, k = np.random.default_rng(seed), len(classes)
    n = max(120, 6 * k)
    truth = np.arange(n) % k
    said = np.where(rng.random(n) < 0.1, (truth + 1) % k, truth)
    counts = np.zeros((k, k), int)
    np.add.at(counts, (truth, said), 1)
    wrong = int(n - np.trace(counts))
    per_class = [
        {"name": c, "n": int(counts[i].sum()), "wrong": int(counts[i].sum() - counts[i, i]),
         "precision": 0.75, "recall": 0.5, "f1": 0.6}
        for i, c in enumerate(classes)
    ]  # fmt: skip
    return {
        "n": n, "wrong": wrong, "top1_error": wrong / n, "top5_error": 0.0, "loss": 0.3, "interval": [0.05, 0.18],
        "classes": list(classes), "per_class": per_class, "confusion": counts.tolist(),
    }  # fmt: skip


def metrics(epochs: int, steps: int = 4) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl: errors fall from about one half to nothing."""
    rows: list[dict[str, Any]] = []
    for step in range(1, epochs * steps + 1):
        epoch = step / steps
        rows.append(
            {"event": "step", "step": step, "epoch": epoch, "lr": 0.1 / epoch, "loss": 2 / epoch, "error": 0.5 / epoch}
        )
        if step % steps == 0:
            rows.append({
                "event": "epoch", "epoch": step // steps, "step": step, "lr": 0.1 / epoch,
                "train_loss": 2 / epoch, "train_error": 0.6 / epoch,
                "val_loss": 1.5 / epoch, "val_error": round(0.5 / epoch**2, 2),
                "seconds": 1.5, "images_per_second": 900.0,
            })  # fmt: skip
    return rows


def write(folder: Path, classes: tuple[str, ...], epochs: int) -> Path:
    """A finished run folder."""
    (folder / "gallery").mkdir(parents=True)
    (folder / "batches").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 60, 3), np.uint8)).save(folder / "batches" / "step-0.png")
    gallery = []
    for kind, file in (("worst", "gallery/worst-00.png"), ("best", "gallery/best-00.png")):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / file)
        said = classes[1] if kind == "worst" else classes[0]
        gallery.append({
            "kind": kind, "file": file, "name": f"test/{classes[0]}/1.png", "truth": classes[0], "prediction": said,
            "probability": 0.97, "loss": 3.0,
        })  # fmt: skip
    recipe = {
        "name": "quick", "source": "one-cycle", "epochs": epochs, "steps": None, "batch_size": 64,
        "optimiser": "sgd", "lr": 0.1, "schedule": "one-cycle", "weight_decay": 5e-4, "label_smoothing": 0.1,
        "augment": ["pad-crop:1", "flip"],
    }  # fmt: skip
    view = {"side_px": 8, "fit": "crop", "resize_px": 8, "mode": "L", "mean": [0.305], "std": [0.376]}
    files: dict[str, Any] = {
        "environment.json": {"python": "3.11", "versions": {"torch": "2.15", "residua": "0.1"}, "gpu": None},
        "decisions.json": DECISIONS,
        "evaluation.json": evaluation(classes),
        "data_check.json": {
            "name": "digits", "classes": list(classes),
            "splits": {s: dict.fromkeys(classes, n) for s, n in (("train", 100), ("val", 10), ("test", 24))},
            "skipped": [{"path": "a/<i>bad</i>.jpg", "reason": "an empty file (0 bytes)"}],
            "notes": ["one set: held out"],
        },
        "summary.json": {
            "arch": {"kind": "Arch", "name": "cifar_resnet20"}, "layers": 20, "params": 269434, "macs": 2557824,
            "recipe": recipe, "view": view, "data": {"name": "digits", "spec": "digits"}, "seed": 7, "seconds": 95.4,
            "train_images_per_second": 4321.0, "best_epoch": 2, "command": "residua train digits",
        },
        "gallery.json": gallery,
    }  # fmt: skip
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in metrics(epochs)))
    (folder / "config.toml").write_text('data = "digits"\nseed = 7\n')
    return folder


Make = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """``make_run(classes=..., epochs=..., without=(...))`` writes a run folder."""

    def make(
        *, classes: tuple[str, ...] = HOSTILE, epochs: int = 5, without: tuple[str, ...] = (), name: str = "run"
    ) -> Path:
        folder = write(tmp_path / name, classes, epochs)
        for file in without:
            (folder / file).unlink()
        return folder

    return make
