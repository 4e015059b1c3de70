"""Where the cells of a study are trained: processes of this machine, each with its threads or its GPU."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

Message = dict[str, Any]

#: Seconds that a process gets to save what it is training.
GRACE = 60.0


class Engine(Protocol):
    """Trains tasks side by side and says how it goes; every task ends with finished, failed or stopped."""

    slots: int
    where: str

    def begin(self, task: Mapping[str, Any]) -> None:
        """Train a task; there must be a free slot."""

    def next(self, seconds: float) -> Message | None:
        """The next message, or None where none comes in time."""

    def stop(self) -> None:
        """Ask every task to save and end; their last messages still come."""

    def close(self) -> None:
        """End everything."""


@dataclass(eq=False)
class Worker:
    """A process that trains one task after the other; torch is imported once. `task` is the one it is at."""

    process: "subprocess.Popen[str]"
    log: IO[bytes]
    task: str | None = None
    reader: threading.Thread = field(default_factory=threading.Thread)

    def end(self) -> None:
        """End the process; one that trains may save first."""
        if self.task is None:
            self.process.kill()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            with suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()

    def last_words(self) -> str:
        """The last line that the process wrote on stderr."""
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


@dataclass(eq=False)
class Local:
    """Processes of this machine. With `gpus`, slot i sees GPU i of them only."""

    slots: int
    threads: int
    gpus: Sequence[str] = ()
    where: str = ""
    workers: "list[Worker | None]" = field(init=False)
    inbox: "queue.Queue[tuple[int, Worker, Message | None]]" = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        """No process runs before it is needed."""
        self.workers = [None] * self.slots

    def begin(self, task: Mapping[str, Any]) -> None:
        """Give the task to an idle process, or to a new one."""
        slot = next(i for i, w in enumerate(self.workers) if w is None or w.task is None)
        worker = self.workers[slot]
        if worker is None or worker.process.poll() is not None:
            worker = self.workers[slot] = self._start(slot)
        worker.task = task["cell"]
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(json.dumps(task) + "\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: its reader says so

    def _start(self, slot: int) -> Worker:
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        log = tempfile.TemporaryFile()  # noqa: SIM115 -- closed with the worker
        process = subprocess.Popen(
            [sys.executable, "-m", "residua.study.cell"], env=environment, text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            start_new_session=True,  # Ctrl-C is for the study, which tells its processes
        )  # fmt: skip
        worker = Worker(process, log)
        worker.reader = threading.Thread(target=self._read, args=(slot, worker), daemon=True)
        worker.reader.start()
        return worker

    def _read(self, slot: int, worker: Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            self.inbox.put((slot, worker, json.loads(line)))
        self.inbox.put((slot, worker, None))

    def next(self, seconds: float) -> Message | None:
        """The next message; of a process that died, that its task failed."""
        try:
            slot, worker, message = self.inbox.get(timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            return self._died(slot, worker)
        if message["event"] in ("finished", "failed", "stopped"):
            worker.task = None
        return message

    def _died(self, slot: int, worker: Worker) -> Message | None:
        code, task = worker.process.wait(), worker.task
        words = worker.last_words() if task is not None else ""
        if self.workers[slot] is worker:
            self.workers[slot] = None
            worker.task = None
            worker.end()
        if task is None:
            return None
        if -code in (signal.SIGTERM, signal.SIGINT):
            return {"cell": task, "event": "stopped"}
        how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return {
            "cell": task,
            "event": "failed",
            "exit_code": 3,
            "error": f"its process was {how}: {words}".rstrip(": "),
        }

    def stop(self) -> None:
        """Ask every process at work to save and end."""
        for worker in self.workers:
            if worker is not None and worker.task is not None:
                worker.process.terminate()

    def close(self) -> None:
        """End every process."""
        self.stop()
        for worker in self.workers:
            if worker is not None:
                worker.end()


def local(*, cells: int, jobs: int | None, threads: int, device: str) -> Local:
    """The engine of this machine for so many cells: a slot for each GPU, else for each share of the cores."""
    gpus = visible_gpus(device)
    cores = available_cores()
    slots = min(cells, jobs or len(gpus) or (1 if device.startswith("mps") else max(1, cores // threads)))
    slots = max(1, slots)
    if gpus:
        on = f"{min(slots, len(gpus))} GPU" + "s" * (min(slots, len(gpus)) > 1)
    else:
        on = f"{cores} cores, {threads} thread" + "s" * (threads > 1) + " each"
    return Local(slots, threads, gpus, where=on)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus(device: str) -> list[str]:
    """The CUDA devices to use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    kind, _, number = device.partition(":")
    if kind not in ("auto", "cuda"):
        return []
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [n.strip() for n in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if n.strip()]
    names = named if len(named) == count else [str(i) for i in range(count)]
    return [names[int(number)]] if number and int(number) < count else names if not number else []
