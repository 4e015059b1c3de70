"""Images per second of training: Residua beside what people use, each in a process of its own, turn by turn; the floor.

Ours: what `residua train` does: its batches, its engine, `fit`. Small pictures lie in memory; photos are JPEG files, of
which ours keeps what it decoded (its first epoch does not count, as in any training of many epochs).
Peers train the same net from fresh weights:
- "plain": the usual script: eager, fp32, torchvision's transforms on PIL images, a DataLoader with two workers;
- "torchvision": its best settings: transforms.v2, bf16 or fp16 autocast, channels_last, fused SGD, persistent workers,
  on a GPU compiled;
- "timm": its own net where it has one, its loader (with its prefetcher on a GPU), autocast, channels_last, on a GPU
  compiled; on a CPU once more with the memory of freed maps kept, which ours does by itself.
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
from side_by_side import KEPT, Side, alone, case, tell

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


def decided(c: Case, args: argparse.Namespace) -> Engine:
    """The engine of a case, as ours decides it."""
    asked = {"device": args.device, "precision": args.precision, "compile": args.compile, "threads": args.threads}
    return decide(side_px=c.side, in_memory=c.side <= SMALL, **asked)


def loaded(c: Case, args: argparse.Namespace) -> tuple[Any, str, int]:
    """The pictures of a case (arrays, or a folder that is made once), what they are, and their classes."""
    if c.side <= SMALL:
        images, labels, name = small_pictures(max(4 * c.batch, 2048), c.side)
        return (images, labels), name, 10
    folder = Path(args.place) / f"photos-{args.photos}"
    if not folder.exists():
        folder.mkdir()
        make(folder, max(args.photos, c.batch), *MEGAPIXELS)
    return folder, "photos of 0.15 to 0.25 megapixels", 8


def our_rate(c: Case, args: argparse.Namespace, engine: Engine) -> float:
    """Ours; of photos all are decoded beforehand."""
    source, _, classes = loaded(c, args)
    if not isinstance(source, Path):
        return rate(ours(c, ours_small(c, *source, engine)(), engine, classes), c.warm)
    batches = ours_photos(c, source, Path(args.place) / "cache", engine)
    decoded = batches()
    for _ in decoded.stream(0, decoded.steps_per_epoch, engine.workers):  # fills the cache
        pass
    return rate(ours(c, batches(), engine, classes), c.warm)


def peer_rate(c: Case, args: argparse.Namespace, engine: Engine, workers: int, steps: int, warm: int) -> float:
    """A peer's (`args.only`)."""
    source, _, classes = loaded(c, args)
    if args.only == "plain":
        net = build(c.net, classes=classes)
        return rate(plain(net, plain_loader(c, source), engine.device, warm + steps), warm)
    timm = args.only.startswith("timm")
    net = timm_net(c.net, classes) if timm else build(c.net, classes=classes)
    loader = timm_loader if timm else torchvision_loader
    return rate(best(net, loader(c, source, workers, engine.device), engine, warm + steps), warm)


def one(c: Case, args: argparse.Namespace) -> float:
    """What a process of its own is asked for: the rate of a side, or how many workers are fastest for it."""
    engine = decided(c, args)
    torch.set_num_threads(engine.threads)
    if args.only == "ours":
        return our_rate(c, args, engine)
    if args.workers is not None:
        return peer_rate(c, args, engine, args.workers, c.steps, c.warm)
    counts = sorted({0, 1, 2, engine.workers or os.cpu_count() or 2})
    return max(counts, key=lambda n: peer_rate(c, args, engine, n, 5, 3))


def measure(c: Case, args: argparse.Namespace, text: str) -> dict[str, object]:
    """One case: ours, the peers, the floor."""
    engine = decided(c, args)
    again = ["--cases", text, "--place", args.place, "--steps", str(c.steps), "--warm", str(c.warm)]
    for word in ("photos", "device", "precision", "compile", "threads"):
        if (value := getattr(args, word)) is not None:
            again += [f"--{word}", str(value)]

    def asked(name: str, *words: str, **environment: str) -> float:
        return float(alone(*again, "--only", name, *words, **environment))

    def at_its_best(name: str) -> list[Side]:
        workers = int(asked(name))
        compiled = "compiled, " * (engine.kind == "cuda")
        words = f"{engine.device}, {engine.precision}, channels_last, {compiled}fused SGD, {workers} loader workers"
        side = Side(name, words, lambda: asked(name, "--workers", str(workers)))
        kept = Side(f"{name}, memory kept", f"{words}, MALLOC_*_THRESHOLD_",
                    lambda: asked(name, "--workers", str(workers), **KEPT))  # fmt: skip
        return [side, kept] if engine.kind == "cpu" else [side]

    _, data, _ = loaded(c, args)
    settings = f"{engine.device}, fp32, contiguous, eager, 2 loader workers"
    peers = [Side("plain", settings, lambda: asked("plain", "--workers", "2"))]
    peers += at_its_best("torchvision, best") + at_its_best("timm, best")
    mine = Side("ours", engine.describe(), lambda: asked("ours"))
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
    parser.add_argument("--only", help="a side of the one case, in this process: print its rate")
    parser.add_argument("--workers", type=int, help="of its loader; without, the fastest number is printed")
    parser.add_argument("--place", help="the folder of photos and of what was decoded")
    args = parser.parse_args()
    if args.only:
        print(one(read(args.cases[0], args.steps, args.warm), args))
        return
    kind = decide(side_px=32, in_memory=True, device=args.device).kind
    with tempfile.TemporaryDirectory() as args.place:
        for text in args.cases or CASES.get(kind, CASES["cpu"]):
            tell(measure(read(text, args.steps, args.warm), args, text))


if __name__ == "__main__":
    main()
