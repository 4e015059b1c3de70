"""Images per second from a folder of photos: Residua's first and later epochs beside torchvision's ImageFolder.

Makes a temporary folder of JPEG photos of 2 to 4 megapixels: crops of scikit-learn's two sample photos, enlarged, with
noise like a sensor's. Ours: `residua.data` with the augmentations that `residua train` chooses for photos and an empty
cache; the first epoch decodes and fills it, later ones come from it. Peers: ImageFolder and a DataLoader of two workers
with RandomResizedCrop, RandomHorizontalFlip, ToTensor and Normalize; as they are by default, and at their best
(persistent workers, more batches ahead, warmed up by an epoch that does not count). All in one process, turn by turn;
nothing is trained, so that only the data are measured. Also how far the tensors of the evaluation view are from
torchvision's Resize, CenterCrop and ToTensor on whole decoded photos.

Prints one JSON line a comparison: medians over the rounds, their ratio and its range, hardware and versions.

    OMP_NUM_THREADS=1 python bench/folders.py
    OMP_NUM_THREADS=1 python bench/folders.py --photos 64 --rounds 1
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from residua.data.batches import Batches, in_order
from residua.data.cache import opened
from residua.data.dataset import Dataset
from residua.data.sources import open_data
from residua.data.view import STATISTICS, View
from residua.job.plan import augment_for
from residua.job.record import processor
from residua.nn.modelfile import versions

IMAGENET = STATISTICS["imagenet"]
VIEW = View(side_px=224, fit="crop", resize_px=256, mode="RGB", mean=IMAGENET.mean, std=IMAGENET.std)
WORKERS = 2
CLASSES = 8
MEGAPIXELS = (2.0, 4.0)
SHAPES = ((4, 3), (3, 2), (3, 4), (2, 3))
SENSOR = 3.0  # standard deviation of the noise
QUALITY = 90


def make(root: Path, photos: int, least: float = MEGAPIXELS[0], most: float = MEGAPIXELS[1]) -> dict[str, float]:
    """Write photos of `least` to `most` megapixels into class folders; their megapixels and bytes on average."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    samples = [Image.fromarray(image) for image in load_sample_images().images]
    megapixels, length = 0.0, 0
    for i in range(photos):
        w, h = SHAPES[rng.integers(len(SHAPES))]
        scale = (1e6 * rng.uniform(least, most) / (w * h)) ** 0.5
        size = round(w * scale), round(h * scale)
        whole = samples[i % len(samples)]
        side = rng.uniform(0.6, 1.0) * min(whole.width / w, whole.height / h)
        left, top = rng.uniform(0, whole.width - w * side), rng.uniform(0, whole.height - h * side)
        large = whole.resize(size, Image.Resampling.BICUBIC, (left, top, left + w * side, top + h * side))
        noisy = np.asarray(large, np.float32) + rng.normal(0, SENSOR, (size[1], size[0], 1)).astype(np.float32)
        folder = root / f"class-{i % CLASSES}"
        folder.mkdir(exist_ok=True)
        path = folder / f"{i:05}.jpg"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY)
        megapixels += size[0] * size[1] / 1e6
        length += path.stat().st_size
    return {"megapixels": round(megapixels / photos, 2), "bytes": round(length / photos)}


def rate(batches: Iterable[int]) -> float:
    """Images/s of an iterator that gives the images of each batch."""
    began = time.perf_counter()
    images = sum(batches)
    return images / (time.perf_counter() - began)


def ours(data: Dataset, folder: Path, batch: int, later: int) -> tuple[float, float]:
    """Images/s of the first epoch, with an empty cache, and of `later` epochs after it."""
    shutil.rmtree(folder, ignore_errors=True)
    words, _ = augment_for(data)
    cache = opened(None, str(folder))
    batches = Batches(
        data.splits["train"], VIEW, batch_size=batch, seed=0, classes=CLASSES, augment=words, cache=cache
    )  # fmt: skip
    epoch = batches.steps_per_epoch
    first = rate(len(b.images) for b in batches.stream(0, epoch, WORKERS))
    after = rate(len(b.images) for b in batches.stream(epoch, (1 + later) * epoch, WORKERS))
    if cache.told:
        sys.exit(f"the cache was not what was measured: {cache.told}")
    return first, after


def folder_of(root: Path) -> datasets.ImageFolder:
    """The usual script's data."""
    return datasets.ImageFolder(
        root,
        transforms.Compose(
            [
                transforms.RandomResizedCrop(VIEW.side_px),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(VIEW.mean, VIEW.std),
            ]
        ),
    )


def peer(root: Path, batch: int, best: bool) -> float:
    """Images/s of one epoch of the usual script; at its best, of one after a first."""
    options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if best else {}
    loader = DataLoader(folder_of(root), batch, shuffle=True, drop_last=True, num_workers=WORKERS, **options)
    if best:
        rate(len(x) for x, _ in loader)
    return rate(len(x) for x, _ in loader)


def difference(data: Dataset, some: int) -> dict[str, Any]:
    """A line of the difference, for pixels in [0, 255], of the evaluation view and torchvision's transforms."""
    whole = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    split = data.splits["train"].take(np.arange(min(some, len(data.splits["train"]))))
    differences = []
    for batch in in_order(split, VIEW, 1):
        path = split.images.paths[int(batch.index[0])]
        with Image.open(path) as image:
            theirs = whole(image.convert("RGB"))
        mean, std = (torch.tensor(v)[:, None, None] for v in (VIEW.mean, VIEW.std))
        differences.append((batch.images[0] * std + mean - theirs).abs())
    every = 255 * torch.stack(differences)
    means = every.mean((1, 2, 3))
    return {
        "name": "tensors of the evaluation view beside Resize(256), CenterCrop(224), ToTensor of whole photos",
        "unit": "1/255",
        "mean": round(float(every.mean()), 3),
        "largest_mean": round(float(means.max()), 3),
        "max": round(float(every.max()), 1),
        "n": len(every),
    }


def compared(epochs: str, peer_is: str, ours: list[float], peers: list[float]) -> dict[str, Any]:
    """What a line says of two columns of rates."""
    ratios = [a / b for a, b in zip(ours, peers, strict=True)]
    return {
        "name": f"{epochs} from folders beside ImageFolder and DataLoader {peer_is}",
        "unit": "images/s",
        "ours": round(statistics.median(ours), 1),
        "peer": round(statistics.median(peers), 1),
        "ratio": round(statistics.median(ratios), 2),
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "n": len(ratios),
        "ours_all": [round(r, 1) for r in ours],
        "peer_all": [round(r, 1) for r in peers],
    }


def main() -> None:
    """Measure, turn by turn, and print a line of JSON a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turn")
    parser.add_argument("--later", type=int, default=4, help="epochs from the cache that count")
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    first, later, default, best = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "photos")
        root.mkdir()
        about = {"photos": args.photos, "batch": args.batch, "workers": WORKERS} | make(root, args.photos)
        data = open_data(str(root), val_fraction=0.0)
        for _ in range(args.rounds):
            one, more = ours(data, Path(folder, "cache"), args.batch, args.later)
            first.append(one)
            later.append(more)
            default.append(peer(root, args.batch, best=False))
            best.append(peer(root, args.batch, best=True))
        view = difference(data, 64)
    about |= {"hardware": {"processor": processor(), "cores": os.cpu_count()}, "versions": versions()}
    for epochs, rates in (("first epoch", first), ("later epochs", later)):
        for peer_is, theirs in (("as they are", default), ("at their best", best)):
            print(json.dumps(compared(epochs, peer_is, rates, theirs) | about), flush=True)
    print(json.dumps(view | about), flush=True)


if __name__ == "__main__":
    main()
