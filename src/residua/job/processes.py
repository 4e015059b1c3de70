"""A training in many processes of torchrun's: one of them writes, and all find the run again after one was lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from residua.engine import Decision
from residua.errors import DataError
from residua.files import write
from residua.ranks import Ranks, launched, note, now, restarts
from residua.training.run import Aside, Run, free_name


class Placed(Protocol):
    """What every set of options says of run folders."""

    @property
    def out(self) -> str | None:
        """Where to write a new one."""

    @property
    def resume(self) -> str | None:
        """Which one to go on with."""


#: Options that each machine answers for itself.
OWN = ("data", "root", "threads", "workers", "cache_size")

Some = TypeVar("Some", bound=Placed)


def begun_before(options: Some, ranks: Ranks, resumed: Callable[[str], Some]) -> Some:
    """The options; where torchrun begins a training again that lost a process, those to go on with its run folder."""
    if ranks.alone and not restarts():
        return options
    own = note().read_text(encoding="utf-8") if restarts() and note().is_file() else ""
    noted = next((found for found in ranks.gather(own) if found), "")  # a machine that is new has none
    if noted and options.resume is None and (Path(noted) / "config.toml").is_file():
        return resumed(noted)
    return options


def made(options: Placed, name: tuple[str, ...]) -> Run:
    """The run folder of a new training, named after some words: the first process's; the others write aside."""
    ranks = now()
    run = Run.create(options.out or free_name(*name)) if ranks.first else Aside()
    folder = ranks.share(str(run.folder.resolve()))
    if launched():
        write(note(), folder.encode())
    return run


def opened(folder: str) -> Run:
    """The run folder of a training that goes on: the first process's; the others write aside."""
    return Run.open(folder) if now().first else Aside()


def saved(run: Run) -> tuple[dict[str, Any], str | None]:
    """The state that the first process finds, and what there is to say of it, in all of them."""
    ranks = now()
    return ranks.share(run.load_state() if ranks.first else ({}, None))


def check_same(data: str, options: Placed) -> None:
    """Raise DataError, in all processes, where one sees other data than the first (by fingerprint), or was asked for
    something else; where a machine keeps its data, and how it reads them, is its own."""
    ranks = now()
    if ranks.alone:
        return
    words = repr({k: v for k, v in vars(options).items() if k not in OWN})
    every = ranks.gather((data, words))
    for what, i in (("sees other data", 0), ("was given other options", 1)):
        if others := [str(r) for r, found in enumerate(every) if found[i] != every[0][i]]:
            raise DataError(
                f"process {', '.join(others)} of {ranks.world} {what} than process 0: "
                f"every machine needs the same pictures, and the same command"
            )


def norm_decision(sync: str) -> Decision:
    """What is said of the norms of a training in many processes, by what ``--sync-norm`` asks for."""
    if sync == "off":
        return Decision("sync_norm", "off", "norms look at each process's own pictures, as asked for", "--sync-norm on")
    why = "the numbers are then those of one process, up to rounding; off is faster"
    return Decision("sync_norm", "on", why, "--sync-norm off")


def ended() -> None:
    """The training is done: nothing is to be found again."""
    if launched():
        note().unlink(missing_ok=True)
