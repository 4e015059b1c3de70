"""Training pictures per second from shards beside the folder that they were written of: here, and over loopback HTTP.

Small pictures (the 64-pixel JPEGs of Tiny ImageNet's ten classes) and photos (hymenoptera_data), both under
RESIDUA_DATA, read from files with nothing decoded kept: the training's batches, two workers, no net. In turn, in one
process: the folder; shards here; shards on a web server of another process (aiohttp's, on this machine) when none is
kept yet, when all are, and one request a picture (RESIDUA_SHARDS=off). "cold" drops the files from the page cache first
(posix_fadvise), where the file system heeds that. Writing the shards is timed too.

Prints one JSON line a comparison: medians over the rounds, the ratio to the folder and its range, hardware, versions.

    OMP_NUM_THREADS=1 RESIDUA_DATA=... python bench/shards.py
    OMP_NUM_THREADS=1 RESIDUA_DATA=... python bench/shards.py --rounds 1 --most 1000
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from residua.data.batches import Batches
from residua.data.dataset import Dataset
from residua.data.files import dataset_of
from residua.data.shards.material import gathered
from residua.data.shards.write import write_shards
from residua.data.sources import listed
from residua.data.view import STATISTICS, View
from residua.job.record import processor
from residua.nn.modelfile import versions

IMAGENET = STATISTICS["imagenet"]
WORKERS = 2
SHARD_BYTES = 4 * 2**20

#: What is read: the folder under RESIDUA_DATA, the side that a net would see, the augmentations.
SETS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "small pictures": ("tiny-imagenet-10", 64, ("pad-crop:6", "flip")),
    "photos": ("hymenoptera_data", 224, ("random-resized-crop:0.25", "flip")),
}


def serve(folder: str) -> None:
    """A web server of the folder; its port is told on stdout."""
    import asyncio

    from aiohttp import web

    async def run() -> None:
        app = web.Application()
        app.router.add_static("/", folder)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the folder on a server of its own process."""
    command = [sys.executable, __file__, "--serve", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def opened(spec: str) -> Dataset:
    """The data set, read from its files: small pictures are not held in memory here."""
    return dataset_of(listed(spec))


def rate(spec: str, side: int, words: tuple[str, ...], most: int) -> float:
    """Pictures/s of one epoch, at most so many pictures."""
    data = opened(spec)
    view = View(side, "crop", round(side * 256 / 224) if side > 64 else side, "RGB", IMAGENET.mean, IMAGENET.std)
    batches = Batches(data.splits["train"], view, batch_size=32, seed=0, classes=len(data.classes), augment=words)
    steps = min(batches.steps_per_epoch, most // 32)
    began = time.perf_counter()
    pictures = sum(len(batch.images) for batch in batches.stream(0, steps, WORKERS))
    return pictures / (time.perf_counter() - began)


def forget(folder: Path) -> None:
    """Drop the files from the page cache, as far as the file system heeds that."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def measured(folder: Path, shards: Path, url: str, side: int, words: tuple[str, ...], most: int) -> dict[str, float]:
    """Pictures/s of every way, once."""
    found = {}
    for name, spec, place in (("folder", str(folder), folder), ("shards here", str(shards), shards)):
        forget(place)
        found[f"{name}, cold"] = rate(spec, side, words, most)
        found[f"{name}, warm"] = rate(spec, side, words, most)
    shutil.rmtree(Path(os.environ["RESIDUA_CACHE"], "shards"), ignore_errors=True)
    found["shards over HTTP, none kept yet"] = rate(url, side, words, most)
    found["shards over HTTP, all kept"] = rate(url, side, words, most)
    os.environ["RESIDUA_SHARDS"] = "off"
    found["shards over HTTP, a request each"] = rate(url, side, words, most)
    del os.environ["RESIDUA_SHARDS"]
    return found


def lines(what: str, rounds: list[dict[str, float]], about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for each way of reading beside the folder, cold with cold and warm with warm."""
    for name in rounds[0]:
        if name.startswith("folder"):
            continue
        base = "folder, cold" if "cold" in name else "folder, warm"
        ours, peers = [r[name] for r in rounds], [r[base] for r in rounds]
        ratios = [a / b for a, b in zip(ours, peers, strict=True)]
        yield {
            "name": f"{what}: {name}, beside the {base}",
            "unit": "pictures/s",
            "ours": round(statistics.median(ours), 1),
            "folder": round(statistics.median(peers), 1),
            "ratio": round(statistics.median(ratios), 2),
            "spread": [round(min(ratios), 2), round(max(ratios), 2)],
            "n": len(ratios),
            "ours_all": [round(r, 1) for r in ours],
            "folder_all": [round(r, 1) for r in peers],
        } | about


def main() -> None:
    """Measure, turn by turn, and print a line of JSON a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turn")
    parser.add_argument("--most", type=int, default=10**6, help="pictures of an epoch, at most")
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve)
    os.environ["NO_PROXY"] = "127.0.0.1"
    for what, (name, side, words) in SETS.items():
        folder = Path(os.environ["RESIDUA_DATA"], name)
        with tempfile.TemporaryDirectory() as place:
            os.environ["RESIDUA_CACHE"] = f"{place}/cache"
            began = time.perf_counter()
            written = write_shards(gathered(str(folder)), Path(place, "shards"), shard_bytes=SHARD_BYTES)
            seconds = time.perf_counter() - began
            about = {
                "pictures": sum(written.pictures.values()), "shards": len(written.parts), "shard_bytes": SHARD_BYTES,
                "bytes": sum(p.bytes for p in written.parts), "written_in_seconds": round(seconds, 1),
                "batch": 32, "workers": WORKERS,
                "hardware": {"processor": processor(), "cores": os.cpu_count()}, "versions": versions(),
            }  # fmt: skip
            with served(Path(place, "shards")) as url:
                rounds = [
                    measured(folder, Path(place, "shards"), url, side, words, args.most) for _ in range(args.rounds)
                ]
        for line in lines(what, rounds, about):
            print(json.dumps(line), flush=True)
    return None


if __name__ == "__main__":
    main()
