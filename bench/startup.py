"""How long commands take to start: help, version, one answer, the first step of a training, beside Python and torch.

Each measurement is a process of its own, timed from outside; the first step of `residua train` is timed inside it, from
the start of the process to the first `Step`, and so is Python's own start. `processor s` counts what the process
itself computed (user and system): what other programs do falls less on it.

    python bench/startup.py
    python bench/startup.py --rounds 1 --cases help version
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from side_by_side import Side, case, tell

#: Trains on the digits until the first step is done.
FIRST_STEP = """
import sys
from residua.cli.main import run
import residua.training.loop as loop
made = loop._read
def first(*args, **words):
    import os
    made(*args, **words)
    os._exit(0)
loop._read = first
run(["train", "digits", "--out", sys.argv[1]])
"""
PEERS = {
    "python -c pass": "pass",
    "import torch": "import torch",
    "import torch, torchvision": "import torch, torchvision",
    "import torch, its optimiser": "import torch; torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)",
}


def spent(command: list[str], processor: bool) -> float:
    """Seconds of a process, on the wall or of the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used if processor else wall


def commands(folder: Path) -> dict[str, tuple[Callable[[], list[str]], tuple[str, ...], str]]:
    """What is measured: the command (made anew each time), its peers, and the goal."""
    from PIL import Image

    residua, n = [sys.executable, "-m", "residua"], iter(range(10**6))
    picture, model = folder / "picture.png", folder / "run" / "model.safetensors"
    Image.effect_noise((8, 8), 64).save(picture)
    subprocess.run(
        [*residua, "train", "digits", "--epochs", "1", "--limit", "64", "--out", str(model.parent)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    python, torch = "python -c pass", "import torch"
    return {
        "help": (lambda: [*residua, "--help"], (python,), "0.4 s"),
        "version": (lambda: [*residua, "--version"], (python,), "0.4 s"),
        "import": (lambda: [sys.executable, "-c", "import residua"], (python,), "0.1 s over bare Python"),
        "predict": (
            lambda: [*residua, "predict", str(model), str(picture)],
            (torch, "import torch, torchvision"), "most of it is importing torch: ratio 0.67 or more",
        ),
        "train": (
            lambda: [sys.executable, "-c", FIRST_STEP, str(folder / f"first-{next(n)}")],
            (torch, "import torch, its optimiser"), "no compiler: less than torch with its optimiser",
        ),
    }  # fmt: skip


def main() -> None:
    """Two lines a case: seconds on the wall, and of the processor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=["help", "version", "import", "predict", "train"])
    parser.add_argument("--note", default="", help="goes into each line: what else the machine did")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, peers, goal) in commands(Path(folder)).items():
            if name not in args.cases:
                continue
            for processor in (False, True):
                ours = Side(f"residua: {name}", "a process of its own", lambda m=make, p=processor: spent(m(), p))
                others = [
                    Side(peer, "python -c", partial(spent, [sys.executable, "-c", PEERS[peer]], processor))
                    for peer in peers
                ]
                unit = "processor s" if processor else "s"
                tell(
                    case(
                        f"start: {name}", unit, ours, others, rounds=args.rounds, more=False, goal=goal, note=args.note
                    )
                )


if __name__ == "__main__":
    main()
