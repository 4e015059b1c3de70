"""Half of a batch through a norm, in a process of its own: a module that such a process can import."""

import torch
from torch import nn

from residua.ranks import now, together


def norms(rank: int, world: int, port: int, folder: str) -> None:
    """In one of the processes: half of a batch through the norm, what comes out and the gradients written down."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    x, net = batch(), lively()
    together(net)
    share = slice(rank * len(x) // world, (rank + 1) * len(x) // world)
    mine = x[share].clone().requires_grad_()
    out = net(mine)
    # each process's loss is a mean of its own, and gradients are averaged: what DistributedDataParallel does
    (out * weights(x)[share]).sum().div(len(mine)).backward()
    grads = [p.grad for p in net.parameters()]
    for g in grads:
        torch.distributed.all_reduce(g)
        g /= world
    apart = nn.BatchNorm2d(1)
    apart.running_mean.fill_(rank + 1)
    now().align(apart)
    torch.save(
        {
            "out": out.detach(),
            "x": mine.grad / world,
            "grads": grads,
            "state": net.state_dict(),
            "aligned": apart.running_mean,
        },
        f"{folder}/{rank}.pt",
    )
    torch.distributed.destroy_process_group()


def batch() -> torch.Tensor:
    return torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1


def weights(x: torch.Tensor) -> torch.Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def lively() -> nn.Sequential:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3))
    with torch.no_grad():
        for norm in (net[1], net[3]):
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
    return net.train()
