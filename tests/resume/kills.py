"""Kill small trainings at random moments, go on, and compare what comes out with a training that nobody killed.

``python tests/resume/kills.py --kills 100`` prints one JSON line: kills, finished runs, differences. Children are
forked from one process that has torch loaded, so a kill costs a second, not ten.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

#: What time alone decides, in rows and documents.
TIMES = ("seconds", "images_per_second", "train_images_per_second", "waiting")
#: At most so many kills before a run is left to finish.
MOST = 6

TASKS = {
    "classifier": ["train", "digits", "--arch", "cifar_resnet20:1-1-1", "--epochs", "3", "--limit", "600"],
    "averaged": ["train", "digits", "--arch", "cifar_resnet20:1-1-1", "--epochs", "2", "--limit", "400",
                 "--set", "ema=0.9", "--set", "drop_depth=0.2", "--watch-units", "--set", "clip_norm=1"],
}  # fmt: skip
COMMON = ["--threads", "1", "--save-every", "0", "--device", "cpu"]


def child(words: list[str], log: Path) -> int:
    """Run a command of residua in a forked process; its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        from residua.cli.main import run

        code = run(words)
    finally:
        os._exit(code)


def ended(pid: int, seconds: float) -> int | None:
    """The exit code of a process that ends within so many seconds; None of one that does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Kill a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
    os.waitpid(pid, 0)


def finish(words: list[str], log: Path) -> float:
    """Run a command to its end; how long it takes. Raises RuntimeError where it fails."""
    began = time.monotonic()
    pid = child(words, log)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise RuntimeError(f"residua {' '.join(words)} ended with {code}: {log.read_text()[-2000:]}")
    return time.monotonic() - began


def timeless(value: object) -> object:
    """A document without what time alone decides."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def outcome(run: Path) -> dict[str, str]:
    """What a run came to: digests of its weights, and its rows and documents without times."""
    from residua.nn.modelfile import unseal
    from residua.training.states import digest

    _, weights = unseal(run / "model.safetensors")
    rows = [timeless(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = {
        "weights": digest(dict(sorted(weights.items()))),
        "rows": json.dumps(rows),
        "evaluation": json.dumps(timeless(json.loads((run / "evaluation.json").read_text()))),
    }
    if (run / "units.jsonl").exists():
        found["units"] = (run / "units.jsonl").read_text()
    for name in ("predictions.csv", "per_class.csv"):
        found[name] = hashlib.sha256((run / name).read_bytes()).hexdigest()
    return found


def trial(task: list[str], run: Path, log: Path, takes: float, rng: random.Random, most: int) -> int:
    """Train with up to `most` kills on the way; how many there were."""
    kills = 0
    while True:
        made = (run / "config.toml").is_file()
        words = [*task[:1], "--resume", str(run)] if made else [*task, *COMMON, "--out", str(run)]
        log.unlink(missing_ok=True)
        pid = child(words, log)
        # early and late moments are as likely: what is left gets shorter with every resumption
        wait = rng.uniform(0, takes) if kills < most else 600.0
        code = ended(pid, wait)
        if code is None:
            kill(pid)
            kills += 1
        elif code == 0 or "is finished" in log.read_text():
            return kills
        else:
            there = sorted(str(p.relative_to(run)) for p in run.rglob("*")) if run.exists() else []
            raise RuntimeError(
                f"residua {' '.join(words)} ended with {code}: {log.read_text()[-2000:]}; there: {there}"
            )


def main(kills: int, seed: int, place: Path, names: list[str]) -> dict[str, object]:
    """Trials until there were so many kills."""
    import torch

    import residua.cli.main  # noqa: F401 - before the first fork

    torch.set_num_threads(1)
    rng, log = random.Random(seed), place / "log.txt"
    expected, takes = {}, {}
    for name in names:
        takes[name] = finish([*TASKS[name], *COMMON, "--out", str(place / name)], log)
        expected[name] = outcome(place / name)
    done, trials, different = 0, 0, []
    while done < kills:
        name = names[trials % len(names)]
        run = place / f"trial-{trials}"
        done += trial(TASKS[name], run, log, takes[name], rng, min(MOST, kills - done))
        found = outcome(run)
        different += [f"{name} {key}" for key in found if found[key] != expected[name][key]]
        shutil.rmtree(run)
        trials += 1
    return {"kills": done, "runs": trials, "differences": different, "seconds_uninterrupted": takes}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--task", action="append", choices=list(TASKS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(main(given.kills, given.seed, Path(folder), given.task or list(TASKS))))
