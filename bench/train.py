"""Images per second of training: Residua beside what people use, in one process, turn by turn, and the floor of it.

Ours: what `residua train` does: its batches, its engine, `fit`. Small pictures lie in memory; photos are JPEG files, of
which ours keeps what it decoded (its first epoch does not count, as in any training of many epochs).
Peers train the same net from fresh weights:
- "plain": the usual script: eager, fp32, torchvision's transforms on PIL images, a DataLoader with two workers;
- "torchvision": its best settings: transforms.v2, bf16 or fp16 autocast, channels_last, fused SGD, persistent workers,
  on a GPU compiled;
- "timm": its own net where it has one, its loader (with its prefetcher on a GPU), autocast, channels_last, on a GPU
  compiled.
Workers of the two best are those that were fastest in a short trial. Images/s count after a warm-up.

Prints one JSON line a case. It runs unchanged on a GPU, where it takes larger nets and batches.

    python bench/train.py --cases cifar_resnet20@32/128 --rounds 3 --steps 60
    RESIDUA_DATA=... python bench/train.py          # CIFAR-10 itself instead of noise
    python bench/train.py --cases resnet50@224/256 resnet152@224/128 --photos 20000 --compile on
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms
from torchvision.transforms import v2

from floors import floors, told
from folders import make
from residua.data.batches import Batches
from residua.data.cache import opened
from residua.data.dataset import ArrayImages, Split
from residua.data.sources import open_data
from residua.data.view import STATISTICS, View
from residua.engine import PRECISIONS, Engine, decide
from residua.nn.zoo import build
from residua.training.loop import Step, fit
from residua.training.recipe import recipe
from residua.training.state import begin
from side_by_side import Side, case, tell

CIFAR10, IMAGENET = STATISTICS["cifar10"], STATISTICS["imagenet"]
CASES = {
    "cpu": ("cifar_resnet20@32/128", "resnet18@224/32"),
    "cuda": ("cifar_resnet20@32/512", "cifar_resnet110@32/512", "resnet50@224/256", "resnet152@224/128"),
}
#: Photos like those of ImageNet.
MEGAPIXELS = (0.15, 0.25)
#: Pictures up to this side lie in memory.
SMALL = 64


@dataclass(frozen=True)
class Case:
    """A net on pictures of a side, in batches; `steps` that count after `warm` ones."""

    net: str
    side: int
    batch: int
    steps: int
    warm: int

    @property
    def words(self) -> str:
        """For people."""
        return f"train {self.net} at {self.side} px, batch {self.batch}"


def read(text: str, steps: int, warm: int) -> Case:
    """``NET@SIDE/BATCH``."""
    net, _, rest = text.partition("@")
    side, _, batch = rest.partition("/")
    return Case(net, int(side), int(batch), steps, warm)


# -- data -----------------------------------------------------------------------------------------------------------


class Pictures(Dataset):  # type: ignore[type-arg]
    """Images (N, H, W, 3) and labels, served as torchvision's CIFAR10 serves its own."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Any], Any]) -> None:
        """Take arrays and the transform of each picture."""
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        """How many."""
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        """Picture i, transformed, and its label."""
        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def small_pictures(n: int, side: int) -> tuple[np.ndarray, np.ndarray, str]:
    """CIFAR-10's training pictures where RESIDUA_DATA has them and they fit, else n pictures of noise."""
    root = os.environ.get("RESIDUA_DATA")
    if root and side == 32:
        cifar = datasets.CIFAR10(root, train=True, download=False)
        return cifar.data, np.array(cifar.targets), "cifar10"
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8), rng.integers(0, 10, n), "noise"


# -- ours -----------------------------------------------------------------------------------------------------------


def ours_small(c: Case, images: np.ndarray, labels: np.ndarray, engine: Engine) -> Callable[[], Batches]:
    """Batches of pictures in memory."""
    array = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    split = Split(ArrayImages(array), labels.astype(np.int64), range(len(labels)))
    view = View(side_px=c.side, fit="crop", resize_px=c.side, mode="RGB", mean=CIFAR10.mean, std=CIFAR10.std)
    words = (f"pad-crop:{c.side // 8}", "flip")
    device = engine.device if engine.kind == "cuda" else "cpu"
    return lambda: Batches(
        split, view, batch_size=c.batch, seed=0, classes=10, augment=words, device=device
    )  # fmt: skip


def ours_photos(c: Case, folder: Path, cache_folder: Path, engine: Engine) -> Callable[[], Batches]:
    """Batches of photos, what is decoded kept."""
    data = open_data(str(folder), val_fraction=0.0)
    view = View(
        side_px=c.side, fit="crop", resize_px=c.side * 256 // 224, mode="RGB", mean=IMAGENET.mean, std=IMAGENET.std
    )
    cache = opened(None, str(cache_folder))
    device = engine.device if engine.kind == "cuda" else "cpu"
    words = ("random-resized-crop:0.08", "flip")
    return lambda: Batches(
        data.splits["train"], view, batch_size=c.batch, seed=0, classes=len(data.classes), augment=words, cache=cache,
        device=device,
    )  # fmt: skip


def ours(c: Case, batches: Batches, engine: Engine, classes: int) -> Iterator[int]:
    """Residua's training: the images of each step."""
    plan = recipe("he2015-cifar", [f"batch_size={c.batch}", "warmup_until_error=none"], steps=c.warm + c.steps)
    state = begin(engine.place(build(c.net, classes=classes)), plan, engine)
    for event in fit(state, batches, plan, engine):
        if isinstance(event, Step):
            yield event.images


# -- peers ----------------------------------------------------------------------------------------------------------


def plain_loader(c: Case, source: Any, workers: int = 2) -> Any:
    """The usual script's data: `source` is a folder of photos, or arrays."""
    if isinstance(source, Path):
        words = [transforms.RandomResizedCrop(c.side), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        data: Any = datasets.ImageFolder(source, transforms.Compose([*words, transforms.Normalize(*scale(IMAGENET))]))
    else:
        words = [transforms.RandomCrop(c.side, c.side // 8), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        data = Pictures(*source, transforms.Compose([*words, transforms.Normalize(*scale(CIFAR10))]))
    return DataLoader(data, c.batch, shuffle=True, num_workers=workers, drop_last=True)


def torchvision_loader(c: Case, source: Any, workers: int, device: str) -> Any:
    """torchvision's at its best: v2 on uint8 tensors."""
    photos = isinstance(source, Path)
    crop = v2.RandomResizedCrop(c.side, antialias=True) if photos else v2.RandomCrop(c.side, c.side // 8)
    numbers = v2.Normalize(*scale(IMAGENET if photos else CIFAR10))
    words = v2.Compose(
        [v2.PILToTensor(), crop, v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), numbers]
    )
    data: Any = datasets.ImageFolder(source, words) if photos else Pictures(*source, words)
    more: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    return DataLoader(
        data, c.batch, shuffle=True, num_workers=workers, drop_last=True, pin_memory=device != "cpu", **more
    )


def timm_loader(c: Case, source: Any, workers: int, device: str) -> Any:
    """timm's own."""
    from timm.data import create_loader

    statistics = IMAGENET if isinstance(source, Path) else CIFAR10
    data: Any = datasets.ImageFolder(source) if isinstance(source, Path) else Pictures(*source, transform=None)  # type: ignore[arg-type]
    return create_loader(
        data, (3, c.side, c.side), c.batch, is_training=True, use_prefetcher=device != "cpu", num_workers=workers,
        persistent_workers=workers > 0, mean=statistics.mean, std=statistics.std, hflip=0.5, color_jitter=None,
        scale=(0.08, 1.0) if isinstance(source, Path) else (0.7, 1.0), device=torch.device(device),
    )  # fmt: skip


def scale(statistics: Any) -> tuple[Any, Any]:
    """Mean and deviation."""
    return statistics.mean, statistics.std


def plain(net: torch.nn.Module, loader: Any, device: str, steps: int) -> Iterator[int]:
    """The usual loop: eager and fp32."""
    net = net.to(device).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    criterion = torch.nn.CrossEntropyLoss()
    for x, y in endless(loader, steps):
        x, y = x.to(device), y.to(device)
        optimiser.zero_grad()
        loss = criterion(net(x), y)
        loss.backward()
        optimiser.step()
        loss.item()  # as scripts that print it do; ours reads it at every step too
        yield len(x)


def best(net: torch.nn.Module, loader: Any, engine: Engine, steps: int) -> Iterator[int]:
    """The loop at its best settings."""
    net = net.to(engine.device, memory_format=torch.channels_last).train()
    if engine.kind == "cuda":
        net.compile()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    criterion = torch.nn.CrossEntropyLoss()
    low = engine.precision != "fp32"
    for x, y in endless(loader, steps):
        x = x.to(engine.device, memory_format=torch.channels_last, non_blocking=True)
        y = y.to(engine.device, non_blocking=True)
        with torch.autocast(engine.kind, PRECISIONS[engine.precision]) if low else nullcontext():
            loss = criterion(net(x), y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loss.item()
        yield len(x)


def endless(loader: Any, steps: int) -> Iterator[Any]:
    """So many batches, epoch after epoch."""
    return itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), steps)


def timm_net(name: str, classes: int) -> torch.nn.Module:
    """timm's net of the name; ours where it has none (those of CIFAR)."""
    import timm

    return timm.create_model(name, num_classes=classes) if timm.is_model(name) else build(name, classes=classes)


# -- measuring ------------------------------------------------------------------------------------------------------


def rate(ticks: Iterator[int], warm: int) -> float:
    """Images/s of an iterator that gives the images of each step, after `warm` steps."""
    with closing(ticks):  # type: ignore[type-var]
        for _ in itertools.islice(ticks, warm):
            pass
        began = time.perf_counter()
        images = sum(ticks)
        return images / (time.perf_counter() - began)


def fastest(loader: Callable[[int], Any], run: Callable[[Any, int], Iterator[int]], counts: list[int]) -> int:
    """The number of workers with which a few steps were fastest."""
    tried = {n: rate(run(loader(n), 8), 3) for n in counts}
    return max(tried, key=lambda n: tried[n])


def measure(c: Case, args: argparse.Namespace, place: Path) -> dict[str, object]:
    """One case: ours, the peers, the floor."""
    asked = {"device": args.device, "precision": args.precision, "compile": args.compile, "threads": args.threads}
    small = c.side <= SMALL
    engine = decide(side_px=c.side, in_memory=small, **asked)
    steps, counts = c.warm + c.steps, sorted({0, 1, 2, engine.workers or os.cpu_count() or 2})
    if small:
        images, labels, data = small_pictures(max(4 * c.batch, 2048), c.side)
        source: Any = (images, labels)
        batches, classes = ours_small(c, images, labels, engine), 10
    else:
        folder = place / f"photos-{args.photos}"
        if not folder.exists():
            folder.mkdir()
            make(folder, max(args.photos, c.batch), *MEGAPIXELS)
        source, data, classes = folder, "photos of 0.15 to 0.25 megapixels", 8
        batches = ours_photos(c, folder, place / "cache", engine)
        decoded = batches()
        for _ in decoded.stream(0, decoded.steps_per_epoch, engine.workers):  # fills the cache
            pass
    device = engine.device

    def at_its_best(name: str, net: Callable[[str, int], torch.nn.Module], loader: Callable[..., Any]) -> Side:
        def run(data: Any, steps: int) -> Iterator[int]:
            return best(net(c.net, classes), data, engine, steps)

        workers = fastest(lambda n: loader(c, source, n, device), run, counts)
        words = f"{device}, {engine.precision}, channels_last, {'compiled, ' * (engine.kind == 'cuda')}fused SGD"
        return Side(
            name,
            f"{words}, {workers} loader workers",
            lambda: rate(run(loader(c, source, workers, device), steps), c.warm),
        )

    peers = [
        Side(
            "plain",
            f"{device}, fp32, contiguous, eager, 2 loader workers",
            lambda: rate(plain(build(c.net, classes=classes), plain_loader(c, source), device, steps), c.warm),
        ),
        at_its_best("torchvision, best", lambda name, k: build(name, classes=k), torchvision_loader),
        at_its_best("timm, best", timm_net, timm_loader),
    ]
    mine = Side("ours", engine.describe(), lambda: rate(ours(c, batches(), engine, classes), c.warm))
    line = case(f"{c.words}, {data}", "images/s", mine, peers, rounds=args.rounds)
    floor = floors(c.net, c.side, c.batch, engine, training=True)
    share = line["ours"]["median"] / floor["images_per_second"]  # type: ignore[index]
    return line | {"floor": told(floor), "share_of_floor": round(share, 3)}


def main() -> None:
    """Measure each case and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", help="NET@SIDE/BATCH, such as resnet50@224/256")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turn")
    parser.add_argument("--steps", type=int, default=40, help="steps that count")
    parser.add_argument("--warm", type=int, default=8, help="steps before")
    parser.add_argument("--photos", type=int, default=512, help="photos in the folder, where sides are large")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args()
    kind = decide(side_px=32, in_memory=True, device=args.device).kind
    with tempfile.TemporaryDirectory() as place:
        for text in args.cases or CASES.get(kind, CASES["cpu"]):
            tell(measure(read(text, args.steps, args.warm), args, Path(place)))


if __name__ == "__main__":
    main()
