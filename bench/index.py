"""What it takes to index a million files: time and memory from a folder or a table to the first batch.

Makes a temporary folder of N links to one small picture in 1,000 class folders, and a table of N rows that names them.
Each case is a process of its own: after the imports it lists the files, looks into every one, divides them into
splits and makes one batch of 256. Prints one JSON line a case: seconds and peak resident memory above what the imports
took (VmHWM of /proc/self/status, reset before each part), hardware and versions. Linux only.

    OMP_NUM_THREADS=1 python bench/index.py
    python bench/index.py --files 100000 --cases folder table parquet
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

CLASSES = 1000
BATCH = 256
CASES = ("folder", "table", "parquet")


def make(root: Path, files: int) -> int:
    """Write the picture, its links and the table; the bytes of all paths below the root."""
    from PIL import Image

    Image.effect_noise((15, 12), 64).convert("RGB").save(root / "picture.png")
    length = 0
    with open(root / "table.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "group"))
        for i in range(files):
            label = f"class-{i % CLASSES:04}"
            if i < CLASSES:
                (root / "photos" / label).mkdir(parents=True)
            name = f"photos/{label}/{i:08}.png"
            os.symlink("../../picture.png", root / name)
            rows.writerow((name, label, f"patient-{i // 7}"))
            length += len(name)
    return length


def parquet(root: Path) -> Path:
    """The table as Parquet."""
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet as arrow_parquet

    path = root / "table.parquet"
    arrow_parquet.write_table(arrow_csv.read_csv(root / "table.csv"), path)
    return path


def status(field: str) -> int:
    """A line of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"{field} is not in /proc/self/status: this needs Linux")


class Meter:
    """Seconds and peak memory of each part."""

    def __init__(self) -> None:
        """Take what is resident now as the ground."""
        self.ground = status("VmRSS")
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, float] = {}

    def part(self, name: str, work: Callable[[], T]) -> T:
        """What `work` returns, measured."""
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew (proc(5))
        began = time.perf_counter()
        made = work()
        self.seconds[name] = round(time.perf_counter() - began, 2)
        self.peaks[name] = self.mb("VmHWM")
        return made

    def mb(self, field: str) -> float:
        """A field above the ground, in MB."""
        return round((status(field) - self.ground) / 1e6, 1)


def measure(case: str, path: str, length: int) -> dict[str, Any]:
    """One case in this process."""
    import numpy as np

    from residua.data.batches import Batches
    from residua.data.dataset import FileImages, Split
    from residua.data.files import dataset_of, in_memory
    from residua.data.inspection import processes
    from residua.data.sources import listed
    from residua.data.splits import arranged
    from residua.data.view import STATISTICS, View
    from residua.job.record import processor
    from residua.nn.modelfile import versions

    some = STATISTICS["imagenet"]
    view = View(side_px=32, fit="crop", resize_px=32, mode="RGB", mean=some.mean, std=some.std)
    if case == "parquet":
        import pyarrow.parquet  # noqa: F401 - with the imports, not with the listing
    warm = FileImages((str(Path(path).parent / "picture.png"),) * 2)
    Batches(Split(warm, np.zeros(2, np.int64), ("a", "b")), view, batch_size=2, seed=0, classes=1).at(0)  # lazy imports
    meter = Meter()
    listing = meter.part("listing", lambda: listed(path))
    files = len(listing.files)
    found = meter.part("inspection", lambda: dataset_of(listing))
    dataset = meter.part("splits", lambda: in_memory(arranged(found, seed=0, val_fraction=0.1)))
    train = dataset.splits["train"]
    batches = Batches(train, view, batch_size=BATCH, seed=0, classes=len(dataset.classes), augment=("flip",))
    meter.part("first_batch", lambda: batches.at(0))
    return {
        "name": f"index a {case} of {files:,} files",
        "files": files,
        "classes": len(dataset.classes),
        "path_bytes": length,
        "peak_mb": max(meter.peaks.values()),
        "held_mb": meter.mb("VmRSS"),
        "peaks_mb": meter.peaks,
        "processes": processes(files),
        "seconds": meter.seconds,
        "splits": {name: len(split) for name, split in dataset.splits.items()},
        "hardware": {"processor": processor(), "cores": os.cpu_count()},
        "versions": versions(),
    }


def main() -> None:
    """Make the files, and a process a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000, help="how many (1,000 at least)")
    parser.add_argument("--cases", nargs="+", default=["folder", "table"], choices=CASES)
    parser.add_argument("--inside", nargs=3, metavar=("CASE", "PATH", "BYTES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        case, path, length = args.inside
        print(json.dumps(measure(case, path, int(length))), flush=True)
        return
    if args.files < CLASSES:
        sys.exit(f"give at least {CLASSES} --files: one a class")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        length = make(root, args.files)
        for case in args.cases:
            path = {"folder": root / "photos", "table": root / "table.csv"}.get(case) or parquet(root)
            subprocess.run([sys.executable, __file__, "--inside", case, str(path), str(length)], check=True)


if __name__ == "__main__":
    main()
