"""The least time that a training step or an answer can take on this machine: by its matrices, and by its memory.

Two floors, each measured in the same run: how many operations a second a large matrix product reaches here in the
engine's precision, and how many bytes a second pass through memory. A net's time is the sum over its layers of the
larger of the two: layers follow each other. Of a layer only what no implementation can avoid is counted: a convolution
reads and writes its maps once, and all that is done to single numbers (norm, ReLU, sum) rides along for nothing, but
for a batch norm in training, whose mean has to be known before its first number: one more reading.

    python bench/floors.py resnet18 --side 224 --batch 32
"""

import argparse
import json
import time
from math import prod

import torch

from residua.depth.speed import wait
from residua.engine import PRECISIONS, Engine, decide
from residua.nn.cost import cost
from residua.nn.zoo import find

#: Sides of the square matrices, and bytes of the copied block, that are tried; the best counts.
SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192, 16384), "mps": (2048, 4096)}
BLOCK_BYTES = {"cpu": 256 << 20, "cuda": 4 << 30, "mps": 512 << 20}
ROUNDS = 5


def best_of(work, engine: Engine, rounds: int = ROUNDS) -> float:  # type: ignore[no-untyped-def]
    """Seconds of the fastest of some rounds, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        wait(engine)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def matrix_rate(engine: Engine) -> float:
    """Operations (multiplications and additions) a second of the best of some square matrix products."""
    rates = []
    for side in SIDES[engine.kind]:
        a, b = (torch.randn(side, side, device=engine.device, dtype=PRECISIONS[engine.precision]) for _ in range(2))
        rates.append(2 * side**3 / best_of(lambda a=a, b=b: a @ b, engine))
    return max(rates)


def bandwidth(engine: Engine) -> float:
    """Bytes a second, read and written, of a copy that fits into no cache."""
    source = torch.ones(BLOCK_BYTES[engine.kind] // 4, device=engine.device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best_of(lambda: target.copy_(source), engine)


def floors(net: str, side: int, batch: int, engine: Engine, *, training: bool) -> dict[str, float]:
    """The floor of a step on a batch (or of an answer), in seconds, and what it is made of."""
    rate, passing = matrix_rate(engine), bandwidth(engine)
    size = PRECISIONS[engine.precision].itemsize
    row = find(net)
    arithmetic = memory = both = 0.0
    before = entered = row.channels * side * side  # numbers of the map that a layer reads, and of its unit's
    unit = ""
    for layer in cost(row, side).layers:
        numbers, moved = prod(layer.out_shape), 0.0
        path, branch, _ = layer.name.partition(".branch.")
        if branch and path != unit:
            unit, entered = path, before
        if layer.macs:
            x = entered if ".shortcut." in layer.name else before
            moved = x + numbers  # reads x, writes y
            if training:
                moved += 2 * x + numbers  # reads x and y's gradient, writes x's
            before = numbers
        elif layer.kind == "norm" and training:
            moved = 2 * numbers  # once more for the mean, once more for the gradient's sums
        elif layer.kind == "sum":
            before = numbers
        seconds = 2 * layer.macs * batch * (3 if training else 1) / rate, batch * moved * size / passing
        arithmetic += seconds[0]
        memory += seconds[1]
        both += max(seconds)
    return {
        "seconds": both,
        "images_per_second": batch / both,
        "arithmetic_seconds": arithmetic,
        "memory_seconds": memory,
        "operations_per_second": rate,
        "bytes_per_second": passing,
    }


def told(found: dict[str, float]) -> dict[str, float]:
    """Floors in four digits."""
    return {k: float(f"{v:.4g}") for k, v in found.items()}


def main() -> None:
    """Print the floors of a net as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", help="a name of `residua archs`")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--answer", action="store_true", help="a forward pass only")
    args = parser.parse_args()
    engine = decide(side_px=args.side, in_memory=True, device=args.device, precision=args.precision)
    engine.place(torch.nn.Linear(1, 1))  # sets the threads
    found = floors(args.net, args.side, args.batch, engine, training=not args.answer)
    print(json.dumps({"net": args.net, "side": args.side, "batch": args.batch, **told(found)}))


if __name__ == "__main__":
    main()
