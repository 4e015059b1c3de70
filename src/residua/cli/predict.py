"""``residua predict MODEL PATHS...``: what is on these pictures?"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from residua.cli.options import Address, BatchSize, Debug, Device, Engine, Exact, Jobs, Json, Threads, With
from residua.errors import DataError, Interrupted, UsageError

if TYPE_CHECKING:
    from residua.predict import Ensemble, Journal, Model, Prediction, Result, Spread

    Answering: TypeAlias = Model | Ensemble | Spread

WRITABLE = (".csv", ".json", ".parquet")


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATHS...", help="pictures, folders or shards of pictures, or - for one path a line from stdin"
        ),
    ],
    also: With = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="classes to name for each picture")] = 5,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="write the answers to a new .csv, .json or .parquet file"),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="with --out: go on where the same command was interrupted or killed"),
    ] = False,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    precision: Exact = "fp32",
    threads: Threads = None,
    engine: Engine = "local",
    address: Address = None,
    jobs: Jobs = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Name what is on pictures, with probabilities.

    One line a picture: for people on a terminal, with tabs between the fields elsewhere.

    The model file knows its classes and how a picture becomes a tensor; nothing else is needed. A picture that cannot
    be read is named on stderr, all others are answered, and the command ends with exit code 3. With --out, answers are
    kept in FILE.part as they come; --resume goes on with them, without a gap and without asking twice.

    With --engine ray the machines of a Ray cluster answer side by side, one worker a machine or GPU: the same answers
    in the same order, to the last digit where they compute as this machine does. What one engine began the other can
    go on with. --threads 1 makes a worker of every core, which is faster and may differ in a last digit.

    Examples:
      residua predict runs/photos-resnet18-1 holiday/
      residua predict first.safetensors --with second.safetensors holiday/
      residua predict model.safetensors *.jpg --top 1 | cut -f 2 | sort | uniq -c
      find . -name '*.png' | residua predict model.safetensors - --out answers.csv
      residua predict model.safetensors archive/ --out answers.parquet --engine ray --address head:6379
    """
    from residua.cli.files import model_file

    if resume and not out:
        raise UsageError("--resume goes on with the answers of --out FILE: name it")
    for flag, value in (("--address", address), ("--jobs", jobs)):
        if value is not None and engine != "ray":
            raise UsageError(f"{flag} is for a Ray cluster: say --engine ray as well")
    files = [model_file(m) for m in (model, *(also or ()))]
    target = _target(out) if out else None
    wanted = list(_wanted(paths))
    if not wanted:
        raise UsageError("no paths on stdin: give one a line")
    how = {"device": device, "precision": precision, "threads": threads}
    answered: Counter[bool] = Counter()  # how many results are answers, and how many are not
    with _local(files, how) if engine == "local" else _spread(files, how | {"jobs": jobs}, address) as answering:
        if target is not None:
            from residua.predict import Journal, asked

            journal = Journal(target, asked(files, top), batch_size=batch_size, resume=resume)
            _answer(answering, wanted, target, journal, top, answered)
            if json:
                _emit(list(journal.results()), target)
            else:
                print(f"wrote {target}")
            journal.close()
        else:
            from residua.predict import pictures

            results = _named(answering.answered(pictures(wanted), top=top, batch_size=batch_size), answered)
            _emit(list(results), None) if json else _show(results, answering.classes)
    from residua.cli.terminal import counted

    if failed := answered[False]:
        raise DataError(f"{failed:,} of {counted(answered.total(), 'picture')} could not be read (named above)")


@contextmanager
def _local(files: Sequence[Path], how: dict[str, Any]) -> "Iterator[Answering]":
    """What answers on this machine."""
    from residua.cli.live import waiting

    with waiting("loading the model"):
        from residua.predict import load, together

        model = together([load(f, **how) for f in files])
    yield model


@contextmanager
def _spread(files: Sequence[Path], how: dict[str, Any], address: str | None) -> "Iterator[Answering]":
    """What answers on a cluster, which is joined or started meanwhile."""
    from residua.cli.live import waiting

    with waiting(f"joining the Ray cluster at {address}" if address else "starting a Ray cluster"):
        from residua.cluster import joined
        from residua.predict import spread

        make = spread(files, **how)  # what is wrong with them is said before anything is started
        cluster = joined(address, device=how["device"])
    try:
        yield make(cluster)
    finally:
        cluster.close()


def _answer(
    model: "Answering", wanted: Sequence[str], target: Path, journal: "Journal", top: int, answered: Counter[bool]
) -> None:
    """Answer what is not answered yet, and write all of it. Raises Interrupted after Ctrl-C."""
    from residua.predict import pictures, write

    try:
        for _ in _named(journal.results(), answered):  # of the first go
            pass
        items = journal.skipping(pictures(wanted))
        results = model.answered(items, top=top, batch_size=journal.batch_size)
        for _ in _named(journal.keep(results), answered):
            pass
        write(journal.results(), target)
    except KeyboardInterrupt:
        kept = f"{journal.done:,} answers are kept in {journal.path}"
        raise Interrupted(f"stopped; {kept}: the same command with --resume goes on") from None


def _named(results: "Iterable[Result]", answered: Counter[bool]) -> "Iterator[Result]":
    """The same results, counted in `answered`; what could not be read is named on stderr at once."""
    from residua.cli.terminal import say
    from residua.predict import Failure

    for result in results:
        answered[not isinstance(result, Failure)] += 1
        if isinstance(result, Failure):
            say(f"residua: cannot read {result}")
        yield result


def _target(out: str) -> Path:
    from residua.cli.files import fresh

    path = fresh(out, "answers")
    if path.suffix.lower() not in WRITABLE:
        raise UsageError(f"--out {out}: answers are written to {', '.join(WRITABLE)}")
    return path


def _wanted(paths: Sequence[str]) -> Iterator[str]:
    """The paths, with those of stdin in place of ``-``."""
    for path in paths:
        if path != "-":
            yield path
            continue
        for line in sys.stdin.buffer:
            if name := line.rstrip(b"\r\n"):
                yield os.fsdecode(name)


def _emit(results: "Sequence[Result]", target: Path | None) -> None:
    from dataclasses import asdict

    from residua.cli.terminal import emit
    from residua.predict import Failure

    emit(
        {
            "predictions": [asdict(r) for r in results if not isinstance(r, Failure)],
            "failures": [asdict(r) for r in results if isinstance(r, Failure)],
            "out": str(target) if target else None,
        }
    )


def _show(results: "Iterable[Result]", classes: Sequence[str]) -> None:
    """The answers as they come."""
    from residua.predict import Failure

    answers = (r for r in results if not isinstance(r, Failure))
    if sys.stdout.isatty():
        _rows(answers, min(24, max(map(len, classes))))
        return
    for answer in answers:
        pairs = zip(answer.classes, answer.probabilities, strict=True)
        print("\t".join(map(_field, (answer.path, *(v for c, p in pairs for v in (c, f"{p:.6f}"))))))


def _field(text: str) -> str:
    from residua.cli.terminal import one_line

    return one_line(text)


def _rows(answers: "Iterable[Prediction]", label: int) -> None:
    """One line a picture: its name, the best class (in `label` columns) with a bar, the next ones."""
    from rich.text import Text

    from residua.cli.results import bar_of
    from residua.cli.terminal import cell, results

    console = results()
    names = min(44, max(16, console.width * 2 // 5))
    for answer in answers:
        name = cell(answer.path)
        if len(name) > names:
            name = Text("…") + name[len(name) - names + 1 :]
        name.pad_right(max(0, names - len(name)))
        best = cell(answer.label, "bold")
        best.truncate(label, overflow="ellipsis", pad=True)
        rest = ", ".join(
            f"{c} {100 * p:.1f} %"
            for c, p in zip(answer.classes[1:], answer.probabilities[1:], strict=True)
            if p >= 0.0005
        )
        line = Text.assemble(
            name,
            "  ",
            best,
            f" {100 * answer.probability:5.1f} % ",
            (f"{bar_of(answer.probability, 8):8}", "green"),
            "  ",
            (rest, "dim"),
        )
        line.truncate(console.width, overflow="ellipsis")
        console.print(line)
