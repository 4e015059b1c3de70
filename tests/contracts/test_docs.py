"""The documents: written from the commands, complete, and their examples run."""

import re
import shlex
from pathlib import Path

import pytest

from residua.cli.document import commands, page
from residua.cli.help import prose

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(text) if kind == language]


def command_lines(text: str) -> list[str]:
    """The lines of shell blocks that call residua, without comments, pipes and what stands before."""
    lines = [line.partition("  #")[0] for block in blocks(text, "sh") for line in block.splitlines()]
    calls = [part.strip() for line in lines for part in re.split(r"&&|\|", line)]
    return [re.sub(r".*\brun (?=residua )", "", c) for c in calls if re.search(r"(^|run )residua\b", c)]


def parse(line: str) -> None:
    """Parse a command line without running it. Raises for a verb, option or number of arguments that does not exist."""
    words = shlex.split(re.sub(r"\s{2,}(a|on|what) .*", "", line))[1:]
    whole = commands()["residua"]
    name, verb, rest = whole.resolve_command(whole.make_context("residua", []), words)
    context = verb.make_context(name, rest)
    if getattr(verb, "commands", None):
        inner, deepest, rest = verb.resolve_command(context, rest)
        deepest.make_context(inner, rest)


def test_the_page_of_commands_is_what_the_commands_say():
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == page(), "run `just docs`"


def test_every_command_is_documented_and_has_help_and_an_example():
    for path, command in commands().items():
        words, examples = prose(command)
        assert f"\n## {path}\n" in page() and words[0] and examples, path


def test_every_example_of_the_help_parses():
    for _, command in commands().items():
        for line in prose(command)[1]:
            for call in command_lines(f"```sh\n{line}\n```"):
                parse(call)


def test_every_shell_example_of_the_readme_parses():
    lines = command_lines(README)
    assert len(lines) >= 5
    for line in lines:
        parse(line)


@pytest.mark.parametrize("line", [c for c in command_lines(README) if c.split()[1] in ("archs", "describe")])
def test_shell_examples_of_the_readme_that_need_no_files_run(line, tmp_path, monkeypatch, capfd):
    from residua.cli.main import run

    monkeypatch.chdir(tmp_path)
    assert run(shlex.split(line)[1:]) == 0
    assert capfd.readouterr().out


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_python_examples_of_the_readme_run(code, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_readme_links_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_the_exit_codes_of_the_page_are_those_of_the_errors():
    from residua import errors

    codes = {getattr(errors, n).exit_code for n in ("UsageError", "DataError", "NumericError", "Interrupted")}
    assert {int(n) for n in re.findall(r"^\| (\d+) \|", page(), re.MULTILINE)} == {0, *codes}


def test_documents_name_no_path_of_a_machine():
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert not re.search(r"(/home/|/work/|/root/|/tmp/)", path.read_text(encoding="utf-8")), path.name
