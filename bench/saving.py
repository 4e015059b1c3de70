"""What saving costs a training: seconds of its time that each state takes, written aside and written while it waits.

Steps of a net on random pictures, in blocks, turn by turn: without a state, with one aside, with one waited for; the
difference of a block's time to the blocks without is what a state costs, also where the writing only slows the steps.
The share is of a minute of training, were one saved every minute.

Prints one JSON line a case: seconds a state, the share of a minute, the range, hardware and versions.

    python bench/saving.py
    python bench/saving.py --arch cifar_resnet20 --side 32 --batch-size 128 --steps 60
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from residua.engine import decide
from residua.job.record import processor
from residua.nn.modelfile import versions
from residua.nn.zoo import build
from residua.training.recipe import Recipe
from residua.training.run import Run
from residua.training.state import begin
from residua.training.step import take_step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6, help="in a block")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    engine = decide(device="auto", side_px=given.side, in_memory=True, compile="off")
    recipe = Recipe(lr=0.01, epochs=1, batch_size=given.batch_size)
    net = engine.place(build(given.arch, classes=10), lambda line: None)
    state = begin(net, recipe, engine)
    images = engine.move(torch.randn(given.batch_size, 3, given.side, given.side))
    targets = torch.arange(given.batch_size, device=engine.device) % 10
    kept = {k: v.detach().cpu().clone() for k, v in net.state_dict().items()}  # as the best so far
    found: dict[str, list[float]] = {"none": [], "aside": [], "waited for": []}
    with tempfile.TemporaryDirectory() as place, Run.create(Path(place) / "run") as run:
        for turn in range(given.rounds + 1):
            for case, seconds in found.items():
                began = time.perf_counter()
                for step in range(given.steps):
                    take_step(state, images, targets, 0.01, recipe, engine)
                    if step == 0 and case != "none":
                        run.save_state({"train": state.state_dict(), "kept": kept}, aside=case == "aside")
                if turn:  # the first warms up
                    seconds.append(time.perf_counter() - began)
                run.settle()
        size = (run.folder / "state" / "last.pt").stat().st_size
    for case in ("aside", "waited for"):
        cost = [with_ - without for with_, without in zip(found[case], found["none"], strict=True)]
        print(json.dumps({
            "case": f"a state of {given.arch} {case}", "seconds": round(statistics.median(cost), 3),
            "of_a_minute": round(statistics.median(cost) / 60, 4),
            "range_s": [round(min(cost), 3), round(max(cost), 3)],
            "n": given.rounds, "mb": round(size / 1e6, 1), "block_s": round(statistics.median(found["none"]), 2),
            "device": engine.device, "processor": processor(), "versions": versions(),
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
