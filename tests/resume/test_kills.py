"""The short form of `kills.py`: a few trainings killed at random moments end as if nobody had."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_killed_trainings_end_as_if_nobody_had_killed_them():
    program = Path(__file__).with_name("kills.py")
    tasks = [word for name in ("averaged", "detector", "predictions") for word in ("--task", name)]
    ran = subprocess.run(
        [sys.executable, program, "--kills", "3", "--most", "1", "--seed", "7", *tasks],
        capture_output=True, text=True, check=False, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout)
    assert found["kills"] == 3 and found["differences"] == []
