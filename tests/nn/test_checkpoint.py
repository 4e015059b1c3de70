import argparse
import os
import pickle
import sys
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from residua.errors import DataError, UsageError
from residua.nn.checkpoint import read_checkpoint, unwrap
from residua.training.saving import read_state

STATE = {"conv1.weight": torch.arange(12.0).reshape(3, 4), "fc.bias": torch.ones(3)}


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def assert_same(a, b):
    assert list(a) == list(b)
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3, "best_prec1": 91.7},
        {"model": STATE, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}},
        {"net": {f"module.{k}": v for k, v in STATE.items()}, "acc": 95.0},
        {"state_dict": {f"module._orig_mod.{k}": v for k, v in STATE.items()}},
        {"state_dict": {f"model.{k}": v for k, v in STATE.items()}},
        {"state_dict": {k: v * 0 for k, v in STATE.items()}, "state_dict_ema": STATE},
        {"model": {}, "model_ema": {"n_averaged": torch.tensor(7), **{f"module.{k}": v for k, v in STATE.items()}}},
        {"state_dict": {"model": STATE}},
    ],
    ids=["bare", "akamaster", "torchvision", "kuangliu", "compiled", "lightning", "averaged", "ema", "nested"],
)
def test_weights_are_taken_out_of_what_others_put_around_them(wrapped, tmp_path):
    torch.save(wrapped, tmp_path / "x.pth")
    assert_same(read_checkpoint(tmp_path / "x.pth"), STATE)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth", "x"])
def test_safetensors_are_known_by_their_content(name, tmp_path):
    save_file({f"module.{k}": v for k, v in STATE.items()}, tmp_path / name)
    assert_same(read_checkpoint(tmp_path / name), STATE)


def test_old_style_files_are_read(tmp_path):
    torch.save({"state_dict": STATE}, tmp_path / "x.th", _use_new_zipfile_serialization=False)
    assert_same(read_checkpoint(tmp_path / "x.th"), STATE)


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("how", ["zip", "old", "pickle"])
def test_code_in_a_file_is_named_and_never_run(name, how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if how == "pickle":
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    else:
        torch.save({"state_dict": STATE, "x": Bomb()}, name, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(DataError) as refused:
        read_checkpoint(name)
    assert "\n" not in str(refused.value) and name in str(refused.value)
    assert not (tmp_path / "exploded").exists()
    if how != "pickle":
        assert "holds Python code (posix), which is never run" in str(refused.value)


def test_a_whole_net_is_refused_as_code(tmp_path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "x.pth")
    with pytest.raises(DataError, match=r"holds Python code \(torch\.nn\.modules\.linear\.Linear\).*state_dict"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_a_file_cut_anywhere_is_refused_in_one_line(kind, tmp_path):
    path = tmp_path / "x"
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save({"state_dict": STATE}, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for cut in [0, 1, 7, 8, 9, *range(10, len(whole), max(1, len(whole) // 15))]:
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError) as refused:
            read_checkpoint(path)
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"", b"hello, world: this is text", b"\x00" * 100, b"\xff\xd8\xff\xe0" * 30, b"{}"]
)
def test_what_is_no_checkpoint_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(DataError, match=r"damaged or no checkpoint|no safetensors") as refused:
        read_checkpoint(tmp_path / "x.pth")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("held", [{}, {"epoch": 3}, [1, 2], torch.ones(2), {"state_dict": {}}])
def test_a_file_without_weights_is_refused(held, tmp_path):
    torch.save(held, tmp_path / "x.pth")
    with pytest.raises(DataError, match="holds no weights"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*x\.pth: No such file"):
        read_checkpoint(tmp_path / "x.pth")
    with pytest.raises(DataError, match="Is a directory" if sys.platform != "win32" else "cannot read"):
        read_checkpoint(tmp_path)


def test_a_prefix_goes_only_where_every_name_has_it():
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert list(unwrap(state)) == ["module.a", "b"]


def test_a_file_that_holds_itself_is_refused(tmp_path):
    held = {"epoch": 3}
    held["model"] = held
    torch.save(held, tmp_path / "x.pth")
    with pytest.raises(DataError, match="holds no weights"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("version", ["2.5.1", "2.9.1+cu128", "1.13.0"])
def test_a_torch_whose_reader_has_known_holes_reads_nothing(version, tmp_path, monkeypatch):
    torch.save(STATE, tmp_path / "x.pth")
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("it was read"))
    with pytest.raises(UsageError, match=r"^torch .* can be made to run .* \(CVE-2026-24747\): upgrade it to 2\.10"):
        read_checkpoint(tmp_path / "x.pth")
    with pytest.raises(UsageError, match="upgrade"):
        read_state(tmp_path / "x.pth")


@pytest.mark.parametrize("version", ["2.10.0", "2.11.0a0+git1", "3.0"])
def test_later_ones_read(version, tmp_path, monkeypatch):
    torch.save(STATE, tmp_path / "x.pth")
    monkeypatch.setattr(torch, "__version__", version)
    assert_same(read_checkpoint(tmp_path / "x.pth"), STATE)


def test_an_archive_that_unpacks_to_more_than_it_is_stays_packed(tmp_path):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as whole, zipfile.ZipFile(tmp_path / "y.pth", "w") as packed:
        for part in whole.infolist():
            packed.writestr(part.filename, whole.read(part), zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match=r"bytes are to hold 4,\d{3},\d{3} \(a decompression bomb\?\)"):
        read_checkpoint(tmp_path / "y.pth")


@pytest.mark.parametrize(
    "odd", [torch.ones(3, 4).to_sparse(), torch.empty(3, 4, device="meta")], ids=["sparse", "meta"]
)
def test_tensors_that_are_no_plain_numbers_are_refused_by_name(odd, tmp_path):
    torch.save({"a": torch.ones(1), "b": odd}, tmp_path / "x.pth")
    with pytest.raises(DataError, match=r"b is sparse, quantised or without numbers|no checkpoint"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.pth")
    with pytest.raises(DataError, match="not a regular file"):
        read_checkpoint(tmp_path / "x.pth")
