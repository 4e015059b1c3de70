import json
from pathlib import Path

import pytest

import acceptance
import webserver
from residua.cli.main import run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for c in ("a b", "é"):
        for i in range(12):
            acceptance.save(tmp_path / "in" / c / f"{i}.png", acceptance.picture(24, 24, seed=i + 50 * (c == "é")))
    (tmp_path / "in" / "é" / "broken.png").write_bytes(b"no")
    return tmp_path / "in"


def test_shards_are_written_and_told_in_words_and_as_json(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["shard", str(photos), str(tmp_path / "s")]) == 0
    said = capsys.readouterr().out
    assert "24" in said and "left out: é/broken.png" in said and f"residua train {tmp_path / 's'}" in said
    assert run(["shard", str(photos), str(tmp_path / "t"), "--seed", "1", "--shard-size", "1M", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"] == {"train": {"pictures": 24, "shards": 1, "bytes": found["shards"][0]["bytes"]}}
    assert found["left_out"] == 1 and found["classes"] == ["a b", "é"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["in", "in/s"], 2, "lies within the data"),
        (["in", "in.tar", "--shard-size", "9K"], 2, "--shard-size 9K"),
        (["in", "s", "--shard-size", "0.1M"], 2, "a megabyte (1M) is the least"),
        (["nowhere/x", "s"], 3, "no such folder"),
        (["in", "full"], 3, "never overwritten"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    words: list[str], code: int, says: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    before = sorted(tmp_path.rglob("*"))
    assert run(["shard", *words]) == code
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and said.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_was_interrupted_is_begun_again_with_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    out.mkdir()
    (out / "residua-shard.unfinished").touch()
    (out / "train-000000.tar").write_bytes(b"half")
    assert run(["shard", str(photos), str(out)]) == 0
    assert f"{out} was interrupted: it is begun again" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_from_far_away_is_the_one_from_here_bit_for_bit(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["shard", str(photos), "s"]) == 0
    words = ["--epochs", "1", "--arch", "cifar_resnet20", "--device", "cpu", "--threads", "1"]
    with webserver.serving(tmp_path / "s") as server:
        for data, out in (("s", "here"), (server.url, "there")):
            assert run(["train", data, *words, "--out", out]) == 0
        assert run(["eval", "here", f"{server.url}/train-{{000000..000000}}.tar", "--json"]) == 0
        assert run(["check", server.url, "--out", "checks"]) == 0
    from safetensors.torch import load_file

    a, b = (load_file(f"{o}/model.safetensors") for o in ("here", "there"))
    assert a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)
    assert (tmp_path / "here/split.csv").read_text() == (tmp_path / "there/split.csv").read_text()
    capsys.readouterr()
