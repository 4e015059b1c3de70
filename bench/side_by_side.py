"""Several ways to do the same, measured turn by turn in one run: a JSON line a case, of which docs/speed.md is made.

Each round measures every side once, in an order that turns, so that what else the machine does falls on all alike.
A ratio above 1 says that ours is better, whatever the unit; it is the median of the rounds' own ratios.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from residua.job.record import processor
from residua.nn.modelfile import versions

#: What lets glibc keep freed maps for the next ones, as a careful user may set it for any program; ours does so itself.
KEPT = {"MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_MMAP_THRESHOLD_": str(2**40)}
#: Peers whose version is told where they are installed.
PEERS = ("timm", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Side:
    """One way: what it is called, its settings in words, and a measurement of it."""

    name: str
    settings: str
    measure: Callable[[], float]


def case(
    name: str, unit: str, ours: Side, peers: Sequence[Side] = (), *, rounds: int, more: bool = True, **facts: object
) -> dict[str, object]:  # fmt: skip
    """Measure a case. `more`: a larger number is better. `facts` go into the line as they are (goal=..., batch=...)."""
    sides = [ours, *peers]
    found: list[list[float]] = [[] for _ in sides]
    for i in range(rounds):
        for j in range(len(sides)):
            k = (i + j) % len(sides)
            found[k].append(sides[k].measure())
            print(f"  {name}: {sides[k].name} {found[k][-1]:,.4g} {unit}", file=sys.stderr, flush=True)
    return {
        "name": name,
        "unit": unit,
        "more_is_better": more,
        "ours": {"settings": ours.settings, **values(found[0])},
        "peers": [
            {"name": side.name, "settings": side.settings, **values(theirs), **ratios(found[0], theirs, more)}
            for side, theirs in zip(peers, found[1:], strict=True)
        ],
        "n": rounds,
        **facts,
        "hardware": hardware(),
        "versions": versions() | {name: v for name in PEERS if (v := installed(name))},
    }


def alone(*words: str, **environment: str) -> str:
    """The last line that this very program prints with these words, in a process of its own.

    What a side sets for its process (threads, how freed memory is kept) then changes nothing for another.
    """
    done = subprocess.run(
        [sys.executable, sys.argv[0], *words], env=os.environ | environment, stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.strip().splitlines()[-1]


def milliseconds(call: Callable[[], object], seconds: float) -> float:
    """The median of a call's milliseconds."""
    call()
    found, began = [], time.perf_counter()
    while time.perf_counter() - began < seconds or len(found) < 5:
        start = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - start))
    return statistics.median(found)


def values(found: Sequence[float]) -> dict[str, object]:
    """The median and all of what was measured."""
    return {"median": short(statistics.median(found)), "all": [short(v) for v in found]}


def ratios(ours: Sequence[float], theirs: Sequence[float], more: bool) -> dict[str, object]:
    """How many times better ours is: the median of the rounds, the least and the most."""
    each = [a / b if more else b / a for a, b in zip(ours, theirs, strict=True)]
    return {"ratio": round(statistics.median(each), 3), "spread": [round(min(each), 3), round(max(each), 3)]}


def short(value: float) -> float:
    """Five digits."""
    return float(f"{value:.5g}")


def hardware() -> dict[str, object]:
    """This machine in words."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"processor": processor(), "cores": os.cpu_count(), "gpu": gpu, "system": platform.system()}


def installed(name: str) -> str | None:
    """The version of a library, if it is there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def tell(line: dict[str, object]) -> None:
    """Print the line of a case."""
    print(json.dumps(line), flush=True)
