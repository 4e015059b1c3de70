"""The page docs/commands.md and the list of flags, from the commands themselves.

``python -m residua.cli.document`` writes docs/commands.md; ``... flags`` writes tests/contracts/flags.txt.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from residua.cli.help import Entry, entries, prose, usage
from residua.cli.main import app

HEAD = """# Commands

Written by `just docs` from the commands themselves: what `--help` says, on one page.

Results go to stdout, progress to stderr; with `--json`, stdout holds one JSON document and nothing else.

| exit code | means |
|---|---|
| 0 | ok |
| 2 | usage: a name, an option or a value that does not exist or does not fit |
| 3 | a problem with the data: pictures, labels, model or run files, the disk |
| 4 | a numeric mismatch, or a loss that is not finite |
| 130 | interrupted, and saved where there is something to save |
"""

JSON = """
## JSON

What scripts may rely on; errors are fractions, and numbers that are not finite are null.

| command | document |
|---|---|
| `train` | `run`, `test` (as `eval`), `seconds`; `model`, `report` |
| `check` | `name`, `spec`, `known`, `files`, `pictures`, `classes`, `splits`, `channels`, `side_px`, `sizes`, `sides`, `formats`, `modes`, `imbalance`, `hidden_by_crop`, `findings`: `kind`, `severity`, `count`, `sentence`, `todo`, `groups`, `examples`; `skipped`, `notes`, `proposals`, `command`, `seconds`, `out`: `page`, `table`, `document` |
| `shard` | `data`, `out`, `seed`, `shard_size`, `splits`: `pictures`, `shards`, `bytes`; `classes`, `left_out`, `skipped`: `path`, `reason`; `begun_again`, `shards`: `name`, `bytes` |
| `eval` | `n`, `wrong`, `top1_error`, `top5_error`, `loss`, `interval`, `classes`, `per_class`, `confusion`, `macro`, `weighted`, `balanced_accuracy`, `calibration`, `intervals`; `model`, `arch`, `data`, `split`, `views`, `engine`, `notes`, `skipped`, `members`, `worst`, `files` |
| `predict` | `predictions`: `path`, `classes`, `probabilities`; `failures`: `path`, `reason`; `out` |
| `explain` | `model`, `arch`, `method`, `stage`, `target`, `engine`, `items`: `file`, `picture`, `name`, `truth`, `prediction`, `probability`, `classes`, `probabilities`, `target`, `target_probability`, `logit`, `nothing`, `bare`, `bare_logit`, `bare_leads`, `missed`, `points`, `units` (`unit`, `stage`, `contribution`, `added`, `leads`), `scores`; `failures`, `why_not`, `notes`, `check`, `out`, `files` |
| `archs` | a list of `name`, `layers`, `params`, `macs`, `family`, `source` |
| `describe` | `name`, `file`, `family`, `source`, `layers`, `classes`, `channels`, `side_px`, `params`, `macs`, `activation_bytes`, `table`: `name`, `kind`, `out_shape`, `params`, `macs`, `receptive_field` |
| `convert` | `out`, `layout`, `name`, `classes`, `params`, `view` |
| `export` | `out`, `to`, `bytes`, `seconds`, `task`, `arch`, `precision`, `classes`, `input`: `name`, `takes`, `dtype`, `shape`, `order`, `channels`, `before`; `outputs`: `name`, `shape`, `is`; `int8`, `residua`, `parity`: `pictures`, `unit`, `batches`: `batch`, `height`, `width`, `difference`, `limit`, `scale`, `same`, `answers`, `probability`, `probability_limit`, `agrees`; `accuracy`: `n`, `model`, `exported`, `same`, `tolerance`, `lost_points`, `agrees`; `agrees` |
| `verify` | `exported`, `to`, `precision`, `model`, `data`, `split`; `pictures`, `unit`, `batches`, `accuracy`, `agrees` (as `parity` of `export`) |
| `report` | `run`, `report` |
| `train --print-config` | the options, `recipe` as an object |
"""  # noqa: E501


def commands() -> dict[str, Any]:
    """Every command by the words that call it."""
    return dict(_within("residua", typer.main.get_command(app)))


def _within(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, verb in getattr(command, "commands", {}).items():
        yield from _within(f"{path} {name}", verb)


def page() -> str:
    """The text of docs/commands.md."""
    return (
        HEAD + "".join("\n" + "\n".join(section(path, command)) + "\n" for path, command in commands().items()) + JSON
    )


def section(path: str, command: Any) -> Iterator[str]:
    """One command: usage, words, tables of what it takes, examples."""
    words, examples = prose(command)
    yield from (f"## {path}", "", "```", usage(command, path), "```", "")
    for paragraph in words:
        yield from (paragraph, "")
    rows = [e for e in entries(command) if "completion" not in e.flags]
    for name in dict.fromkeys(e.section for e in rows):
        yield from (f"| {name} | | default |", "|---|---|---|")
        yield from (_row(e) for e in rows if e.section == name)
        yield ""
    if examples:
        yield from ("```sh", *examples, "```")


def _row(entry: Entry) -> str:
    cells = (f"`{entry.flags}`", entry.help, entry.default)
    return "| " + " | ".join(c.replace("|", r"\|") for c in cells) + " |"


def flags() -> str:
    """Every argument and option of every command, one a line: what scripts rely on."""
    lines = []
    for path, command in commands().items():
        lines += [f"{path} {e.flags}" for e in entries(command) if e.section != "commands"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page, or the list of flags."""
    root = Path(__file__).parents[3]
    target, text = root / "docs" / "commands.md", page()
    if sys.argv[1:] == ["flags"]:
        target, text = root / "tests" / "contracts" / "flags.txt", flags()
    target.write_text(text, encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
