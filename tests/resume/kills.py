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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: What time alone decides, in rows and documents.
TIMES = ("seconds", "images_per_second", "train_images_per_second", "waiting")
#: What the --out of a task is called after, where that is a file.
SUFFIX = {"predictions": ".csv"}

NET = ["--arch", "cifar_resnet20:1-1-1"]
COMMON = ["--threads", "1", "--save-every", "0", "--device", "cpu"]
BOXES = ["--epochs", "3", "--batch-size", "8", "--precision", "fp32", *COMMON]


@dataclass(frozen=True)
class Task:
    """A command to kill. `marker` in its --out says that it is to be resumed, by `again`; `compared` are its files."""

    words: tuple[str, ...]
    again: tuple[str, ...]
    compared: tuple[str, ...]
    marker: str = "config.toml"

    def command(self, out: Path, place: Path) -> list[str]:
        """To begin with `out`, or to go on with it; data and models lie in `place`."""
        begun = out.with_name(out.name + self.marker) if self.marker.startswith(".") else out / self.marker
        words = self.again if begun.is_file() else (*self.words, "--out", "{out}")
        return [w.format(out=out, place=place) for w in words]


def training(*verb: str, words: Sequence[str], tables: Sequence[str]) -> Task:
    """A training: its weights, rows and tables are compared."""
    compared = ("model.safetensors", "metrics.jsonl", "units.jsonl", "evaluation.json", *tables)
    return Task((*verb, "train", *words), (*verb, "train", "--resume", "{out}"), compared)


CLASSES = ("predictions.csv", "per_class.csv")
LAND = ("depth", "landscape", "{place}/model", "digits", "--resolution", "9", "--images", "256", "--threads", "1")
ASKED = ("predict", "{place}/model", "{place}/things", "--batch-size", "4", "--threads", "1")
TASKS = {
    "classifier": training(words=["digits", *NET, "--epochs", "3", "--limit", "600", *COMMON], tables=CLASSES),
    "averaged": training(
        words=["digits", *NET, "--epochs", "2", "--limit", "400", *COMMON, "--watch-units", "--set", "ema=0.9",
               "--set", "drop_depth=0.2", "--set", "clip_norm=1"], tables=CLASSES,
    ),
    "cached": training(
        words=["{place}/things/train", *NET, "--epochs", "3", "--batch-size", "4", "--workers", "1", *COMMON],
        tables=CLASSES,
    ),
    "detector": training("detect", words=["{place}/shapes", "--arch", "cifar_resnet20", *BOXES],
                         tables=["detections.csv", "per_class.csv"]),
    "localizer": training("localize", words=["{place}/things", *NET, *BOXES],
                          tables=["localizations.csv", "per_class.csv"]),
    "study": Task(
        ("study", "--depths", "8,14", "--seeds", "1", "--epochs", "1", "--limit", "300", "--set", "batch_size=32",
         "--jobs", "1", "--device", "cpu"),
        ("study", "--resume", "{out}"), ("results.json",), marker="study.json",  # cells.csv: the same with seconds
    ),
    "landscape": Task(LAND, (*LAND, "--resume", "{out}"), ("landscape.json", "landscape.jsonl"), "landscape.jsonl"),
    "predictions": Task(
        (*ASKED,), (*ASKED, "--out", "{out}", "--resume"), ("",), marker=".part",
    ),
}  # fmt: skip


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


def outcome(out: Path, task: Task) -> dict[str, str]:
    """What a command came to: digests of weights, documents and rows without times, tables as they are."""
    from residua.nn.modelfile import unseal
    from residua.training.saving import digest

    found = {}
    for name in task.compared:
        path = out / name if name else out
        if not path.exists():
            continue
        if path.suffix == ".safetensors":
            found[name] = digest(dict(sorted(unseal(path)[1].items())))
        elif path.suffix == ".jsonl":
            found[name] = json.dumps([timeless(json.loads(line)) for line in path.read_text().splitlines()])
        elif path.suffix == ".json":
            found[name] = json.dumps(timeless(json.loads(path.read_text())))
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found:
        raise RuntimeError(f"nothing in {out}")
    return found


def trial(task: Task, place: Path, out: Path, log: Path, takes: float, rng: random.Random, most: int) -> int:
    """Run a command with up to `most` kills on the way; how many there were."""
    kills = 0
    while True:
        words = task.command(out, place)
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
        elif out.is_file() and not out.with_name(f"{out.name}.part").exists():
            return kills  # it was killed when its file was whole
        else:
            there = sorted(str(p.relative_to(out)) for p in out.rglob("*")) if out.is_dir() else []
            raise RuntimeError(
                f"residua {' '.join(words)} ended with {code}: {log.read_text()[-2000:]}; there: {there}"
            )


def prepare(place: Path, log: Path) -> None:
    """Data and a model for all tasks."""
    from boxes.shapes import make as shapes
    from localize.conftest import make as things

    os.environ["RESIDUA_CACHE"] = str(place / "cache")
    shapes(place / "shapes")
    things(place / "things")
    finish(["train", "digits", *NET, "--epochs", "1", "--limit", "300", *COMMON, "--out", str(place / "model")], log)


def main(kills: int, most: int, seed: int, place: Path, names: list[str]) -> dict[str, object]:
    """Trials until there were so many kills."""
    import torch

    import residua.cli.main  # noqa: F401 - before the first fork

    torch.set_num_threads(1)
    rng, log = random.Random(seed), place / "log.txt"
    prepare(place, log)
    expected: dict[str, dict[str, str]] = {}
    takes: dict[str, float] = {}
    done, trials, different = 0, 0, []
    while done < kills:
        name = names[trials % len(names)]
        if name not in expected:
            whole = place / f"whole-{name}{SUFFIX.get(name, '')}"
            takes[name] = finish(TASKS[name].command(whole, place), log)
            expected[name] = outcome(whole, TASKS[name])
        out = place / f"trial-{trials}{SUFFIX.get(name, '')}"
        shutil.rmtree(place / "cache", ignore_errors=True)
        done += trial(TASKS[name], place, out, log, takes[name], rng, min(most, kills - done))
        found = outcome(out, TASKS[name])
        different += [f"{name} {key}" for key in expected[name] if found.get(key) != expected[name][key]]
        shutil.rmtree(out) if out.is_dir() else out.unlink()
        trials += 1
    return {"kills": done, "runs": trials, "differences": different, "seconds_uninterrupted": takes}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--most", type=int, default=6, help="of one run, before it is left to finish")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--task", action="append", choices=list(TASKS))
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))  # where the tests' own data come from
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(main(given.kills, given.most, given.seed, Path(folder), given.task or list(TASKS))))
