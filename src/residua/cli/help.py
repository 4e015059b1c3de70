"""The help of a command, as rows (for docs/) and as text (for the terminal). Needs no rich, so it is quick."""

import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from residua.words import unknown

MOST_COLUMNS = 112
BOLD, DIM, CYAN, RESET = "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[0m"


@dataclass(frozen=True)
class Entry:
    """One argument, option or command: the flags with their value's name, what they do, and the default in words."""

    section: str
    flags: str
    help: str
    default: str = ""


class Command(TyperCommand):
    """A verb whose help is written by `text`."""

    def get_help(self, ctx: Any) -> str:
        """The help of this verb, as wide as the terminal."""
        return text(self, ctx.command_path)


class Group(TyperGroup):
    """The command `residua`: its help is written by `text`, and a wrong verb names the nearest."""

    def get_help(self, ctx: Any) -> str:
        """The help of the whole command, as wide as the terminal."""
        return text(self, ctx.command_path)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb of the first argument. Raises UsageError that names the nearest ones."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise unknown("command", args[0], self.commands, f"`{ctx.command_path} --help` lists them all")
        return super().resolve_command(ctx, args)


def entries(command: Any) -> list[Entry]:
    """Everything that the command takes, in the order of its help: verbs, arguments, options by section."""
    verbs = [Entry("commands", name, summary(c)) for name, c in getattr(command, "commands", {}).items()]
    shown = [p for p in command.params if not p.hidden]
    arguments = [_argument(p) for p in shown if p.param_type_name == "argument"]
    options = [_option(p) for p in shown if p.param_type_name == "option"]
    sections = dict.fromkeys(e.section for e in options if e.section != "options")
    ordered = [e for s in (*sections, "options") for e in options if e.section == s]
    return [*verbs, *arguments, *ordered, Entry("options", "-h, --help", "show this help and exit")]


def summary(command: Any) -> str:
    """The first sentence of the command's help, without its full stop."""
    return prose(command)[0][0].rstrip(".")


def prose(command: Any) -> tuple[list[str], list[str]]:
    """The paragraphs of the command's docstring, each on one line, and the lines under its ``Examples:``."""
    words, _, examples = inspect.cleandoc(command.help or "").partition("Examples:\n")
    paragraphs = [" ".join(p.split()) for p in words.strip().split("\n\n")]
    return paragraphs, [line.strip() for line in examples.strip().splitlines()]


def usage(command: Any, path: str) -> str:
    """``residua eval MODEL DATA [OPTIONS]``."""
    words = [path]
    if getattr(command, "commands", None):
        words.append("COMMAND")
    for p in command.params:
        if p.param_type_name == "argument":
            name = _name(p)
            words.append(name if p.required else f"[{name}]")
    return " ".join([*words, "[OPTIONS]"])


def text(command: Any, path: str) -> str:
    """The whole help of a command for this terminal: coloured when it is one."""
    columns = min(MOST_COLUMNS, shutil.get_terminal_size((100, 40)).columns)
    paint = _paint if colourful() else _plain
    lines = [f"{paint('usage', BOLD)}  {usage(command, path)}", ""]
    words, examples = prose(command)
    for paragraph in words:
        lines += [*textwrap.wrap(paragraph, columns), ""]
    rows = entries(command)
    left = min(34, max(len(e.flags) for e in rows)) + 4
    for section in dict.fromkeys(e.section for e in rows):
        lines.append(paint(section, BOLD))
        for entry in (e for e in rows if e.section == section):
            lines += _rows(entry, left, columns, paint)
        lines.append("")
    if examples:
        lines += [paint("examples", BOLD), *(f"  {line}" for line in examples)]
    return "\n".join(lines).rstrip("\n")


def colourful() -> bool:
    """True if stdout is a terminal that takes colour (https://no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _rows(entry: Entry, left: int, columns: int, paint: Any) -> Iterator[str]:
    default = f"  [{entry.default}]" if entry.default else ""
    wrapped = textwrap.wrap(entry.help + default, max(24, columns - left)) or [""]
    first = paint(entry.flags, CYAN)
    if len(entry.flags) + 4 > left:
        yield f"  {first}"
    else:
        yield f"  {first}{' ' * (left - 2 - len(entry.flags))}{wrapped.pop(0)}"
    for line in wrapped:
        yield " " * left + line


def _argument(p: Any) -> Entry:
    return Entry("arguments", _name(p), p.help or "", _default(p))


def _option(p: Any) -> Entry:
    flags = ", ".join(p.opts) + (f" / {', '.join(p.secondary_opts)}" if p.secondary_opts else "")
    if not p.is_flag:
        flags += f" {_name(p)}"
    return Entry(p.rich_help_panel or "options", flags, (p.help or "").rstrip("."), _default(p))


def _name(p: Any) -> str:
    name: str = p.metavar or str(p.name).upper()
    return name


def _default(p: Any) -> str:
    if isinstance(p.show_default, str):
        return p.show_default
    if p.required or p.default in (None, False, (), []) or callable(p.default):
        return ""
    return str(p.default)


def _paint(words: str, colour: str) -> str:
    return f"{colour}{words}{RESET}"


def _plain(words: str, colour: str) -> str:
    return words


def show(ctx: typer.Context) -> None:
    """Print the help of the context's command."""
    typer.echo(ctx.get_help())
