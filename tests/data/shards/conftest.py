"""Small sets of shards, and a server of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import acceptance
import webserver
from residua.data.shards import remote
from residua.data.shards.material import gathered
from residua.data.shards.write import write_shards

PER_CLASS = 20


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty photos of three classes, too large to be held in memory, with odd names."""
    root = tmp_path_factory.mktemp("photos")
    for c, name in enumerate(("ants", "bees", "wasps")):
        for i in range(PER_CLASS):
            pixels = acceptance.picture(80 + i % 3, 90, seed=100 * c + i)
            acceptance.save(root / name / f"{i}.v1 é.JPG", pixels, format="JPEG")
    return root


@pytest.fixture(scope="session")
def shards(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos as shards of a few pictures each."""
    out = tmp_path_factory.mktemp("shards") / "photos"
    write_shards(gathered(str(folder)), out, shard_bytes=60_000)
    return out


@pytest.fixture
def server(shards: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[webserver.Server]:
    """The shards on a web server; nothing fetched yet, and no long pauses."""
    monkeypatch.setenv("RESIDUA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.01, 0.01))
    with webserver.serving(shards) as served:
        yield served
