"""What one of several processes does in tests: a module that such a process can import."""

import torch

from residua.errors import DataError
from residua.job import processes
from residua.job.options import TrainOptions


def differ(rank: int, world: int, port: int, folder: str) -> None:
    """Say what is said where the last process sees other data, and where it was given other options."""
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    last = rank == world - 1
    asked = [
        ("same", TrainOptions(data="digits", root=f"{folder}/{rank}", threads=rank + 1)),
        ("other" if last else "same", TrainOptions(data="digits")),
        ("same", TrainOptions(data="digits", seed=int(last))),
    ]
    told = []
    for data, options in asked:
        try:
            processes.check_same(data, options)
            told.append("")
        except DataError as e:
            told.append(str(e))
    torch.save(told, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
