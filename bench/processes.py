"""Images per second of training in one process and in several of torchrun's, on the CPUs of this machine.

The same command, the same global batch: alone with all threads (which is what a user gets), and with N processes that
share the cores (`torchrun --nproc-per-node N -m residua train ...`). Rates are those of training alone, as each run's
summary.json has them; turn by turn, `--rounds` times. Norms look at all pictures (`--sync-norm on`), and not (`off`).

Prints one JSON line a case: the median rate, its ratio to one process and the range of that, hardware and versions.

    python bench/processes.py cifar10 --limit 5000
    python bench/processes.py ./photos --arch resnet18 --limit 200 --processes 2
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from residua.job.record import processor
from residua.nn.modelfile import versions


def rate(words: list[str], processes: int, place: Path, number: int, cores: int) -> float:
    """Images per second of one training."""
    out = place / str(number)
    train = ["-m", "residua", "train", *words, "--out", str(out), "--device", "cpu"]
    if processes > 1:
        threads = max(1, cores // processes)
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *launch, *train, "--threads", str(threads)]
    else:
        threads = cores
        command = [sys.executable, *train, "--threads", str(cores), "--sync-norm", "auto"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    summary = json.loads((out / "summary.json").read_text())
    return float(summary["train_images_per_second"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--arch", default="cifar_resnet20")
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    words = [
        given.data, "--arch", given.arch, "--limit", str(given.limit), "--epochs", str(given.epochs),
        "--batch-size", str(given.batch_size),
    ]  # fmt: skip
    cases = [(1, "auto"), *((n, norm) for n in given.processes for norm in ("on", "off"))]
    rates: dict[tuple[int, str], list[float]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        number = 0
        for _ in range(given.rounds):
            for processes, norm in cases:
                more = [] if processes == 1 else ["--sync-norm", norm]
                rates[processes, norm].append(rate([*words, *more], processes, Path(folder), number, cores))
                number += 1
    alone = rates[1, "auto"]
    for (processes, norm), found in rates.items():
        ratios = [mine / theirs for mine, theirs in zip(found, alone, strict=True)]
        print(json.dumps({
            "case": f"train {given.arch} on {given.data}", "processes": processes, "sync_norm": norm,
            "images_per_second": round(statistics.median(found), 1),
            "of_one_process": round(statistics.median(ratios), 3),
            "range": [round(min(ratios), 3), round(max(ratios), 3)], "n": given.rounds, "batch_size": given.batch_size,
            "limit": given.limit, "cores": cores, "processor": processor(), "versions": versions(),
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
