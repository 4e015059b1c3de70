import json
import os
import pickle
import resource
from dataclasses import asdict, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from residua.errors import DataError, UsageError
from residua.nn import modelfile
from residua.nn.modelfile import FORMAT, Header, load, read_header, save
from residua.nn.resnet import drop_depth, units
from residua.nn.zoo import build, find

ROW = replace(find("cifar_resnet8"), classes=4, channels=1)
HEADER = Header(
    row=ROW,
    classes=("ant", "bee é", 'c "quoted"\n', "bad \udcff bytes"),
    view={"side_px": 8, "mode": "L", "mean": [0.5], "std": [0.25]},
    recipe={"name": "quick", "epochs": 15.0},
    metrics={"val": {"n": 360, "wrong": 4, "top1_error": 4 / 360}},
    lineage=[{"from": "resnet", "what": "deepened"}],
    versions={"residua": "0.1.0", "torch": "2.15"},
    data={"name": "digits", "fingerprint": "00ff"},
    temperature=1.25,
)


@pytest.fixture
def path(tmp_path):
    net = build(ROW)
    net(torch.randn(3, 1, 5, 7))  # running statistics that are not the first ones
    save(tmp_path / "model.safetensors", net, HEADER)
    return tmp_path / "model.safetensors"


def refuse(path, reader=load):
    """The one line with which a reader refuses the file."""
    with pytest.raises(DataError) as refused:
        reader(path)
    line = str(refused.value)
    assert "\n" not in line and str(path) in line
    return line


def rewrite(path, change):
    """The file again with `change` applied to its header's words, sealed anew."""
    blob = path.read_bytes()
    start = 8 + int.from_bytes(blob[:8], "little")
    index = json.loads(blob[8:start])
    words = json.loads(index.pop("__metadata__")["residua"])
    del words["checksum"]
    change(words)
    path.write_bytes(modelfile._head(words, index, memoryview(blob)[start:]) + blob[start:])


@pytest.mark.parametrize("name", ["cifar_resnet8", "cifar_preact8", "resnet50_v1:1-1-1-1", "googlenet", "cifar_plain8"])
def test_a_net_comes_back_from_its_file_bit_for_bit(name, tmp_path):
    row = replace(find(name), classes=4)
    net = build(row)
    net(torch.randn(3, 3, 33, 35))
    save(tmp_path / "m.safetensors", net, replace(HEADER, row=row))
    again, header = load(tmp_path / "m.safetensors")
    assert header == replace(HEADER, row=row)
    assert list(again.state_dict()) == list(net.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), net.state_dict().values(), strict=True))
    assert not again.training and all(p.requires_grad and p.device.type == "cpu" for p in again.parameters())
    x = torch.randn(2, 3, 33, 35)
    with torch.no_grad():
        assert torch.equal(again(x), net.eval()(x))


def test_the_header_is_read_without_the_weights(path):
    assert read_header(path) == HEADER
    assert asdict(read_header(path))["metrics"]["val"]["n"] == 360


def test_any_safetensors_reader_gets_the_tensors_and_one_json_header(path):
    net, _ = load(path)
    with safe_open(path, "pt") as file:
        assert sorted(file.keys()) == sorted(net.state_dict())
        assert list(file.metadata()) == ["residua"]
        assert json.loads(file.metadata()["residua"])["classes"] == list(HEADER.classes)


def test_writing_twice_gives_the_same_bytes(path, tmp_path):
    net, header = load(path)
    save(tmp_path / "again.safetensors", net, header)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_memory_format_compilation_precision_and_stochastic_depth_leave_the_file_as_it_is(path, tmp_path):
    net, header = load(path)
    drop_depth(net, 0.5)
    wrapped = torch.compile(net.to(memory_format=torch.channels_last), backend="eager")
    save(tmp_path / "again.safetensors", wrapped, header)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    save(tmp_path / "half.safetensors", net.bfloat16(), header)
    assert next(load(tmp_path / "half.safetensors")[0].parameters()).dtype == torch.float32


def test_versions_are_filled_in():
    assert set(modelfile.versions()) == {"residua", "torch", "python"}


def test_a_file_is_never_written_over_unless_asked(path):
    before = path.read_bytes()
    with pytest.raises(DataError, match="exists and is not overwritten"):
        save(path, build(ROW), HEADER)
    assert path.read_bytes() == before
    save(path, build(ROW), HEADER, overwrite=True)
    assert path.read_bytes() != before


def test_a_net_that_its_row_does_not_describe_is_not_written(tmp_path):
    net = build(ROW)
    units(net)[0].branch = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"12 tensors are missing, first stages\.0\.0\.branch\.conv1\.weight"):
        save(tmp_path / "m", net, HEADER)
    with pytest.raises(ValueError, match=r"head\.fc\.weight is \(5, 64\), the net needs \(4, 64\)"):
        save(tmp_path / "m", build(replace(ROW, classes=5)), HEADER)
    assert os.listdir(tmp_path) == []


def test_every_logit_has_a_name():
    with pytest.raises(UsageError, match="has 4 classes, but 2 have names"):
        replace(HEADER, classes=("a", "b"))


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, torch.ones(1)])
def test_what_json_cannot_hold_is_refused(value, tmp_path):
    with pytest.raises(UsageError, match="words and finite numbers only"):
        save(tmp_path / "m", build(ROW), replace(HEADER, metrics={"x": value}))
    assert os.listdir(tmp_path) == []


def test_a_file_cut_anywhere_is_refused_by_both_readers(path):
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    cuts = [0, 1, 7, 8, 9, start // 2, start - 1, start, start + 1, len(whole) - 1]
    cuts += [len(whole) * i // 11 for i in range(1, 11)]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        refuse(path)
        refuse(path, read_header)
    path.write_bytes(whole + b"\0")
    assert "damaged" in refuse(path)


def test_a_flipped_bit_is_found_wherever_it_is(path):
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in [0, 9, start // 3, start // 2, start - 9, start, (start + len(whole)) // 2, len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        refuse(path)


def test_a_foreign_safetensors_file_is_sent_to_convert(tmp_path):
    save_file(build(ROW).state_dict(), tmp_path / "x.safetensors")
    for reader in (load, read_header):
        assert "another program's safetensors file: `residua convert" in refuse(tmp_path / "x.safetensors", reader)


@pytest.mark.parametrize("how", ["torch", "old", "pickle"])
def test_a_pickle_under_our_name_is_refused_unread(how, tmp_path, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, ("exploded",)

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    if how == "pickle":
        path.write_bytes(pickle.dumps([Bomb()] * 3))
    else:
        torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=how == "torch")
    assert "is a PyTorch pickle, not a Residua model: `residua convert" in refuse(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"a longer text that is no model", b"\xff" * 64, bytes(64)])
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    for reader in (load, read_header):
        refuse(tmp_path / "m", reader)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "No such file" in refuse(tmp_path / "m")
    assert "Is a directory" in refuse(tmp_path, read_header)


def test_a_newer_format_is_refused_by_name_with_its_writer(path):
    rewrite(path, lambda words: words.update(format=FORMAT + 1, versions={"residua": "9.1"}, news=1))
    for reader in (load, read_header):
        assert f"is in format {FORMAT + 1}, written by Residua 9.1; this one reads up to format {FORMAT}" in refuse(
            path, reader
        )


@pytest.mark.parametrize(
    "change",
    [
        {"format": "1"},
        {"format": 0},
        {"format": True},
        {"classes": ["a"]},
        {"classes": [1, 2, 3, 4]},
        {"classes": None},
        {"view": []},
        {"temperature": "warm"},
        {"row": {"kind": "Arch"}},
        {"row": {"kind": "os.system"}},
        {"row": {**modelfile.to_json(ROW), "depths": [10_000] * 3}},
        {"row": {**modelfile.to_json(ROW), "widths": [16, 32, 10**6]}},
        {"row": {**modelfile.to_json(ROW), "widths": [16, 32, 64.5]}},
        {"row": {**modelfile.to_json(ROW), "depths": [1, 1, 1.5]}},
        {"row": {**modelfile.to_json(ROW), "ratio": 1e300, "branch": "bottleneck"}},
        {"row": {**modelfile.to_json(ROW), "groups": 3, "branch": "bottleneck"}},
        {"row": {**modelfile.to_json(find("vgg11")), "classes": 4, "family": "evil"}},
        {"row": {**modelfile.to_json(find("googlenet")), "classes": 4, "widths": [[8] * 100_000]}},
    ],
    ids=str,
)
def test_a_header_with_wrong_words_is_refused_before_anything_large_is_made(change, path):
    rewrite(path, lambda words: words.update(change))
    assert "damaged" in refuse(path)


def test_a_header_that_claims_to_be_huge_is_refused_unread(path):
    blob = path.read_bytes()
    path.write_bytes((2**40).to_bytes(8, "little") + blob[8:])
    refuse(path)
    path.write_bytes((8).to_bytes(8, "little") + b"[" * 8)
    refuse(path)
    nested = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    path.write_bytes(len(nested).to_bytes(8, "little") + nested)
    refuse(path)


def test_a_full_disk_leaves_one_line_and_no_file(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a write past it fails as on a full disk
    try:
        with pytest.raises(DataError, match=r"^cannot write .*model\.safetensors: File too large; free some space"):
            save(tmp_path / "model.safetensors", build(ROW), HEADER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_failed_sync_keeps_the_file_that_was_there(path, monkeypatch):
    before = path.read_bytes()

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DataError, match="No space left on device"):
        save(path, build(ROW), HEADER, overwrite=True)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot write .*nowhere.*: No such file or directory"):
        save(tmp_path / "nowhere" / "m", build(ROW), HEADER)


@pytest.mark.parametrize(
    "words",
    [
        '{"format": 1, "format": 1}',
        '{"format": NaN}',
        '{"format": -Infinity}',
        "[" * 5000 + "]" * 5000,
        "9" * 5000,
        "[]",
    ],
    ids=lambda words: words[:24],
)
def test_words_that_readers_take_differently_are_refused(words, path):
    """A name given twice, numbers that JSON does not have, nests and numbers without an end."""
    blob = path.read_bytes()
    start = 8 + int.from_bytes(blob[:8], "little")
    index = json.loads(blob[8:start]) | {"__metadata__": {"residua": words}}
    text = json.dumps(index).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + blob[start:])
    for reader in (load, read_header):
        assert "damaged" in refuse(path, reader)


def test_tensors_that_claim_more_than_the_file_holds_take_no_memory(path):
    blob = path.read_bytes()
    start = 8 + int.from_bytes(blob[:8], "little")
    index = json.loads(blob[8:start])
    words = json.loads(index.pop("__metadata__")["residua"])
    index["stem.conv1.weight"] |= {"shape": [2**20, 2**20], "data_offsets": [0, 2**42]}
    path.write_bytes(modelfile._head(words, index, memoryview(blob)[start:]) + blob[start:])
    assert "damaged" in refuse(path)


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "m")
    for reader in (load, read_header):
        assert "not a regular file" in refuse(tmp_path / "m", reader)
