"""``residua predict MODEL PATHS...``: what is on these pictures?"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from residua.cli.options import BatchSize, Debug, Device, Exact, Json, Threads, With
from residua.errors import DataError, UsageError

if TYPE_CHECKING:
    from residua.predict import Prediction, Result

WRITABLE = (".csv", ".json", ".parquet")


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model file, or a run folder")],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATHS...", help="pictures, folders of pictures, or - for one path a line from stdin"),
    ],
    also: With = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="classes to name for each picture")] = 5,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="write the answers to a new .csv, .json or .parquet file"),
    ] = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    precision: Exact = "fp32",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Name what is on pictures, with probabilities.

    One line a picture: for people on a terminal, with tabs between the fields elsewhere.

    The model file knows its classes and how a picture becomes a tensor; nothing else is needed. A picture that cannot
    be read is named on stderr, all others are answered, and the command ends with exit code 3.

    Examples:
      residua predict runs/photos-resnet18-1 holiday/
      residua predict first.safetensors --with second.safetensors holiday/
      residua predict model.safetensors *.jpg --top 1 | cut -f 2 | sort | uniq -c
      find . -name '*.png' | residua predict model.safetensors - --out answers.csv
    """
    from residua.cli.files import model_file

    files = [model_file(m) for m in (model, *(also or ()))]
    target = _target(out) if out else None
    wanted = list(_wanted(paths))
    if not wanted:
        raise UsageError("no paths on stdin: give one a line")
    from residua.cli.live import waiting

    with waiting("loading the model"):
        from residua.predict import load, together, write

        loaded = together([load(f, device=device, precision=precision, threads=threads) for f in files])
    asked: list[bool] = []  # of each result, whether it is an answer
    results = _named(loaded.stream(wanted, top=top, batch_size=batch_size), asked)
    if json:
        listed = list(results)
        if target is not None:
            write(listed, target)
        _emit(listed, target)
    elif target is not None:
        write(results, target)
        print(f"wrote {target}")
    else:
        _show(results, loaded.classes)
    from residua.cli.terminal import counted

    if failed := asked.count(False):
        raise DataError(f"{failed:,} of {counted(len(asked), 'picture')} could not be read (named above)")


def _named(results: "Iterable[Result]", answered: list[bool]) -> "Iterator[Result]":
    """The same results, noted in `answered`; what could not be read is named on stderr at once."""
    from residua.cli.terminal import say
    from residua.predict import Failure

    for result in results:
        answered.append(not isinstance(result, Failure))
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
