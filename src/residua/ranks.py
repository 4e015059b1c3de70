"""One training in many processes: torchrun's environment, one group, and the few collective moves that it needs.

Floor 0. The processes are torchrun's (``torchrun --nproc-per-node 2 -m residua train ...``), the communication is
torch's: gloo between CPUs, NCCL between GPUs. With one process everything here does nothing.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from residua.errors import DataError, Lost, UsageError

Some = TypeVar("Some")

#: So long a process waits for the others before it says that they are gone, in seconds. `RESIDUA_TIMEOUT` changes it.
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Ranks:
    """This process's place among all of a training: `rank` of `world`. One process is alone."""

    rank: int = 0
    world: int = 1

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.world == 1

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of every process's tensor, in place."""
        if not self.alone:
            with waiting(self, "adding up"):
                distributed.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return flag if self.alone else bool(self.sum(torch.tensor([int(flag)])).item())

    def share(self, value: Some) -> Some:
        """The first process's value, in all of them: what one alone can decide."""
        if self.alone:
            return value
        given = [value if self.first else None]
        with waiting(self, "sharing"):
            distributed.broadcast_object_list(given, src=0)
        return given[0]  # type: ignore[return-value]

    def gather(self, value: Some) -> list[Some]:
        """Every process's value, in the order of their ranks, in all of them."""
        if self.alone:
            return [value]
        found: list[Any] = [None] * self.world
        with waiting(self, "gathering"):
            distributed.all_gather_object(found, value)
        return found

    def align(self, net: nn.Module) -> None:
        """The first process's buffers in all: without common norms each has running statistics of its own."""
        if not self.alone:
            with waiting(self, "comparing nets"):
                for buffer in net.buffers():
                    distributed.broadcast(buffer, 0)

    def parallel(self, net: nn.Module, *, parts_may_rest: bool = False) -> nn.Module:
        """The net as one of many that learn together: gradients are means over all processes. Itself if alone.

        `parts_may_rest`: of some batches not every parameter gets a gradient.
        """
        if self.alone:
            return net
        device = next(net.parameters()).device
        ids = [device.index] if device.type == "cuda" else None
        with waiting(self, "comparing nets"):
            made = DistributedDataParallel(
                net, device_ids=ids, gradient_as_bucket_view=True, find_unused_parameters=parts_may_rest
            )
        made.broadcast_buffers = False  # at every step: `align` makes them equal where they count
        return made


@contextmanager
def waiting(ranks: Ranks, what: str) -> Iterator[None]:
    """Others are needed within. Raises Lost, in one line, where they do not come."""
    try:
        yield
    except (RuntimeError, distributed.DistError) as e:
        if not distributed.is_initialized() or isinstance(e, torch.OutOfMemoryError):
            raise
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise Lost(
            f"process {ranks.rank} of {ranks.world} lost the others while {what} ({reason[:160]}): the run is whole up "
            f"to its last saved state; torchrun --max-restarts N goes on by itself"
        ) from e


def now() -> Ranks:
    """This process's place; alone where no group was made."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks()


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def many() -> bool:
    """Whether torchrun started several processes."""
    return launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def restarts() -> int:
    """How often torchrun has begun this training again, after a process was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if launched() else 0


def note() -> Path:
    """Where this machine's torchrun notes its training's run folder, so that it is found when it begins again."""
    job = "".join(c if c.isalnum() else "_" for c in os.environ.get("TORCHELASTIC_RUN_ID", ""))
    return Path(tempfile.gettempdir()) / f"residua-torchrun-{os.getppid()}-{job}"


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """This process within torchrun's group, where it was started by that; alone otherwise.

    Raises UsageError for what makes no group, DataError where the others do not come.
    """
    if not many():
        yield Ranks()
        return
    if not distributed.is_available():
        raise UsageError("this torch knows no other processes: run without torchrun")
    cuda = torch.cuda.is_available() and device != "cpu"
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        seconds = float(os.environ.get("RESIDUA_TIMEOUT", TIMEOUT_SECONDS))
        timeout = timedelta(seconds=seconds)
        store, rank, world = next(rendezvous("env://", timeout=timeout))
        # torchrun keeps its store: without a name for each attempt, addresses of those that died are still in it
        store = PrefixStore(f"residua/{restarts()}", store)
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
    except (RuntimeError, ValueError) as e:
        raise DataError(f"the other processes do not come: {str(e).splitlines()[0]}") from e
    try:
        yield now()
    finally:
        distributed.destroy_process_group()


class TogetherNorm(nn.BatchNorm2d):
    """Batch norm over the pictures of all processes: a training in many is then the one that a single would be.

    In evaluation, and alone, it is batch norm. Source: Zhang et al. 2018, arXiv:1803.08904 (cross-replica norms).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, by mean and deviation over all processes' pictures."""
        if not self.training or now().alone:
            return super().forward(x)
        out, mean, var, n = _Together.apply(x, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._remember(mean, var * (n / (n - 1).clamp(min=1)))
        return out  # type: ignore[no-any-return]

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(var.to(self.running_var.dtype), share)


class _Together(torch.autograd.Function):
    """x, weight, bias -> normalised x, and of all processes: mean (C,), biased variance (C,), numbers in a channel.

    Torch's own kernels do the passes over x; between them 2 C numbers travel, once forward and once backward.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        c = x.shape[1]
        zero, one = torch.zeros(c, device=x.device), torch.ones(c, device=x.device)  # so that statistics are fp32
        own_mean, own_var = (v.double() for v in torch.batch_norm_update_stats(x, zero, one, 0.0))
        mine = own_mean.new_tensor([x.numel() / c])
        total = now().sum(torch.cat([own_mean * mine, (own_var + own_mean.square()) * mine, mine]))
        n, wide = total[-1], total[:c] / total[-1]
        mean, var = wide.float(), (total[c : 2 * c] / n - wide.square()).clamp(min=0).float()
        n = n.float()
        out = functional.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps), mine.float() / n)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var, n)
        return out, mean, var, n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, invstd, share = ctx.saved_tensors
        own, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            grads[0], x, weight, None, None, mean, invstd, True, ctx.eps, [True, True, True]
        )
        # `own` takes this process's sums for those of all; what is missing is linear in x
        sums = torch.stack([of_weight, of_bias])
        apart = (sums - now().sum(sums.clone()) * share) / (x.numel() / x.shape[1])
        slope = weight * invstd.square() * apart[0]
        level = weight * invstd * apart[1] - slope * mean
        zero, one = torch.zeros_like(mean), torch.ones_like(mean)
        more = functional.batch_norm(x, zero, one, slope, level, training=False, eps=0.0)
        return own.add_(more), of_weight, of_bias, None


def together(net: nn.Module) -> nn.Module:
    """The net, its batch norms made to look at the pictures of all processes, in place; parameters stay as they are."""
    for m in net.modules():
        if type(m) is nn.BatchNorm2d and m.affine:
            m.__class__ = TogetherNorm
    return net
