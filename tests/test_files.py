"""Laws of files: a lock is held as long as its block, and documents hold nothing that JSON has no word for."""

import json
import os
import signal
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from residua.files import contents, finite, locked

linux = pytest.mark.skipif(sys.platform != "linux", reason="forks")


def test_a_lock_keeps_others_out_threads_too_and_opens_with_its_block(tmp_path: Path):
    found: list[bool] = []

    def look() -> None:
        with locked(tmp_path / "lock", wait=False) as ours:
            found.append(ours is not None)

    with locked(tmp_path / "lock") as ours:
        assert ours is not None
        thread = Thread(target=look)
        thread.start()
        thread.join()
    look()
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        1 / 0  # noqa: B018
    look()
    assert found == [False, True, True]


@linux
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_was_forked_in_a_locked_block_holds_nobody_up(tmp_path: Path):
    with locked(tmp_path / "lock"):
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
    try:
        with locked(tmp_path / "lock", wait=False) as ours:
            assert ours is not None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_what_is_not_finite_becomes_null_however_deep():
    value = {1: [float("nan"), (1.5, np.float64("inf"))], "a": np.array([1.0, np.nan]), "n": np.int64(3), "s": "nan"}
    assert (
        json.dumps(finite(value), allow_nan=False) == '{"1": [null, [1.5, null]], "a": [1.0, null], "n": 3, "s": "nan"}'
    )


def test_a_file_that_is_too_large_or_none_is_not_read(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"1234")
    assert contents(tmp_path / "a", 4) == b"1234"
    with pytest.raises(OSError, match="more than 3 bytes"):
        contents(tmp_path / "a", 3)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        contents(tmp_path / "pipe")
