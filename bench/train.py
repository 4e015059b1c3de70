"""Training throughput: Residua beside a plain PyTorch loop, in one process, turn by turn.

Ours: data in memory as uint8, batches of `residua.data`, `fit`, the engine that `residua train` would choose.
Peer: the usual script, eager and fp32: torchvision's transforms on PIL images, a DataLoader with two workers, SGD.
Both train the same net from fresh weights on 32-pixel images; images/s are counted after a warm-up. Prints one JSON
line a net: medians, their ratio (and its range over the rounds), hardware and versions.

    python bench/train.py --nets cifar_resnet20 --rounds 3 --steps 60
    RESIDUA_DATA=... python bench/train.py          # CIFAR-10 itself instead of noise
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from residua.data.batches import Batches
from residua.data.dataset import ArrayImages, Split
from residua.data.view import STATISTICS, View
from residua.engine import Engine, decide
from residua.job.record import processor
from residua.nn.modelfile import versions
from residua.nn.zoo import build
from residua.training.loop import fit
from residua.training.recipe import recipe
from residua.training.state import begin

CIFAR10 = STATISTICS["cifar10"]
AUGMENT = ("pad-crop:4", "flip")


class Pictures(Dataset):
    """Images (N, 32, 32, 3) and labels, served as torchvision's CIFAR10 serves its own."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: transforms.Compose) -> None:
        """Take arrays and the transform of each picture."""
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        """How many."""
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        """Picture i, transformed, and its label."""
        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def load(n: int) -> tuple[np.ndarray, np.ndarray, str]:
    """CIFAR-10's training pictures where RESIDUA_DATA has them, else n pictures of noise."""
    root = os.environ.get("RESIDUA_DATA")
    if root:
        cifar = datasets.CIFAR10(root, train=True, download=False)
        return cifar.data, np.array(cifar.targets), "cifar10"
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, n), "noise"


def rate(ticks: Iterator[int], warm: int) -> float:
    """Images/s of an iterator that gives the images of each step, after `warm` steps."""
    for _ in itertools.islice(ticks, warm):
        pass
    began = time.perf_counter()
    images = sum(ticks)
    return images / (time.perf_counter() - began)


def ours(net: str, split: Split, engine: Engine, batch: int, steps: int) -> Iterator[int]:
    """Residua's training, step by step."""
    side = split.images[0].shape[-1]
    view = View(side_px=side, fit="crop", resize_px=side, mode="RGB", mean=CIFAR10.mean, std=CIFAR10.std)
    plan = recipe("he2015-cifar", [f"batch_size={batch}", "warmup_until_error=none"], steps=steps)
    batches = Batches(split, view, batch_size=batch, seed=0, classes=10, augment=AUGMENT)
    state = begin(engine.place(build(net, classes=10)), plan, engine)
    for event in fit(state, batches, plan, engine):
        if hasattr(event, "images"):
            yield event.images


def peer(net: str, images: np.ndarray, labels: np.ndarray, batch: int, steps: int, device: str) -> Iterator[int]:
    """The usual script, step by step."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, 4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(CIFAR10.mean, CIFAR10.std),
        ]
    )
    data = Pictures(images, labels, transform)
    loader = DataLoader(data, batch, shuffle=True, num_workers=2, drop_last=True, pin_memory=device != "cpu")
    model = build(net, classes=10).to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    criterion = torch.nn.CrossEntropyLoss()
    model.train()
    for x, y in itertools.islice(loader, steps):
        x, y = x.to(device), y.to(device)
        optimiser.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimiser.step()
        loss.item()  # as scripts that print it do; ours reads it at every step too
        yield len(x)


def measure(net: str, args: argparse.Namespace) -> dict[str, object]:
    """One net: rounds of ours and the peer's in turn."""
    steps = args.warm + args.steps
    images, labels, data = load(args.batch * steps)
    if len(images) < args.batch * steps:
        sys.exit(f"{len(images)} images are too few for {steps} steps of {args.batch}: take fewer --steps")
    array = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    split = Split(ArrayImages(array), labels.astype(np.int64), range(len(labels)))
    engine = decide(side_px=32, in_memory=True, device=args.device, precision=args.precision, threads=args.threads)
    mine, theirs = [], []
    for _ in range(args.rounds):
        mine.append(rate(ours(net, split, engine, args.batch, steps), args.warm))
        theirs.append(rate(peer(net, images, labels, args.batch, steps, engine.device), args.warm))
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    return {
        "name": f"train {net} at 32 px, batch {args.batch}, {data}",
        "unit": "images/s",
        "ours": round(statistics.median(mine), 1),
        "peer": round(statistics.median(theirs), 1),
        "ratio": round(statistics.median(ratios), 2),
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "n": args.rounds,
        "ours_all": [round(r, 1) for r in mine],
        "peer_all": [round(r, 1) for r in theirs],
        "ours_engine": engine.describe(),
        "peer_engine": f"{engine.device}, fp32, contiguous, eager, 2 loader workers",
        "hardware": {"processor": processor(), "cores": os.cpu_count(), "gpu": gpu(engine)},
        "versions": versions(),
    }


def gpu(engine: Engine) -> str | None:
    """The GPU's name, if one is used."""
    return torch.cuda.get_device_name(engine.device) if engine.kind == "cuda" else None


def main() -> None:
    """Measure each net and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=["cifar_resnet20"], help="names of nets (residua archs)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turn")
    parser.add_argument("--steps", type=int, default=60, help="steps that count")
    parser.add_argument("--warm", type=int, default=10, help="steps before")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args()
    for net in args.nets:
        print(json.dumps(measure(net, args)), flush=True)


if __name__ == "__main__":
    main()
