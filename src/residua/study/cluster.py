"""The cells of a study as tasks of a Ray cluster: the one at an address, or one that is started on this machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residua.cluster import joined
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
        self.cluster = joined(address, device=device.partition(":")[0])
        from ray.util.queue import Queue

        self.ray, gpus = self.cluster.ray, self.cluster.gpus
        self.slots = max(1, min(cells, jobs or self.cluster.slots(threads)))
        self.where = self.cluster.where
        self.inbox = Queue(actor_options={"num_cpus": 0})
        self.at_work: dict[str, Any] = {}
        self.remote = self.ray.remote(num_cpus=threads, num_gpus=1 if gpus else 0, max_retries=0)(_train)

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
        self.cluster.close()


def _train(task: Mapping[str, Any], inbox: Any) -> None:
    """Train a task on a worker of the cluster."""
    import torch

    from residua.study.cell import training

    if torch.get_num_threads() != task["options"]["threads"]:
        torch.set_num_threads(task["options"]["threads"])
    for message in training(task):
        inbox.put({"cell": task["cell"]} | message)
