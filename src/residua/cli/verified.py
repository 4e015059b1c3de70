"""``residua train --resume RUN --verify``: the proof that resuming changes nothing, on a user's own run."""

from dataclasses import asdict
from pathlib import Path

from residua.errors import UsageError


def prove(run: str | None, json: bool) -> None:
    """Prove it and say so. Raises UsageError without a run, DataError and NumericError as `job.verify` does."""
    if run is None:
        raise UsageError("--verify proves something of a run: name it by --resume RUN")
    from residua.cli.settings import run_config

    run_config(run)
    from residua.cli.live import waiting

    with waiting("going on in a copy"):
        from residua.job.verify import verify

        found = verify(Path(run))
    from residua.cli.terminal import cell, counted, emit, results

    if json:
        emit({**asdict(found), "run": str(found.run), "same": True})
        return
    steps = f"from step {found.first:,} to {found.last:,}"
    results().print(
        cell("the same", "bold green"),
        cell(f"bit for bit: {counted(found.tensors, 'tensor')}, {found.bytes:,} bytes, going on {steps} in a copy"),
    )
