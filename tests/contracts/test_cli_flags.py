"""The flags of all commands: scripts rely on them, so a change is made on purpose, here too."""

from pathlib import Path

from residua.cli.document import flags


def test_flags_are_exactly_those_in_the_file():
    """After a change on purpose: ``python -m residua.cli.document flags``."""
    assert flags().splitlines() == (Path(__file__).parent / "flags.txt").read_text(encoding="utf-8").splitlines()
