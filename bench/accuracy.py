"""How accurate a net is after some seconds of training: test accuracy and the seconds of its epochs, several seeds.

Each seed is a `residua train` of its own, one after the other, as a user runs it. What counts are the seconds of
training itself, as the run tells them for each epoch (`metrics.jsonl`); the whole command's, with its start, the
compiler, the evaluations and the report, are told beside (`command_seconds`). Goal, on a GPU: 94 % on CIFAR-10 within
30 s of training.

Prints one JSON line.

    RESIDUA_DATA=... python bench/accuracy.py --words --batch-size 512 --compile on
    python bench/accuracy.py --data digits --arch cifar_resnet8 --epochs 3 --seeds 2      # to try, anywhere
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from residua.nn.modelfile import versions
from side_by_side import hardware, short, tell, values

ACCURACY, SECONDS = 94.0, 30.0


def trained(args: argparse.Namespace, seed: int, out: Path) -> tuple[float, float, float]:
    """Test accuracy in percent, seconds of training, seconds of the whole command."""
    words = [args.data, "--arch", args.arch, "--epochs", str(args.epochs), "--seed", str(seed), *args.words]
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "residua", "train", *words, "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=sys.stderr, check=True,
    )  # fmt: skip
    whole = time.perf_counter() - began
    told = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    error = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["top1_error"]
    return 100 * (1 - error), sum(e["seconds"] for e in told if e["event"] == "epoch"), whole


def main() -> None:
    """Train every seed and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--arch", default="wrn16_4")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--words", nargs=argparse.REMAINDER, default=[], help="the rest goes to `residua train`")
    args = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            found.append(trained(args, seed, Path(folder) / str(seed)))
            print(
                "  seed {}: {:.2f} % after {:.1f} s of training, {:.1f} s in all".format(seed, *found[-1]),
                file=sys.stderr,
            )
    accuracies, seconds, whole = ([row[i] for row in found] for i in range(3))
    reached = sum(a >= ACCURACY and s <= SECONDS for a, s in zip(accuracies, seconds, strict=True))
    tell(
        {
            "name": f"{args.arch} on {args.data}, {args.epochs} epochs: test accuracy",
            "unit": "%",
            "more_is_better": True,
            "ours": {"settings": " ".join(args.words), **values(accuracies)},
            "training_seconds": [short(s) for s in seconds],
            "command_seconds": [short(s) for s in whole],
            "goal": f"{ACCURACY:g} % within {SECONDS:g} s of training",
            "reached": reached,
            "n": len(found),
            "hardware": hardware(),
            "versions": versions(),
        }
    )


if __name__ == "__main__":
    main()
