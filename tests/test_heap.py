"""Memory that tensors leave: kept for those that come, or given back at once where memory is bounded."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks to glibc alone")

#: Maps of 48 MiB each, as a net's are: made, read, left. Prints pages that the system had to bring, and what is held.
PROGRAM = """
import ctypes, resource, sys, threading
import torch
from residua import heap
from residua.depth import memory
from residua.engine import decide

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def maps():
    kept = [torch.ones(12 << 20) for _ in range(3)]
    return sum(float(m[-1]) for m in kept)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def measured():
    for _ in range(20):  # until every map has found its place
        maps()
    before = faults()
    for _ in range(3):
        maps()
    print(faults() - before, held() >> 20)
    print(memory.held() >> 20, held() >> 20)

how, where = sys.argv[1:]
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: every page counts, whatever the system's pages are
torch.set_num_threads(1)
if how == "bounded":
    heap.give_back()
if how != "untouched":
    decide(side_px=32, in_memory=True, device="cpu", threads=1).place(torch.nn.Linear(1, 1))
if where == "thread":
    thread = threading.Thread(target=measured)
    thread.start()
    thread.join()
else:
    measured()
"""


def measured(how: str, where: str = "main", **environment: str) -> list[int]:
    """Pages that nine maps asked for; MiB that are held when they are gone, as a forecast sees it, and after that."""
    words = [sys.executable, "-c", PROGRAM, how, where]
    said = subprocess.run(
        words, capture_output=True, text=True, check=True, env=os.environ | environment
    ).stdout.split()  # fmt: skip
    return [int(word) for word in said]


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_placed_net_keeps_what_its_maps_leave_and_a_forecast_does_not_count_it(where: str) -> None:
    """The maps of later batches ask the system for nothing, in a thread neither, as a server's nets are; and a second
    training in one process plans with the memory that the first one has left.
    """  # fmt: skip
    before, less, *_ = measured("untouched", where)
    after, more, seen, then = measured("kept", where)
    assert after < before / 3, (before, after)  # one map may still move
    assert more - less >= 100
    assert abs(seen - then) <= 1
    assert more - seen >= 100


def test_what_the_environment_says_holds() -> None:
    """Who has told glibc how to do it is not overruled."""
    found, *_ = measured("kept", MALLOC_TRIM_THRESHOLD_="131072")
    assert found > 500


def test_bounded_memory_goes_back_at_once_whatever_is_placed_later() -> None:
    """A bound that was planned with holds: a net that is placed keeps nothing."""
    found, held, seen, _ = measured("bounded")
    assert found > 10_000
    assert held - seen < 20
