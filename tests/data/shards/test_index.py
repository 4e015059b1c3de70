import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from residua.data.shards.index import read_index
from residua.data.shards.layout import INDEX
from residua.data.sources import open_data
from residua.errors import DataError


@pytest.fixture
def data(shards: Path) -> bytes:
    return (shards / INDEX).read_bytes()


def changed(data: bytes, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> bytes:
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    head = json.loads(arrays["head"].tobytes())
    change(head, arrays)
    if isinstance(arrays.get("head"), np.ndarray):
        arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def test_an_index_comes_back_as_it_was(data: bytes) -> None:
    index = read_index(data, "x")
    assert index.to_bytes() == data and len(index) == 60
    assert len(index.fingerprint()) == 32


def one(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], object]:
    return lambda head, arrays: arrays[name].__setitem__(3, value)


BAD: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "a later format": lambda head, arrays: head.update(format=2),
    "a shard above the folder": lambda head, arrays: head["shards"][0].__setitem__(0, "../../etc/passwd.tar"),
    "an address as a shard": lambda head, arrays: head["shards"][0].__setitem__(0, "http://evil/a.tar"),
    "a shard of no length": lambda head, arrays: head["shards"][0].__setitem__(1, -5),
    "a shard of an endless length": lambda head, arrays: head["shards"][0].__setitem__(1, 10**30),
    "an unknown split": lambda head, arrays: head["shards"][0].__setitem__(2, "all"),
    "a class twice": lambda head, arrays: head.update(classes=["a", "a", "b"]),
    "no classes": lambda head, arrays: head.pop("classes"),
    "a label beyond the classes": one("label", 99),
    "a label below them": one("label", -1),
    "a shard beyond the last": one("shard", 10**6),
    "a picture beyond its shard": one("offset", 2**61),
    "a picture of no bytes": one("size", 0),
    "a picture larger than its shard": one("size", 2**62),
    "a side of nothing": one("width", 0),
    "a folder that is not there": one("folder", 10**6),
    "texts of other lengths": one("ends.lengths", 10**6),
    "texts of lengths below nothing": one("ends.lengths", -1),
    "a column too few": lambda head, arrays: arrays.pop("crc"),
    "a column too many": lambda head, arrays: arrays.update(more=np.zeros(3)),
    "a column of another kind": lambda head, arrays: arrays.update(label=arrays["label"].astype(np.float64)),
    "a column of objects": lambda head, arrays: arrays.update(label=np.array([object()] * 60, dtype=object)),
    "a shorter column": lambda head, arrays: arrays.update(label=arrays["label"][:-1]),
    "a head that is a list": lambda head, arrays: arrays.update(head=[1]),
}


@pytest.mark.parametrize("what", BAD)
def test_an_index_that_does_not_fit_together_is_refused_in_one_line(data: bytes, what: str) -> None:
    with pytest.raises(DataError, match="not an index that can be used") as caught:
        read_index(changed(data, BAD[what]), "shards.npz")
    assert "\n" not in str(caught.value)


def test_an_index_cannot_grow_beyond_its_own_length(data: bytes) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info) + bytes(10**6))
    with pytest.raises(DataError, match="compressed"):
        read_index(bomb.getvalue(), "x")


def test_any_damage_is_an_error_or_harmless_and_never_a_crash(data: bytes) -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        torn = bytearray(data)
        for at in rng.integers(0, len(torn), 8):
            torn[at] = rng.integers(0, 256)
        try:
            read_index(bytes(torn[: rng.integers(1, len(torn) + 1)] if rng.random() < 0.3 else torn), "x")
        except DataError as e:
            assert "\n" not in str(e)


def test_a_shard_of_another_length_than_the_index_says_is_named(shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in shards.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    torn = copy / "train-000001.tar"
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train-000001\.tar: .* bytes, and shards\.npz says .* cut off or changed"):
        open_data(str(copy))
    torn.unlink()
    with pytest.raises(DataError, match=r"train-000001\.tar: no such file"):
        open_data(str(copy))


def test_damaged_pixels_are_noticed_and_the_member_is_named(shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in shards.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    split = open_data(str(copy)).splits["train"]
    member = split.images.paths[0]  # type: ignore[attr-defined]
    with open(member.shard.place, "r+b") as file:
        file.seek(member.offset + member.size // 2)
        file.write(b"\xff\xd9\x00")
    again = open_data(str(copy)).splits["train"]
    with pytest.raises(DataError, match=rf"{member.shard.name}:{member.name}: damaged: its checksum"):
        again.images[0]
