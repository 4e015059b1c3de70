"""What one of several processes does in tests: a module that such a process can import."""

import os
import time

import torch

from residua.errors import DataError
from residua.job import processes
from residua.job.options import TrainOptions
from residua.ranks import joined


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


def begun_again(rank: int, world: int, port: int, first_late: float) -> None:
    """Join others twice at one store, as torchrun's workers do; the second time the first process comes later."""
    store = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    place = {"RANK": str(rank), "WORLD_SIZE": str(world), "TORCHELASTIC_RUN_ID": "none", "RESIDUA_TIMEOUT": "20"}
    for attempt in range(2):
        os.environ.update({**store, **place, "TORCHELASTIC_RESTART_COUNT": str(attempt)})
        if attempt and rank == 0:
            time.sleep(first_late)
        with joined("cpu") as ranks:
            assert ranks.gather(rank) == list(range(world))
