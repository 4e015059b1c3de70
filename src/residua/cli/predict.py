"""``residua predict MODEL PATHS...``: what is on these pictures?"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from residua.cli.options import (
    Address,
    BatchSize,
    Debug,
    Device,
    Engine,
    Exact,
    Int8Data,
    Jobs,
    Json,
    Runtime,
    Threads,
    Tolerance,
    With,
)
from residua.errors import DataError, Interrupted, UsageError
from residua.runtimes.words import Int8

if TYPE_CHECKING:
    from residua.predict import Ensemble, Journal, Model, Prediction, Result, Spread

    Answering: TypeAlias = Model | Ensemble | Spread

WRITABLE = (".csv", ".json", ".parquet")
#: So many pictures are counted before a runtime is chosen; with more of them none is chosen otherwise.
COUNTED = 4096


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
    runtime: Runtime = "auto",
    int8: Int8Data = None,
    tolerance: Tolerance = 0.5,
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

    A few pictures are answered by the net as it is, with the very numbers of `residua eval`. For many, another runtime
    is prepared where that is done sooner, and kept in $RESIDUA_CACHE or ~/.cache/residua; which one is said on stderr.
    Before it answers it is asked about the same pictures as the net: in fp32 logits must be the same to rounding, and
    so must every answer. Nothing less exact is ever taken without being asked for by --precision or --int8.

    With --engine ray the machines of a Ray cluster answer side by side, one worker a machine or GPU: the same answers
    in the same order, to the last digit where they compute as this machine does. What one engine began the other can
    go on with. --threads 1 makes a worker of every core, which is faster and may differ in a last digit. On a cluster
    --runtime is eager unless it is named.

    Examples:
      residua predict runs/photos-resnet18-1 holiday/
      residua predict first.safetensors --with second.safetensors holiday/
      residua predict model.safetensors *.jpg --top 1 | cut -f 2 | sort | uniq -c
      find . -name '*.png' | residua predict model.safetensors - --out answers.csv
      residua predict model.safetensors archive/ --out answers.csv --runtime openvino --precision bf16
      residua predict model.safetensors archive/ --out answers.csv --int8 ./photos
      residua predict model.safetensors archive/ --out answers.parquet --engine ray --address head:6379
    """
    from residua.cli.files import model_file

    if resume and not out:
        raise UsageError("--resume goes on with the answers of --out FILE: name it")
    for flag, value in (("--address", address), ("--jobs", jobs)):
        if value is not None and engine != "ray":
            raise UsageError(f"{flag} is for a Ray cluster: say --engine ray as well")
    _check(runtime, precision, int8, engine)
    files = [model_file(m) for m in (model, *(also or ()))]
    target = _target(out) if out else None
    wanted = list(_wanted(paths))
    if not wanted:
        raise UsageError("no paths on stdin: give one a line")
    if resume and target is not None and runtime == "auto":
        runtime = _begun_with(target) or "auto"
    how = {"device": device, "precision": precision, "threads": threads}
    calibration = None if int8 is None else Int8(int8, tolerance)
    answered: Counter[bool] = Counter()  # how many results are answers, and how many are not
    with (
        _local(files, how | {"int8": calibration}, wanted, runtime)
        if engine == "local"
        else _spread(files, how | {"jobs": jobs}, address, runtime) as answering
    ):
        if target is not None:
            from residua.predict import Journal, asked

            about = asked(files, top) | _computing(answering, runtime) | {"int8": int8}
            journal = Journal(target, about, batch_size=batch_size, resume=resume)
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


def _check(runtime: str, precision: str, int8: str | None, engine: str) -> None:
    """Raise UsageError for what does not go together, before anything heavy is imported."""
    from residua.cli.export import named
    from residua.runtimes.words import check, check_precision

    if int8 is not None and engine == "ray":
        raise UsageError("--int8 is for --engine local: each machine would calibrate a net of its own")
    check(runtime, int8=int8 is not None)
    check_precision(runtime, precision)
    named(int8)


@contextmanager
def _local(files: Sequence[Path], how: dict[str, Any], wanted: Sequence[str], runtime: str) -> "Iterator[Answering]":
    """What answers on this machine."""
    from residua.cli.files import called
    from residua.cli.live import waiting
    from residua.cli.terminal import say

    told: list[str] = []
    with waiting("loading the model, choosing what computes"):
        from residua.predict import pictures, together
        from residua.runtimes import loading
        from residua.runtimes.choosing import MANY

        n = sum(1 for _ in islice(pictures(wanted), COUNTED)) if runtime == "auto" else COUNTED
        models = [loading.load(f, runtime=runtime, **how, pictures=n, tell=told.append) for f in files]
        decisions = [loading.decision_of(m) for m in models]
        if (runtime == "auto" and n >= MANY) or any(d.value != "eager" for d in decisions):
            of = [f" of {called(f)}" if len(files) > 1 else "" for f in files]
            told += [f"{d.what}{name}: {d.value} ({d.why}; {d.flag})" for name, d in zip(of, decisions, strict=True)]
    for line in dict.fromkeys(told):
        say(f"residua: {line}")
    yield together(models)


def _computing(answering: "Answering", asked: str) -> dict[str, list[str]]:
    """The runtime and precision of each model: answers of one are not gone on with by another."""
    from residua.predict import Ensemble, Model
    from residua.runtimes.loading import runtime_of

    if isinstance(answering, Model | Ensemble):
        models = answering.models if isinstance(answering, Ensemble) else (answering,)
        return {"runtime": [runtime_of(m) for m in models], "precision": [m.engine.precision for m in models]}
    n = len(answering.files)
    return {"runtime": ["eager" if asked == "auto" else asked] * n, "precision": [answering.precision] * n}


def _begun_with(target: Path) -> str | None:
    """The runtime that an interrupted command had chosen for all models."""
    from residua.predict import begun

    found = begun(target).get("runtime")
    return found[0] if isinstance(found, list) and found and found == found[:1] * len(found) else None


@contextmanager
def _spread(files: Sequence[Path], how: dict[str, Any], address: str | None, runtime: str) -> "Iterator[Answering]":
    """What answers on a cluster, which is joined or started meanwhile."""
    from residua.cli.live import waiting

    with waiting(f"joining the Ray cluster at {address}" if address else "starting a Ray cluster"):
        from residua.cluster import joined
        from residua.predict import spread
        from residua.runtimes import loading

        if runtime not in ("auto", "eager"):
            how = how | {"loading": partial(loading.load, runtime=runtime)}
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
