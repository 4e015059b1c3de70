"""What 8, 64 and 1,000 GPUs and a billion pictures cost, by arithmetic from a few measured or published numbers.

Nothing is trained here: the table of docs/scale.md is printed from the numbers below, each with where it comes from, so
that whoever has better ones for another machine changes them and prints it again.

    python bench/scale.py
    python bench/scale.py --rate 1200 --node-gbit 100
"""

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Given:
    """What the arithmetic begins with."""

    params: int = 25_557_032  #: ResNet-50 (torchvision's count)
    buffers: int = 53_120  #: its norms' statistics
    norms: int = 53  #: batch norms of ResNet-50
    rate: float = 3_555.0  #: images/s of one GPU: 45 % of MLPerf 4.0's 7,900 on an H200, our own aim
    share: int = 256  #: pictures of a batch for each GPU
    node_gpus: int = 8
    node_gbit: float = 3_200.0  #: network of a node: 8 adapters of 400 Gbit/s
    inside_gb: float = 450.0  #: GB/s between the GPUs of a node, one way (NVLink 4)
    hop_us: float = 10.0  #: one message between nodes
    small_us: float = 25.0  #: one small exchange within a node (NCCL's usual latency)
    picture_kb: float = 110.0  #: a JPEG of ImageNet, on average
    core_rate: float = 390.0  #: photos of 500 px (86 kB) decoded, cropped and scaled by one core here (docs/log.md)
    pictures: int = 10**9
    index_bytes: float = 141.5  #: of memory for each picture of a folder (bench/index.jsonl: 141.5 MB of a million)
    between_failures_h: float = 50_000.0  #: of one GPU with its share of a node, about
    restart_s: float = 60.0  #: from the loss of a process to the next step, `--save-every 30` included


@dataclass(frozen=True)
class Cost:
    """What so many GPUs need."""

    gpus: int
    images_per_s: float
    step_ms: float
    reduce_mb: float
    reduce_ms: float
    norms_ms: float
    storage_gb_s: float
    cores: float
    epoch_s: float
    failures_per_day: float
    lost: float


def cost(given: Given, gpus: int) -> Cost:
    """The arithmetic of one number of GPUs. Gradients are fp32; a ring within nodes, a tree between them."""
    step = given.share / given.rate
    nodes = max(1, gpus // given.node_gpus)
    local = min(gpus, given.node_gpus)
    volume = 4 * given.params
    inside = 2 * (local - 1) / local * volume / (given.inside_gb * 1e9)
    across = 0.0 if nodes == 1 else 2 * (nodes - 1) / nodes * volume / (given.node_gbit / 8 * 1e9)
    deep = max(0, (nodes - 1).bit_length())
    reduce = inside + across + 2 * deep * given.hop_us * 1e-6
    small = (0 if gpus == 1 else given.small_us) + 2 * deep * given.hop_us
    norms = 2 * given.norms * small * 1e-6
    rate = gpus * given.rate
    failures = 24 * gpus / given.between_failures_h
    return Cost(
        gpus=gpus, images_per_s=rate, step_ms=step * 1e3, reduce_mb=0 if gpus == 1 else 2 * volume / 1e6,
        reduce_ms=reduce * 1e3 * (gpus > 1), norms_ms=norms * 1e3, storage_gb_s=rate * given.picture_kb * 1e3 / 1e9,
        cores=given.rate / given.core_rate, epoch_s=given.pictures / rate, failures_per_day=failures,
        lost=failures * given.restart_s / 86_400,
    )  # fmt: skip


def table(given: Given, every: list[Cost]) -> str:
    """The costs as a Markdown table, one column for each number of GPUs."""
    backward = 2 / 3 * every[0].step_ms  # where the exchange of gradients hides
    rows: list[tuple[str, list[str]]] = [
        ("pictures in a batch", [f"{c.gpus * given.share:,}" for c in every]),
        ("images/s", [f"{c.images_per_s:,.0f}" for c in every]),
        ("a step's arithmetic, ms", [f"{c.step_ms:.0f}" for c in every]),
        ("gradients sent by each GPU, MB a step", [f"{c.reduce_mb:.0f}" for c in every]),
        (f"that exchange, ms (hides below {backward:.0f})", [f"{c.reduce_ms:.1f}" for c in every]),
        ("norms over all (`--sync-norm on`), ms, hidden by nothing", [f"{c.norms_ms:.0f}" for c in every]),
        ("read from storage, GB/s", [f"{c.storage_gb_s:,.1f}" for c in every]),
        ("cores that decode, a GPU", [f"{c.cores:.0f}" for c in every]),
        ("an epoch of ImageNet", [_time(1_281_167 / c.images_per_s) for c in every]),
        ("an epoch of a billion pictures", [_time(c.epoch_s) for c in every]),
        ("lost GPUs a day", [f"{c.failures_per_day:.3f}" for c in every]),
        ("time lost to them", [f"{100 * c.lost:.3f} %" for c in every]),
    ]
    head = ["", *(f"{c.gpus:,} GPU{'s' * (c.gpus > 1)}" for c in every)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join([name, *values]) + " |" for name, values in rows])


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def main() -> None:
    """Print the table, and what does not depend on the number of GPUs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in vars(Given()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64, 1000])
    words = vars(parser.parse_args())
    gpus = words.pop("gpus")
    given = Given(**words)
    print(table(given, [cost(given, n) for n in gpus]))
    state = 4 * (3 * given.params + 2 * given.buffers) / 1e6  # weights, momentum, the best weights so far
    print()
    print(f"a state: {state:.0f} MB; every 30 s: {state / 30:.0f} MB/s by one process, whatever their number")
    print(
        f"{given.pictures:,} pictures: {given.pictures * given.picture_kb * 1e3 / 1e12:,.0f} TB of files; "
        f"an index in every process: {given.pictures * given.index_bytes / 1e9:,.0f} GB; "
        f"one epoch's order: {given.pictures * 8 / 1e9:,.0f} GB"
    )


if __name__ == "__main__":
    main()
