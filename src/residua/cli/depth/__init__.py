"""``residua depth``: what each unit does, and nets that become deeper or shallower."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from residua.cli.depth.deepen import deepen
from residua.cli.depth.landscape import landscape
from residua.cli.depth.lesion import lesion
from residua.cli.depth.measure import measure
from residua.cli.depth.prune import prune
from residua.cli.help import Command, Group, show
from residua.errors import DataError

app = typer.Typer(name="depth", cls=Group, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def depth(ctx: typer.Context) -> None:
    """Measure each unit of a net, leave units out, and make nets deeper or shallower.

    Works on any net of Residua, trained here or converted. The model is never changed; results go to a new folder or
    file.

    Examples:
      residua depth measure RUN digits
      residua depth lesion RUN digits --limit 500
      residua depth deepen RUN --add 2,2,2 --out deeper.safetensors
      residua depth prune RUN digits --units 3
      residua depth landscape RUN digits
    """
    if ctx.invoked_subcommand is None:
        show(ctx)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write one JSON document, and its folder if need be. Raises DataError where the disk refuses."""
    from residua.cli.terminal import as_json
    from residua.files import write

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise DataError(f"cannot write {path.parent}: {e.strerror}: choose another --out") from e
    write(path, (as_json(document) + "\n").encode())


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON object a line into a folder that exists. Raises DataError where the disk refuses."""
    from residua.cli.terminal import as_json
    from residua.files import write

    write(path, "".join(as_json(row, indent=None) + "\n" for row in rows).encode())


app.command("measure", cls=Command)(measure)
app.command("lesion", cls=Command)(lesion)
app.command("deepen", cls=Command)(deepen)
app.command("prune", cls=Command)(prune)
app.command("landscape", cls=Command)(landscape)
