"""Memory of training: what was forecast beside what was taken, bounded beside plain, and how both grow with depth.

forecast: `residua train` in a process of its own, with and without a bound: the largest memory that the process ever
    held (VmHWM) beside what it said before it began.
bounded: one net, three sides in processes of their own, turn by turn. The usual script (eager, fp32, contiguous,
    functional ReLUs), our net with everything kept, and our net with the units recomputed that the planner chooses for
    a seventh of the maps. Peaks are those of live tensors above weights, momentum, gradients and the batch, from
    torch's profiler in a step that is not timed. Gradients of our two sides are compared by their digests.
growth: nets of 20 to 1202 layers, kept and bounded as tightly as can be: seconds of processor time and peak of live
    tensors a step; the exponents of fits (log-log, least squares); docs/pictures/growth.png.

    python bench/memory.py forecast
    python bench/memory.py bounded --batch 128
    python bench/memory.py growth --picture docs/pictures/growth.png
    python bench/memory.py bounded --net cifar_resnet56 --batch 8 --rounds 1      # to try
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from residua.job.space import RESERVE
from side_by_side import Side, case, hardware, short, tell

#: Net, side in pixels, batch, precision.
CASES = (
    ("cifar_resnet20", 32, 256, "fp32"),
    ("cifar_resnet56", 32, 128, "fp32"),
    ("cifar_resnet56", 32, 128, "bf16"),
    ("cifar_resnet110", 32, 128, "fp32"),
    ("cifar_preact164", 32, 64, "fp32"),
    ("cifar_preact164", 32, 64, "bf16"),
    ("wrn16_4", 32, 64, "fp32"),
    ("resnet18", 224, 32, "fp32"),
    ("resnet18", 224, 32, "bf16"),
    ("resnet50", 224, 16, "fp32"),
    ("resnet50", 224, 16, "bf16"),
    ("resnext50_32x4d", 224, 8, "fp32"),
    ("cifar_resnet1202", 32, 32, "fp32"),
)
#: Bounds: none, and one that leaves this share of the maps.
BOUNDS = (1.0, 0.5)
#: One thread: what else the machine does falls least on it.
THREADS = 1
#: Of the maps, what the bounded side may keep.
SHARE = 1 / 7
#: Depths of the figure.
DEPTHS = (20, 56, 110, 218, 434, 866, 1202)


# -- in a process of its own ----------------------------------------------------------------------------------------


def training(net: str, side: int, batch: int, precision: str, limit: float) -> dict[str, Any]:
    """`residua train` for two steps within `limit` bytes (0: none): its forecast, and the most that it held."""
    from residua.depth import memory
    from residua.job import TrainOptions, train
    from residua.training.recipe import recipe

    found: list[memory.Fit | None] = []
    fit = memory.fit

    maps = 0

    def noted(demand: memory.Demand, *args: Any, **words: Any) -> memory.Fit | None:
        nonlocal maps
        maps = batch * demand.maps.total
        found.append(fit(demand, *args, **words))
        return found[-1]

    memory.fit = noted
    words = ["steps=2", f"batch_size={batch}", "val_fraction=0"]
    with tempfile.TemporaryDirectory() as folder:
        options = TrainOptions(
            arch=net, recipe=recipe("quick", words), limit=max(64, batch), out=str(Path(folder) / "run"),
            image_size=side, precision=precision, memory=int(limit) or 2**40, threads=THREADS,
        )  # fmt: skip
        for _ in train(options):
            pass
    last = found[0]
    assert last is not None
    told = {"segments": len(last.segments.sizes), "again": last.segments.again, "slices": last.accumulate}
    return {"forecast": last.bytes, "plain": last.plain, "maps": maps, "peak": status("VmHWM"), **told}


def step(name: str, batch: int, share: float, how: str, steps: int, live: bool) -> dict[str, Any]:
    """Steps of a net on noise: seconds (wall and processor), peak of live tensors, digest of the gradients.

    `how`: "script", or "ours", of whose maps at most `share` may be kept; 0 for as little as can be.
    """
    import torch
    from torch.nn import functional

    from residua import heap
    from residua.depth import memory
    from residua.nn.zoo import build, find
    from residua.training.optimise import optimiser
    from residua.training.recipe import recipe

    heap.give_back()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    net, layout, told = build(name), torch.channels_last, {}
    if how == "script":
        net, layout = usual(net), torch.contiguous_format
        opt: torch.optim.Optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    else:
        m = memory.maps(find(name), 32)
        found = memory.segments(m, share * m.total)
        net.segments = found.sizes
        told = {"segments": len(found.sizes), "again": found.again, "planned": batch * found.bytes}
        opt = optimiser(net.to(memory_format=layout), recipe("quick"))
    torch.manual_seed(1)
    x = torch.randn(batch, 3, 32, 32).to(memory_format=layout)
    y = torch.arange(batch) % 10

    def one() -> None:
        functional.cross_entropy(net(x), y).backward()

    one()
    digest = hashlib.sha256()
    for p in net.parameters():
        digest.update(p.grad.contiguous().numpy().tobytes())
    first = torch.cat([p.grad.flatten() for p in net.parameters()])
    norm = float(first.double().norm())
    del first
    opt.step()
    wall, used = time.perf_counter(), time.process_time()
    for _ in range(steps):
        opt.zero_grad()
        one()
        opt.step()
    wall, used = (time.perf_counter() - wall) / steps, (time.process_time() - used) / steps
    held = status("VmHWM")
    peak = peak_of(one) if live else 0
    return {"seconds": wall, "processor": used, "live": peak, "rss": held, "digest": digest.hexdigest()[:16],
            "norm": norm, **told}  # fmt: skip


def peak_of(work: Callable[[], None]) -> int:
    """The most bytes of tensors that lived at once while it worked, above those that did before."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        found.export_chrome_trace(str(path))
        del found
        events = json.loads(path.read_text())["traceEvents"]
    memory = sorted(
        (e for e in events if e.get("name") == "[memory]"), key=lambda e: (e["ts"], e["args"].get("Ev Idx", 0))
    )
    levels = [e["args"]["Total Allocated"] for e in memory if e["args"]["Device Type"] == 0]
    return int(max(levels) - (levels[0] - memory[0]["args"]["Bytes"]))


def usual(net: Any) -> Any:
    """The usual script's CIFAR net (eager, functional ReLUs, zero-padding shortcuts) with our net's weights."""
    import torch
    from torch import Tensor, nn
    from torch.nn import functional

    class Basic(nn.Module):
        """Two 3x3 convolutions beside a shortcut without parameters."""

        def __init__(self, c_in: int, c_out: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(c_out)
            self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(c_out)
            self.stride, self.more = stride, (c_out - c_in) // 2

        def forward(self, x: Tensor) -> Tensor:
            out = functional.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            if self.more:
                x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
            out += x
            return functional.relu(out)

    class Script(nn.Module):
        """Stem, three stages, mean, classifier."""

        def __init__(self, depths: Sequence[int]) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            blocks, before = [], 16
            for width, n in zip((16, 32, 64), depths, strict=True):
                for i in range(n):
                    blocks.append(Basic(before, width, 2 if i == 0 and width > 16 else 1))
                    before = width
            self.layers = nn.Sequential(*blocks)
            self.linear = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            out = self.layers(functional.relu(self.bn1(self.conv1(x))))
            return self.linear(functional.avg_pool2d(out, out.shape[3]).flatten(1))

    script = Script([len(stage) for stage in net.stages])
    ours = net.state_dict()
    script.load_state_dict(dict(zip(script.state_dict(), ours.values(), strict=True)))
    assert torch.is_grad_enabled()
    return script


def status(field: str) -> int:
    """A line of /proc/self/status in bytes."""
    match = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))
    if match is None:
        raise SystemExit(f"{field} is not in /proc/self/status: this needs Linux")
    return int(match[1]) * 1024


INSIDE: dict[str, Callable[..., dict[str, Any]]] = {"training": training, "step": step}


def apart(what: str, *args: Any) -> dict[str, Any]:
    """What one of these finds in a process of its own."""
    command = [sys.executable, __file__, "inside", what, json.dumps(args)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(json.loads(out.splitlines()[-1]))


# -- the cases ------------------------------------------------------------------------------------------------------


def forecasts(only: Sequence[str], rounds: int, note: str) -> None:
    """A line for each case: ours is what was forecast, the peer what was taken; the ratio is taken over forecast."""
    for net, side, batch, precision in CASES:
        if only and net not in only:
            continue
        least = 0.0
        for bound in BOUNDS:
            most = 0.0 if bound == 1 else least / RESERVE
            found = [apart("training", net, side, batch, precision, most) for _ in range(rounds)]
            first = found[0]
            least = first["plain"] - (1 - BOUNDS[-1]) * first["maps"]
            limit = f"{most / 2**30:.2f}G" if most else "none"
            said, taken = (iter([f[k] / 2**30 for f in found]) for k in ("forecast", "peak"))
            how = f"{first['segments']} segments, {100 * first['again']:.0f} % again, {first['slices']} slices"
            tell(case(
                f"{net} at {side} px, {batch} pictures, {precision}, --memory {limit}", "GiB",
                Side("forecast", how, partial(next, said)),
                [Side("peak of the process", "VmHWM", partial(next, taken))],
                rounds=rounds, more=False, goal="ratio 0.85 to 1.15",
                within=not most or max(f["peak"] for f in found) <= most, note=note,
            ))  # fmt: skip


def bounded(net: str, batch: int, rounds: int, steps: int, note: str) -> None:
    """Two lines: peak of live tensors (GB), and seconds a step."""
    sides = {"the usual script": ("script", 1.0), "ours, all kept": ("ours", 1.0), "ours, bounded": ("ours", SHARE)}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}

    def measure(name: str) -> float:
        how, share = sides[name]
        found[name].append(apart("step", net, batch, share, how, steps, True))
        return float(found[name][-1]["live"]) / 1e9

    names = list(sides)
    ours = Side(names[2], "channels last, units recomputed", partial(measure, names[2]))
    peers = [
        Side(names[0], "eager, fp32, contiguous", partial(measure, names[0])),
        Side(names[1], "channels last", partial(measure, names[1])),
    ]
    line = case(f"{net}, {batch} pictures: peak of live tensors in a step", "GB", ours, peers, rounds=rounds,
                more=False, goal="ratio 6 over the usual script")  # fmt: skip
    one = {name: values[0] for name, values in found.items()}
    a, b = one[names[2]]["digest"], one[names[1]]["digest"]
    tell(line | {"same_gradients": a == b, "plan": {k: one[names[2]][k] for k in ("segments", "again", "planned")},
                 "peak_rss_gb": {k: [short(v["rss"] / 1e9) for v in vs] for k, vs in found.items()},
                 "gradient_norms": {k: v["norm"] for k, v in one.items()}, "note": note})  # fmt: skip
    for unit, key in (("s", "seconds"), ("processor s", "processor")):
        told = {name: iter([v[key] for v in values]) for name, values in found.items()}
        turns = [Side(s.name, s.settings, partial(next, told[s.name])) for s in (ours, *peers)]
        tell(case(f"{net}, {batch} pictures: a step", unit, turns[0], turns[1:], rounds=rounds, more=False,
                  goal="ratio 1 / 1.4 over the usual script", note=note))  # fmt: skip


def growth(depths: Sequence[int], batch: int, rounds: int, steps: int, note: str, picture: Path | None) -> None:
    """A line a depth and side, a line of fits, and the figure."""
    rows: list[dict[str, Any]] = []
    for depth in depths:
        for how, share in (("kept", 1.0), ("bounded", 0.0)):
            found = [apart("step", f"cifar_resnet{depth}", batch, share, "ours", steps, True) for _ in range(rounds)]
            units = (depth - 2) // 2
            row = {
                "name": f"cifar_resnet{depth}, {batch} pictures, {how}", "layers": depth, "how": how, "batch": batch,
                "live_mb": short(min(f["live"] for f in found) / 1e6),
                "processor_s": short(min(f["processor"] for f in found)),
                "ms_a_unit": short(1e3 * min(f["processor"] for f in found) / units), "segments": found[0]["segments"],
                "again": round(found[0]["again"], 3), "n": rounds,
            }  # fmt: skip
            rows.append(row)
            tell(row)
    from residua.nn.modelfile import versions

    deep = [r for r in rows if r["layers"] >= 56] or rows  # below, stem and head weigh as much as the units
    fits = {how: {key: exponent([r for r in deep if r["how"] == how], key) for key in ("live_mb", "processor_s")}
            for how in ("kept", "bounded")}  # fmt: skip
    spread = {how: spread_of([r["ms_a_unit"] for r in rows if r["how"] == how and r["layers"] >= 56]) for how in fits}
    tell({"name": "growth with depth: exponents of fits", "exponents": fits, "ms_a_unit_from_56_layers": spread,
          "goal": "time 1, memory 0.5 bounded; time a unit within 10 %", "note": note, "hardware": hardware(),
          "versions": versions()})  # fmt: skip
    if picture is not None:
        draw(rows, fits, picture)


def exponent(rows: Sequence[dict[str, Any]], key: str) -> float:
    """The slope of log(key) over log(units)."""
    import numpy as np

    x = np.log([(r["layers"] - 2) / 2 for r in rows])
    return round(float(np.polyfit(x, np.log([r[key] for r in rows]), 1)[0]), 3)


def spread_of(values: Sequence[float]) -> list[float]:
    """Least and most, over their mean."""
    mean = sum(values) / max(1, len(values))
    return [round(min(values) / mean, 3), round(max(values) / mean, 3)] if values else []


def draw(rows: Sequence[dict[str, Any]], fits: dict[str, dict[str, float]], path: Path) -> None:
    """Memory and time over depth, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"})
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    depths = [r["layers"] for r in rows if r["how"] == "kept"]
    colours = {"kept": "#8a8f98", "bounded": "#1f6feb"}
    words = {"kept": "everything kept", "bounded": "bounded: computed again"}
    for axis, key, title in zip(
        axes, ("live_mb", "processor_s"), ("memory of a step, MB", "time of a step, s"), strict=True
    ):
        for how, colour in colours.items():
            mine = [r for r in rows if r["how"] == how]
            x, y = [r["layers"] for r in mine], [r[key] for r in mine]
            label = f"{words[how]}  ~ depth$^{{{fits[how][key]:.2f}}}$"
            axis.plot(x, y, "o-", color=colour, ms=4, lw=1.6, label=label)
        axis.set(xscale="log", yscale="log", xlabel="layers")
        axis.set_title(title, loc="left", fontsize=9)
        axis.xaxis.set_major_locator(FixedLocator([d for d in depths if d == depths[-1] or 1.5 * d < depths[-1]]))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.grid(alpha=0.2, lw=0.6)
        axis.legend(frameon=False, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, pil_kwargs={"optimize": True})
    plt.close(figure)


def main() -> None:
    """What was asked for; a JSON line a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("forecast", "bounded", "growth", "inside"))
    parser.add_argument("inside", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--net", default="cifar_resnet1202", help="of `bounded`")
    parser.add_argument("--nets", nargs="+", default=[], help="of `forecast`: these alone")
    parser.add_argument("--depths", nargs="+", type=int, default=DEPTHS, help="of `growth`")
    parser.add_argument("--batch", type=int, help="pictures (128; growth: 16)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--note", default="", help="goes into each line: on what machine, what else it did")
    args = parser.parse_args()
    if args.what == "inside":
        what, words = args.inside
        print(json.dumps(INSIDE[what](*json.loads(words))), flush=True)
    elif args.what == "forecast":
        forecasts(args.nets, args.rounds, args.note)
    elif args.what == "bounded":
        bounded(args.net, args.batch or 128, args.rounds, args.steps, args.note)
    else:
        growth(args.depths, args.batch or 16, args.rounds, args.steps, args.note, args.picture)


if __name__ == "__main__":
    main()
