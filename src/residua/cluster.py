"""A Ray cluster: the one at an address, or one that is started on this machine and ends with the command.

Floor 0. Ray is an extra, imported when a cluster is wanted. What it has to say stays out of the user's terminal, and a
cluster that is started here tells nobody of it.
"""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from residua.errors import DataError, UsageError

#: Seconds that the machine of an address may take to answer. Ray itself tries for minutes.
ANSWER_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class Cluster:
    """A cluster that this process has joined. `gpus` are those that may be used; `ours`: it was started here."""

    ray: Any
    nodes: Sequence[Mapping[str, float]]
    gpus: int
    ours: bool

    @property
    def cores(self) -> int:
        """The cores of all machines."""
        return int(sum(n.get("CPU", 0) for n in self.nodes))

    @property
    def where(self) -> str:
        """What it is, in words."""
        return f"a Ray cluster of {self.cores} cores" + (f" and {self.gpus} GPUs" if self.gpus else "")

    @property
    def cores_of_one(self) -> int:
        """How many cores a single task can have: those of the largest machine; of a GPU, its share of its machine's."""
        if self.gpus:
            return min(int(n.get("CPU", 0) // n["GPU"]) for n in self.nodes if n.get("GPU", 0) >= 1)
        return max(int(n.get("CPU", 0)) for n in self.nodes)

    def slots(self, threads: int) -> int:
        """How many tasks of `threads` cores run at a time; one for each GPU where there are any."""
        return self.gpus or max(1, sum(int(n.get("CPU", 0)) // threads for n in self.nodes))

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        if self.ours:
            self.ray.shutdown()


def joined(address: str | None, *, device: str = "auto") -> Cluster:
    """The cluster at `address`, or one of this machine's cores and GPUs, started now.

    GPUs are taken where there are any, save for another `device`. A cluster that this process has joined before stays
    as it is. Raises UsageError without Ray and for GPUs that are not there, DataError where there is no cluster.
    """
    if ":" in device:
        raise UsageError(f"--device {device}: a cluster chooses the GPU: use --device cuda")
    # under `uv run` Ray would pack the working folder, whatever lies in it, and send it to the cluster
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError as e:
        raise UsageError("--engine ray needs Ray, which is not installed: pip install 'residua[ray]'") from e
    ours = not ray.is_initialized()
    if ours:
        _init(ray, address)
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]  # type: ignore[no-untyped-call]
    gpus = int(sum(n.get("GPU", 0) for n in nodes)) if device in ("auto", "cuda") else 0
    cluster = Cluster(ray, nodes, gpus, ours)
    if device == "cuda" and not gpus:
        cluster.close()
        raise UsageError(f"--device cuda: {address or 'this machine'} has no GPU that Ray knows of; use --device auto")
    return cluster


def _init(ray: Any, address: str | None) -> None:
    if address is not None:
        _answers(address)
    else:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        # "local": with None Ray would join whatever runs on this machine, or wait for what ran there last
        ray.init(address=address or "local", include_dashboard=None if address else False, log_to_driver=False,
                 logging_level=logging.ERROR)  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as e:
        line = (str(e).splitlines() or [type(e).__name__])[0]
        if "AuthenticationError" in f"{e.__cause__}":
            line = "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where this machine has none"
        raise DataError(f"no way to a Ray cluster at {address or 'this machine'}: {line}") from e


def _answers(address: str) -> None:
    """Raise DataError where nobody answers at HOST:PORT; Ray's own words for an address pass."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as e:
        why = getattr(e, "strerror", None) or e
        raise DataError(
            f"no Ray cluster at {address}: {str(why).lower()}: `ray start --head` prints its address"
        ) from e
