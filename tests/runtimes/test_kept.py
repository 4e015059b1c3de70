"""Graphs that are kept: whole or made again, for what they were made from only, bounded, by many at once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from residua import predict
from residua.export.classifier import Classifier
from residua.nn import modelfile
from residua.runtimes import loading, onnx, preparing
from residua.runtimes.kept import RECORD, Shelf, key_of


@pytest.fixture(scope="module")
def written(small: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The graph of the small model: making one takes seconds."""
    model = Classifier(small, *modelfile.load(small), predict.load(small, device="cpu").view)
    folder = tmp_path_factory.mktemp("written")
    onnx.write(model.graph("onnx", raw=True), model.words(model.graph("onnx", raw=True)), folder)
    return (folder / "net.onnx").read_bytes()


@pytest.fixture
def makes(monkeypatch: pytest.MonkeyPatch, written: bytes) -> list[Path]:
    """The folders in which graphs were made."""
    made: list[Path] = []

    def noted(graph: Any, words: Any, folder: Path) -> None:
        made.append(folder)
        (folder / "net.onnx").write_bytes(written)

    monkeypatch.setattr(onnx, "write", noted)
    return made


def load(small: Path, said: list[str] | None = None) -> Any:
    return loading.load(small, runtime="onnx", device="cpu", tell=(said if said is not None else []).append)


def test_a_graph_is_made_once(small: Path, empty: Path, makes: list[Path]) -> None:
    said: list[str] = []
    for _ in range(2):
        assert load(small, said).run is not None
    assert len(makes) == 1 and said == []
    assert sorted(p.name for p in next(empty.iterdir()).iterdir()) == ["net.onnx", RECORD]


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "net.onnx").write_bytes((f / "net.onnx").read_bytes()[:-7]),
        lambda f: (f / "net.onnx").unlink(),
        lambda f: (f / RECORD).write_text("{"),
        lambda f: (f / RECORD).write_text("[]"),
        lambda f: (f / RECORD).unlink(),
    ],
)
def test_what_is_damaged_is_made_again(
    small: Path, empty: Path, makes: list[Path], damage: Callable[[Path], object]
) -> None:
    load(small)
    damage(next(empty.iterdir()))
    assert load(small).run is not None and load(small).run is not None
    assert len(makes) == 2


def test_another_model_library_or_machine_makes_another_graph(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [key_of(preparing.depends(small, r)) for r in ("onnx", "openvino")]
    other = tmp_path / "other.safetensors"
    shutil.copy(small, other)
    assert key_of(preparing.depends(other, "onnx")) == keys[0]  # its name is not what it is
    with open(other, "ab") as file:
        file.write(b"\0")
    keys.append(key_of(preparing.depends(other, "onnx")))
    with monkeypatch.context() as m:
        m.setattr(preparing, "version", lambda name: "9.9")
        keys.append(key_of(preparing.depends(small, "onnx")))
    with monkeypatch.context() as m:
        m.setattr(preparing.torch.backends.cpu, "get_cpu_capability", lambda: "OTHER")
        keys.append(key_of(preparing.depends(small, "onnx")))
    assert len(set(keys)) == 5


def test_where_nothing_can_be_kept_it_is_said_and_answers_come_all_the_same(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, makes: list[Path]
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("RESIDUA_CACHE", str(tmp_path / "file"))
    said: list[str] = []
    model = load(small, said)
    assert model.run is not None and len(said) == 1 and said[0].startswith("the graph is not kept: ")
    assert makes[0].exists()
    del model
    assert not makes[0].exists()  # it lives as long as what needs it


def test_nothing_is_left_of_a_graph_that_could_not_be_made(tmp_path: Path) -> None:
    def fails(folder: Path) -> Mapping[str, Any]:
        (folder / "half").write_text("of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Shelf(tmp_path / "shelf").put("a", fails)
    assert list((tmp_path / "shelf").iterdir()) == []


def test_of_two_who_make_the_same_both_have_it_and_one_is_kept(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")

    def writes(text: str) -> Callable[[Path], Mapping[str, Any]]:
        def make(folder: Path) -> Mapping[str, Any]:
            (folder / "net").write_text(text)
            return {"by": text}

        return make

    def late(folder: Path) -> Mapping[str, Any]:
        shelf.put("a", writes("first"))  # another process, meanwhile
        return writes("second")(folder)

    graph = shelf.put("a", late)
    assert (graph.folder / "net").read_text() == "first" and graph.why_not_kept is None
    assert [p.name for p in shelf.folder.iterdir()] == ["a"]
    found = shelf.find("a")
    assert found is not None and found.notes == {"by": "first"} and not found.fresh


@pytest.mark.slow
def test_two_processes_at_once_answer_both(small: Path, empty: Path) -> None:
    program = (
        "import sys; from residua.runtimes import loading\n"
        "m = loading.load(sys.argv[1], runtime='onnx', device='cpu', threads=1, tell=sys.exit)\n"
        "import numpy as np; print(m.predict(np.zeros((20, 20, 3), np.uint8))[0])"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(small)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    said = {p.communicate()[0] for p in both}
    assert [p.returncode for p in both] == [0, 0] and len(said) == 1 and said.pop().startswith("picture 0: ")
    assert len(list(empty.iterdir())) == 1


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "net").write_bytes(bytes(1000))
        return {}

    shelf = Shelf(tmp_path / "shelf", limit=3500)
    for i, key in enumerate("abc"):
        shelf.put(key, make)
        os.utime(shelf.folder / key, (i, i))
    assert shelf.find("a") is not None  # used now
    shelf.put("d", make)
    assert {p.name for p in shelf.folder.iterdir()} >= {"a", "d"} and not (shelf.folder / "b").exists()
    huge = Shelf(shelf.folder, limit=10)
    huge.put("e", make)
    assert [p.name for p in shelf.folder.iterdir()] == ["e"]  # the one that is needed stays


def test_the_record_names_every_file(tmp_path: Path) -> None:
    graph = Shelf(tmp_path).put("a", lambda f: {"n": (f / "net").write_text("x")})
    record = json.loads((graph.folder / RECORD).read_text())
    assert set(record["files"]) == {"net"} and record["notes"] == {"n": 1}
