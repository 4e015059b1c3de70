"""The command ``residua``: its verbs, and one place where errors become one line and an exit code."""

import os
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from residua.cli.archs import archs
from residua.cli.check import check
from residua.cli.convert import convert
from residua.cli.depth import app as depth
from residua.cli.describe import describe
from residua.cli.detect import app as detect
from residua.cli.eval import evaluate
from residua.cli.explain import explain as explain_pictures
from residua.cli.export import export
from residua.cli.help import Command, Group, show
from residua.cli.localize import app as localize
from residua.cli.predict import predict
from residua.cli.report import report
from residua.cli.serve import serve
from residua.cli.shard import shard
from residua.cli.study import study
from residua.cli.terminal import first, one_line
from residua.cli.train import train
from residua.cli.verify import verify
from residua.errors import Interrupted, Lost, ResiduaError
from residua.words import unknown

PIPE_CLOSED = 141  # what a shell reports for a program that a closed pipe ended: 128 + SIGPIPE
#: Of torchrun's processes the first says what went wrong, and all end; one that is still there so much later has met
#: an error of its own, and says it.
TURN_SECONDS = 5.0
#: How often a thread of torch's turns while it waits for the others, before it sleeps: about as long as waking it up
#: takes. OpenMP's own 300,000 last longer than a slice of time on a busy machine, in which the others could work: there
#: a net on two threads then took up to half as much processor time again, and answered later than on one (docs/log.md).
SPINS = "10000"

app = typer.Typer(name="residua", cls=Group, rich_markup_mode=None, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        from residua import __version__

        typer.echo(f"residua {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
def residua(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """Residual networks made real: train, measure and use every net of the ResNet story on your own pictures.

    Results go to stdout, progress to stderr. Exit codes: 0 ok, 2 usage, 3 a problem with the data,
    4 a numeric mismatch, 130 interrupted and saved.

    Examples:
      residua train                                      a net on handwritten digits, in half a minute
      residua train ./photos                             on your own pictures: a folder of class folders
      residua predict RUN/model.safetensors new/*.jpg    what is on these pictures?
    """
    if ctx.invoked_subcommand is None:
        show(ctx)


app.command("train", cls=Command)(train)
app.command("check", cls=Command)(check)
app.command("shard", cls=Command)(shard)
app.command("eval", cls=Command)(evaluate)
app.command("predict", cls=Command)(predict)
app.command("explain", cls=Command)(explain_pictures)
app.command("serve", cls=Command)(serve)
app.command("study", cls=Command)(study)
app.command("report", cls=Command)(report)
app.command("archs", cls=Command)(archs)
app.command("describe", cls=Command)(describe)
app.command("convert", cls=Command)(convert)
app.command("export", cls=Command)(export)
app.command("verify", cls=Command)(verify)
app.add_typer(detect)
app.add_typer(localize)
app.add_typer(depth)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    if "OMP_WAIT_POLICY" not in os.environ:  # read by OpenMP when torch is imported
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    sys.exit(run(sys.argv[1:] if argv is None else list(argv)))


def run(argv: Sequence[str]) -> int:
    """Run one command line; its exit code. Errors are one line on stderr, or a traceback with ``--debug``."""
    if "_RESIDUA_COMPLETE" in os.environ:
        app(prog_name="residua")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name need not be text in the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        _invoke(argv)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except typer.Exit as stop:
        return stop.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in argv and not isinstance(error, Interrupted | KeyboardInterrupt):
            traceback.print_exc()
        line, code = explain(error)
        if not (first() or isinstance(error, Lost)):
            if isinstance(error, Interrupted | KeyboardInterrupt):
                return code  # all are interrupted at once, and the first says where things stand
            time.sleep(TURN_SECONDS)
            line = f"process {os.environ['RANK']}: {line}"
        print(one_line(f"residua: {line}"), file=sys.stderr, flush=True)
        return code


def _invoke(argv: Sequence[str]) -> None:
    command = typer.main.get_command(app)
    with command.make_context("residua", list(argv)) as ctx:
        command.invoke(ctx)


def explain(error: BaseException) -> tuple[str, int]:
    """One line for the user, and the exit code."""
    if isinstance(error, Interrupted):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted", Interrupted.exit_code
    if isinstance(error, ResiduaError):
        return f"error: {error}", error.exit_code
    if hasattr(error, "format_message"):  # Typer's and Click's own, whichever of the two raised it
        return f"error: {_usage(error)}", 2
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"error: {error.strerror}{where}", 3
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "error: out of memory: try a smaller --batch-size or --image-size", 3
    return f"error: unexpected {type(error).__name__}: {error} (--debug shows where; this is a bug worth reporting)", 1


def _usage(error: Any) -> str:
    """Typer's complaint in our words: the option or value, what to do."""
    ctx, param = getattr(error, "ctx", None), getattr(error, "param", None)
    path = ctx.command_path if ctx else "residua"
    if type(error).__name__ == "NoSuchOption":
        known = (
            [o for p in ctx.command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")] if ctx else []
        )
        return str(unknown("option", error.option_name, [*known, "--help"], f"`{path} --help` lists them all"))
    if param is not None and type(error).__name__ == "BadParameter":
        return _value(error, param)
    message: str = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}: `{path} --help` shows how"


def _value(error: Any, param: Any) -> str:
    """What is wrong with the value of an option: ``--limit x: give a whole number of at least 1``."""
    problems = error.__cause__.errors() if hasattr(error.__cause__, "errors") else [{}]
    kind = "a whole number" if "integer" in error.message or isinstance(param.min, int) else "a number"
    least = f" of at least {param.min}" if getattr(param, "min", None) is not None else ""
    return f"{param.opts[0]} {problems[0].get('input', '')}: give {kind}{least}"
