"""Device, precision, memory format, compilation, threads: decided once, said aloud, kept in one value.

Floor 0. `facts()` looks at the machine, `decide()` is a pure function of those facts and what was asked for, and
every choice carries its reason and the flag that overrides it.
"""

import os
import platform
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from residua import heap
from residua.errors import UsageError
from residua.words import unknown

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
SWITCH = ("auto", "on", "off")

#: From this image side on, a CPU with native bf16 trains faster in bf16; below, the maps are so small that
#: converting them costs more than the arithmetic saves.
CPU_BF16_FROM_PX = 16
#: Below this image side one CPU thread trains: an operation is over before several have shared it, and on a busy
#: machine threads that wait for each other are many times slower than one (docs/log.md).
CPU_THREADS_FROM_PX = 16
#: The matrices that tell whether bf16 pays, and how many times as fast it has to be.
MEASURED_SIDE, PAYS = 768, 1.1
#: From so many units on they are compiled one by one, a shape once; of so many shapes in training and evaluation.
REGIONS_FROM, SHAPES = 20, 64
#: How torch says that memory ran out where it has no exception of its own for it: on a CPU, and in cuDNN.
NO_MEMORY = ("not enough memory", "allocate memory", "CUDNN_STATUS_ALLOC_FAILED")
#: All that oneDNN says (a layer that it cannot do is another line, with more behind it).
NO_PRIMITIVE = ("could not create a primitive", "could not execute a primitive", "could not create a memory object")


@dataclass(frozen=True)
class Decision:
    """One choice: `what` was set to `value`, `why`, and the `flag` that overrides it ("" where none does)."""

    what: str
    value: str
    why: str
    flag: str


@dataclass(frozen=True)
class Facts:
    """What this machine has. The bf16 facts mean native arithmetic, not emulation; it `pays` where it is faster."""

    cpu_bf16: bool
    cpu_bf16_pays: bool = True
    cuda: int = 0  # how many devices
    cuda_bf16: bool = False
    mps: bool = False
    cores: int = 1
    threads: int = 1


def facts() -> Facts:
    """This machine as torch sees it."""
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Facts(
        cpu_bf16=_cpu_bf16(),
        cpu_bf16_pays=bf16_pays(),
        cuda=cuda,
        cuda_bf16=cuda > 0 and torch.cuda.is_bf16_supported(including_emulation=False),
        mps=torch.backends.mps.is_available(),
        cores=max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))),  # torchrun's processes share them
        threads=torch.get_num_threads(),
    )


def _cpu_bf16() -> bool:
    """Native bf16: AVX-512 BF16 or AMX on x86, BF16 instructions on Arm as oneDNN reports them."""
    native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if any(getattr(torch.cpu, name)() for name in native if hasattr(torch.cpu, name)):
        return True
    arm = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None) if platform.machine() == "aarch64" else None
    return bool(arm is not None and arm())


def out_of_memory(error: Exception) -> bool:
    """Whether this is torch's or Python's word for memory that ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    said = str(error)
    return said in NO_PRIMITIVE or any(word in said for word in NO_MEMORY)


@cache
def bf16_pays() -> bool:
    """Whether this CPU multiplies matrices faster in bf16 than in fp32: with AMX it does, without it is measured.

    Processors with AVX-512's bf16 alone differ: some double the rate, others halve it (docs/log.md).
    """
    if not _cpu_bf16():
        return False
    if getattr(torch.cpu, "_is_amx_tile_supported", bool)():
        return True
    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        a = torch.ones(MEASURED_SIDE, MEASURED_SIDE, dtype=kind)
        a @ a
        times = []
        for _ in range(5):
            began = time.perf_counter()
            a @ a
            times.append(time.perf_counter() - began)
        seconds[kind] = min(times)
    return seconds[torch.float32] > PAYS * seconds[torch.bfloat16]


@dataclass(frozen=True)
class Engine:
    """Where and how to compute; `place` a net, `move` tensors, run forward passes in `autocast`."""

    device: str
    precision: str = "fp32"
    memory_format: str = "contiguous"
    compile: bool = False
    threads: int = 1
    workers: int = 0
    decisions: tuple[Decision, ...] = ()

    @property
    def kind(self) -> str:
        """The device without its number: "cpu", "cuda" or "mps"."""
        return self.device.partition(":")[0]

    def place(self, net: nn.Module, tell: Callable[[str], None] = warnings.warn) -> nn.Module:
        """The same net, in place, on the device, in the memory format, compiled if so decided.

        Also sets torch's number of threads, whether fp32 convolutions may use TF32 on CUDA, and that a CPU's process
        keeps the memory of maps for the next ones (`heap.keep`). `tell` is called with one line if the compiler fails
        at the first batch and the net goes on without it.
        """
        if self.kind == "cpu":
            heap.keep()
        if self.threads != torch.get_num_threads():
            torch.set_num_threads(self.threads)
        if self.kind == "cuda":  # fp32 means fp32: counts of errors are those of any other machine
            torch.backends.cudnn.conv.fp32_precision = (  # type: ignore[attr-defined]
                "ieee" if self.precision == "fp32" else "tf32"
            )
        net.to(device=self.device)
        net.to(memory_format=FORMATS[self.memory_format])
        if self.compile:
            guard = Guard(tell)
            for part in regions(net, self.kind):
                part.compile()
                part._compiled_call_impl = _Guarded(part, guard)
        return net

    def move(self, tensor: Tensor) -> Tensor:
        """The tensor on the device; pictures (N, C, H, W) also get the memory format."""
        if tensor.ndim != 4:
            return tensor.to(self.device, non_blocking=True)
        return tensor.to(self.device, non_blocking=True, memory_format=FORMATS[self.memory_format])

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass; nothing happens in it for fp32."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.kind, PRECISIONS[self.precision])

    def scaler(self) -> torch.amp.GradScaler:
        """The loss scaler that fp16 needs; disabled, it passes everything through."""
        return torch.amp.GradScaler(self.kind, enabled=self.precision == "fp16")

    def to_json(self) -> dict[str, Any]:
        """All fields as words and numbers."""
        return asdict(self)

    def describe(self) -> str:
        """One line: device, precision, memory format, threads."""
        compiled = ", compiled" if self.compile else ""
        threads = f"{self.threads} thread" + "s" * (self.threads != 1)
        return f"{self.device}, {self.precision}, {self.memory_format}{compiled}, {threads}"


def regions(net: nn.Module, kind: str) -> list[nn.Module]:
    """What is compiled as one: a net as a whole, or, on a GPU, each of many alike parts (`region`) of a deep one.

    Parts of one shape share what was compiled, so time does not grow with depth. On a CPU such parts were slower than
    without a compiler (docs/log.md).
    """
    parts = [m for m in net.modules() if getattr(m, "region", False)]
    if kind == "cpu" or len(parts) < REGIONS_FROM:
        return [net]
    torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
    return parts


@dataclass
class Guard:
    """Whether a compiler has failed: all parts then go on without it, and it is said once."""

    tell: Callable[[str], None]
    failed: bool = False


class _Guarded:
    """A compiled call that goes back to eager if the compiler fails at the first batch."""

    def __init__(self, part: nn.Module, guard: Guard) -> None:
        self.guard, self.proven = guard, False
        self.compiled: Callable[..., Any] | None = part._compiled_call_impl
        self.eager: Callable[..., Any] = part._call_impl

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.guard.failed:
            self.compiled = None
        if self.compiled is None or self.proven:
            return (self.compiled or self.eager)(*args, **kwargs)
        try:
            out = self.compiled(*args, **kwargs)
        except Exception as e:  # compilers fail in every way: missing g++, unsupported operations, their own bugs
            out = self.eager(*args, **kwargs)  # a fault of the net itself is raised here again
            self.guard.failed = True
            reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
            self.guard.tell(f"the compiler failed at the first batch ({reason}); going on without it (--compile off)")
        self.proven = True
        return out


def decide(
    *,
    device: str = "auto",
    precision: str = "auto",
    memory_format: str = "auto",
    compile: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    side_px: int,
    in_memory: bool,
    machine: Facts | None = None,
) -> Engine:
    """The engine for images of `side_px` on this `machine` (looked at if not given).

    Raises UsageError for a word that does not exist and for a device or precision that the machine lacks.
    """
    machine = facts() if machine is None else machine
    for flag, count in (("--threads", threads), ("--workers", workers)):
        if count is not None and count < (flag == "--threads"):
            raise UsageError(f"{flag} {count}: give {'at least 1' if flag == '--threads' else '0 or more'}")
    on = _device(device, machine)
    kind = on.value.partition(":")[0]
    bits = _precision(precision, kind, side_px, machine)
    layout = _memory_format(memory_format, kind, bits.value)
    compiled = _compile(compile, kind)
    several = _threads(threads, kind, side_px, machine)
    if workers is None:
        workers = 0 if in_memory else machine.cores
        why = "the images are in memory" if in_memory else f"one reader for each of {machine.cores} cores"
    else:
        why = "asked for"
    readers = Decision("workers", str(workers), why, "--workers")
    return Engine(
        device=on.value,
        precision=bits.value,
        memory_format=layout.value,
        compile=compiled.value == "on",
        threads=int(several.value),
        workers=workers,
        decisions=(on, bits, layout, compiled, several, readers),
    )


def _device(asked: str, machine: Facts) -> Decision:
    kind, _, number = asked.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise unknown("device", asked, ("auto", "cpu", "cuda", "mps", "cuda:1"))
    if kind == "auto":
        value = "cuda" if machine.cuda else "mps" if machine.mps else "cpu"
        why = {"cuda": "a CUDA GPU is there", "mps": "an Apple GPU is there", "cpu": "no GPU is there"}[value]
        return Decision("device", value, why, "--device")
    if kind == "cuda" and int(number or 0) >= machine.cuda:
        raise UsageError(f"--device {asked}: this machine has {machine.cuda} CUDA GPUs; use --device auto")
    if kind == "mps" and not machine.mps:
        raise UsageError(f"--device {asked}: this machine has no Apple GPU that torch can use; use --device auto")
    return Decision("device", asked, "asked for", "--device")


def _precision(asked: str, kind: str, side_px: int, machine: Facts) -> Decision:
    if asked not in ("auto", *PRECISIONS):
        raise unknown("precision", asked, ("auto", *PRECISIONS))
    native = {"cpu": machine.cpu_bf16, "cuda": machine.cuda_bf16, "mps": False}[kind]
    if asked == "auto":
        value, why = _auto_precision(kind, side_px, native, machine.cpu_bf16_pays)
        return Decision("precision", value, why, "--precision")
    if asked == "bf16" and not native:
        raise UsageError(f"--precision bf16: this {kind.upper()} has no bf16 arithmetic; use --precision fp32")
    if asked == "fp16" and kind != "cuda":
        raise UsageError(f"--precision fp16 needs a CUDA GPU, not {kind}; use --precision fp32")
    return Decision("precision", asked, "asked for", "--precision")


def _auto_precision(kind: str, side_px: int, native_bf16: bool, pays: bool) -> tuple[str, str]:
    if kind == "mps":
        return "fp32", "Apple GPUs gain little from less"
    if kind == "cuda":
        return ("bf16", "the GPU has it") if native_bf16 else ("fp16", "with a loss scaler: the GPU has no bf16")
    if not native_bf16:
        return "fp32", "this CPU has no bf16 arithmetic"
    if not pays:
        return "fp32", "this CPU multiplies faster in it than in its bf16, as measured here"
    if side_px < CPU_BF16_FROM_PX:
        return "fp32", f"images of {side_px} px are too small to gain from bf16"
    return "bf16", f"this CPU has bf16 arithmetic, which is faster from {CPU_BF16_FROM_PX} px on"


def _memory_format(asked: str, kind: str, precision: str) -> Decision:
    if asked not in ("auto", *FORMATS):
        raise unknown("memory format", asked, ("auto", *FORMATS))
    if asked != "auto":
        return Decision("memory_format", asked, "asked for", "--memory-format")
    if kind == "cpu" or (kind == "cuda" and precision != "fp32"):
        return Decision("memory_format", "channels_last", "convolutions are faster in it here", "--memory-format")
    return Decision(
        "memory_format", "contiguous", f"torch's own; {precision} on {kind} gains nothing", "--memory-format"
    )


def _compile(asked: str, kind: str) -> Decision:
    if asked not in SWITCH:
        raise unknown("value of --compile", asked, SWITCH)
    if asked != "auto":
        return Decision("compile", asked, "asked for", "--compile")
    why = "compiling takes minutes on a CPU and saves little" if kind == "cpu" else "compiling pays only in long runs"
    return Decision("compile", "off", why, "--compile")


def _threads(asked: int | None, kind: str, side_px: int, machine: Facts) -> Decision:
    if asked is not None:
        return Decision("threads", str(asked), "asked for", "--threads")
    if kind == "cpu" and side_px < CPU_THREADS_FROM_PX:
        return Decision("threads", "1", f"images of {side_px} px are too small to share", "--threads")
    return Decision("threads", str(machine.threads), "torch's own", "--threads")
