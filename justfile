# The commands of a working day. `just` alone lists them.

uv := "python3 -m uv run"

[private]
default:
    @just --list

# format, lint, types, tests
check: lint test

# the default tests; words go to pytest
test *words:
    {{ uv }} pytest {{ words }}

# format, then lint and check types
lint:
    {{ uv }} ruff format
    {{ uv }} ruff check --fix
    {{ uv }} mypy
    {{ uv }} hadolint Dockerfile

# write docs/commands.md from the commands themselves
docs:
    {{ uv }} python -m residua.cli.document

# freeze the flags of all commands, after a change on purpose
flags: docs
    {{ uv }} python -m residua.cli.document flags

# the wheel and the source archive
build:
    python3 -m uv build

# the wheel in an empty environment: what somebody who installs it does first
smoke:
    .ci/smoke
