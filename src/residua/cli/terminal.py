"""What the user sees: results on stdout, progress on stderr, one JSON document when asked."""

import json
import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from residua.amounts import duration as duration
from residua.errors import one_line as one_line
from residua.files import escaped, finite

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def emit(document: Any) -> None:
    """Print one JSON document on stdout. Numbers that are not finite become null: JSON has no word for them."""
    print(as_json(document), flush=True)


def as_json(document: Any, indent: int | None = 2) -> str:
    """The document as JSON for people and programs, null for numbers that are not finite; in one line for None."""
    return escaped(json.dumps(finite(document), indent=indent, ensure_ascii=False, allow_nan=False))


def say(line: str) -> None:
    """Tell the user something on stderr, as one line."""
    print(one_line(line), file=sys.stderr, flush=True)


def first() -> bool:
    """Whether this process speaks: of those that torchrun started, the first does for all."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def results() -> "Console":
    """A console on stdout."""
    return _console(stderr=False)


def progress() -> "Console":
    """A console on stderr."""
    return _console(stderr=True)


def _console(stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # A pipe has no width: tables stay whole there instead of being cut at 80 columns.
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else 160)


def table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> "Table":
    """An empty table without a frame; the columns in `right` hold numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(
        box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def cell(text: str, style: str = "") -> "Text":
    """Words as they are: brackets in a user's names are no markup, and control characters are spelled out."""
    from rich.text import Text

    return Text(one_line(text), style)


def percent(fraction: float, digits: int = 2) -> str:
    """``0.0111`` as ``1.11 %``; a number that is not finite as a dash."""
    return f"{100 * fraction:.{digits}f} %" if math.isfinite(fraction) else "–"


def short(number: float) -> str:
    """``40551424`` as ``40.6 M``: three digits and a letter."""
    for factor, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            scaled = number / factor
            return f"{scaled:.{max(0, 2 - int(math.log10(scaled)))}f}{letter}"
    return f"{number:g}"


def counted(n: int, what: str) -> str:
    """``1 picture``, ``2,000 pictures``."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")
