"""Laws of processes that read files: one that kills or freezes its reader is named, and ends no scan."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from acceptance import picture, save
from residua.data import inspection, prepare, scan, watch
from residua.data.batches import Batches, in_order
from residua.data.dataset import FileImages, Split
from residua.data.view import View
from residua.data.watch import KILLED, Board
from residua.errors import DataError

COUNT = 12
VIEW = View(side_px=8, fit="crop", resize_px=8, mode="RGB", mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    for i in range(COUNT):
        save(tmp_path / f"{i:02}.png", picture(20 + i, 30, seed=i))
    paths = tuple(str(tmp_path / f"{i:02}.png") for i in range(COUNT))
    return Split(FileImages(paths), np.arange(COUNT) % 2, paths)


def batches(split: Split) -> Batches:
    return Batches(split, VIEW, batch_size=4, seed=0, classes=2)


def on_a_file(monkeypatch: pytest.MonkeyPatch, module: object, name: str, act: object, file: str = "05.png") -> None:
    """Have the reader of a module do something else to one file."""
    whole = getattr(module, name)

    def read(source: object, *more: object) -> object:
        if str(source).endswith(file):
            act()
        return whole(source, *more)

    monkeypatch.setattr(module, name, read)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def freeze() -> None:
    time.sleep(600)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_file_that_kills_its_worker_is_named(split: Split, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    on_a_file(monkeypatch, prepare, "reduced", die)
    on_a_file(monkeypatch, watch, "decode", die)
    with pytest.raises(DataError, match=r"05\.png: reading it killed the process"):
        list(batches(split).stream(0, 30, workers))


def test_a_worker_that_dies_over_a_sound_file_names_what_it_read(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_file(monkeypatch, prepare, "reduced", die)
    with pytest.raises(DataError, match=r"a data worker died while reading .*05\.png, most likely for want of"):
        list(in_order(split, VIEW, 4, 1))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_is_not_read_in_time_is_named_and_nothing_hangs(
    split: Split, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    on_a_file(monkeypatch, prepare, "reduced", freeze)
    monkeypatch.setenv("RESIDUA_PATIENCE", "0.5")
    began = time.monotonic()
    with pytest.raises(DataError, match=r"05\.png: not read after \d+ seconds: is its disk or network share gone\?"):
        list(batches(split).stream(0, 30, workers))
    assert time.monotonic() - began < 60


def test_a_check_goes_on_without_a_file_that_freezes_its_reader(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_file(monkeypatch, scan, "decode", freeze)
    monkeypatch.setenv("RESIDUA_PATIENCE", "0.5")
    (found,) = scan.scan(split.names, 2)
    assert len(found.looks) == COUNT and list(found.reasons) == [5] and "not read within 0.5" in found.reasons[5]


def test_listing_many_files_goes_on_without_one_that_kills_its_reader(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = inspection.inspect

    def inspect(paths: list[str]) -> object:
        return die() if any(p.endswith("05.png") for p in paths) else whole(paths)

    monkeypatch.setattr(inspection, "inspect", inspect)
    monkeypatch.setattr(inspection, "MANY", 1)
    monkeypatch.setattr(inspection, "processes", lambda n: 2)
    (seen,) = inspection.all_seen(split.names)
    assert seen.reasons == {5: KILLED} and seen.facts["usable"].sum() == COUNT - 1
    assert not seen.facts["usable"][5]


def test_a_board_holds_paths_that_are_no_text_and_is_blank_elsewhere() -> None:
    board = Board(2)
    with board.reading("nobody signed"):
        assert board.now() == []
    board.sign()
    name = "a\nb\udcff" + "x" * 5000
    with board.reading(name):
        (reading,) = board.now()
        assert reading.process == os.getpid() and name.startswith(reading.path) and len(reading.path) > 4000
    assert board.now() == []
    with pytest.raises(ValueError, match="damaged"), board.reading("x"):
        raise ValueError("damaged")
    assert board.now() == []
