"""How long a residual net takes to an accuracy: whole trainings of `residua train`, one seed after the other.

Seconds are those of training, as `metrics.jsonl` has them for each epoch (data included; compiling in the first step
too, evaluation not). The test pictures are looked at once, at the end. Prints one JSON line: the accuracy of every
seed, the mean with its standard error, and the seconds.

    python bench/record.py cifar10 --seeds 5 --goal 0.94 -- --arch resnet18 --stem 3x3 --epochs 16
    python bench/record.py cifar10 --seeds 2 -- --arch cifar_resnet20:1-1-1 --limit 500 --epochs 1   # its logic
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from residua.nn.modelfile import versions
from side_by_side import hardware, tell


def train(data: str, words: list[str], seed: int, out: Path) -> tuple[float, float, dict[str, Any]]:
    """Accuracy on the test pictures, seconds of training, and the run's summary."""
    command = [sys.executable, "-m", "residua", "train", data, *words, "--seed", str(seed), "--out", str(out)]
    subprocess.run([*command, "--set", "val_fraction=0"], check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    evaluation = json.loads((out / "evaluation.json").read_text())
    seconds = sum(row["seconds"] for row in rows if row["event"] == "epoch")
    return 1 - evaluation["top1_error"], seconds, json.loads((out / "summary.json").read_text())


def partition(argv: list[str]) -> tuple[list[str], list[str]]:
    """What is said to this program, and behind ``--`` what else is said to `residua train`."""
    at = argv.index("--") if "--" in argv else len(argv)
    return argv[:at], argv[at + 1 :]


def main() -> None:
    """Train every seed and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--goal", type=float, default=0.94, help="accuracy that is asked for")
    own, words = partition(sys.argv[1:])
    args = parser.parse_args(own)
    accuracies, times, summary = [], [], {}
    with tempfile.TemporaryDirectory() as place:
        for seed in range(args.seeds):
            accuracy, seconds, summary = train(args.data, words, seed, Path(place) / str(seed))
            accuracies.append(round(accuracy, 5))
            times.append(round(seconds, 2))
            print(f"  seed {seed}: {100 * accuracy:.2f} % in {seconds:.1f} s", file=sys.stderr, flush=True)
    spread = statistics.stdev(accuracies) / len(accuracies) ** 0.5 if len(accuracies) > 1 else 0.0
    tell(
        {
            "name": f"{summary['arch']['name']} on {args.data}: {' '.join(words)}",
            "unit": "s",
            "accuracy": round(statistics.mean(accuracies), 5),
            "standard_error": round(spread, 5),
            "accuracies": accuracies,
            "seconds": statistics.median(times),
            "all_seconds": times,
            "goal": args.goal,
            "reached": statistics.mean(accuracies) >= args.goal,
            "n": args.seeds,
            "hardware": hardware(),
            "versions": versions(),
        }
    )


if __name__ == "__main__":
    main()
