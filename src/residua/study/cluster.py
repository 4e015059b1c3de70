"""The cells of a study as tasks of a Ray cluster: the one at an address, or one that is started on this machine."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residua.errors import DataError, UsageError
from residua.study.engines import Message

#: Seconds that a cell's worker may take to hear that it shall stop.
GRACE = 60.0


class Cluster:
    """An engine whose slots are the cluster's cores, or its GPUs where it has any.

    Every machine of a cluster must have Residua installed and must see the study's folder (and the data) under the same
    path: cells write their run folders there themselves.
    """

    def __init__(self, *, cells: int, jobs: int | None, threads: int, address: str | None, device: str) -> None:
        """Join the cluster at `address`, or start one. Raises UsageError without Ray, DataError without a cluster."""
        try:
            import ray
            from ray.util.queue import Queue
        except ImportError as e:
            raise UsageError("--engine ray needs Ray, which is not installed: pip install 'residua[ray]'") from e
        self.ray = ray
        self.ours = not ray.is_initialized()
        try:
            if self.ours:
                ray.init(address=address, include_dashboard=None if address else False, log_to_driver=False,
                         logging_level=logging.ERROR)  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as e:
            raise DataError(f"no Ray cluster at {address or 'this machine'}: {str(e).splitlines()[0]}") from e
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = int(has.get("GPU", 0)) if device in ("auto", "cuda") else 0
        at_a_time = gpus or max(1, int(has.get("CPU", 1)) // threads)
        self.slots = max(1, min(cells, jobs or at_a_time))
        self.where = f"a Ray cluster of {int(has.get('CPU', 0))} cores" + (f" and {gpus} GPUs" if gpus else "")
        self.inbox = Queue(actor_options={"num_cpus": 0})
        self.at_work: dict[str, Any] = {}
        self.remote = ray.remote(num_cpus=threads, num_gpus=1 if gpus else 0, max_retries=0)(_train)

    def begin(self, task: Mapping[str, Any]) -> None:
        """Hand the task to the cluster."""
        task = dict(task) | {"folder": str(Path(task["folder"]).resolve())}
        self.at_work[task["cell"]] = self.remote.remote(task, self.inbox)

    def next(self, seconds: float) -> Message | None:
        """The next message; of a task whose worker died, that it failed."""
        from ray.util.queue import Empty

        try:
            message: Message = self.inbox.get(timeout=seconds)
        except Empty:
            return self._died()
        if message["event"] in ("finished", "failed", "stopped"):
            self.at_work.pop(message["cell"], None)
        return message

    def _died(self) -> Message | None:
        ended, _ = self.ray.wait(list(self.at_work.values()), timeout=0) if self.at_work else ([], [])
        for cell, ref in list(self.at_work.items()):
            if ref not in ended:
                continue
            try:
                self.ray.get(ref)
            except self.ray.exceptions.TaskCancelledError:
                message: Message = {"cell": cell, "event": "stopped"}
            except Exception as e:  # whatever the cluster says of a lost worker
                line = (str(e).strip().splitlines() or [type(e).__name__])[0]
                message = {"cell": cell, "event": "failed", "exit_code": 3, "error": f"its worker was lost: {line}"}
            else:
                continue  # its last message is on the way
            del self.at_work[cell]
            return message
        return None

    def stop(self) -> None:
        """Interrupt every task as Ctrl-C would: it saves and ends."""
        for ref in self.at_work.values():
            self.ray.cancel(ref, force=False)

    def close(self) -> None:
        """End what is left, and the cluster if it was started here."""
        for ref in self.at_work.values():
            self.ray.cancel(ref, force=True)
        self.inbox.shutdown(force=True)
        if self.ours:
            self.ray.shutdown()


def _train(task: Mapping[str, Any], inbox: Any) -> None:
    """Train a task on a worker of the cluster."""
    import torch

    from residua.study.cell import training

    if torch.get_num_threads() != task["options"]["threads"]:
        torch.set_num_threads(task["options"]["threads"])
    for message in training(task):
        inbox.put({"cell": task["cell"]} | message)
