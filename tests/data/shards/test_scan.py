import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webdataset.writer import ShardWriter

import acceptance
from residua.data.shards import scan
from residua.data.shards.headers import entries
from residua.data.sources import open_data
from residua.errors import DataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDUA_CACHE", str(tmp_path / "cache"))


def jpeg(seed: int, kind: str = "JPEG", side: int = 80) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(acceptance.picture(side, side + 6, seed=seed)).save(file, kind)
    return file.getvalue()


def written(folder: Path, samples: list[dict[str, Any]], name: str = "train-%06d.tar", most: int = 7) -> Path:
    folder.mkdir(exist_ok=True)
    with ShardWriter(str(folder / name), maxcount=most, verbose=0) as writer:
        for i, sample in enumerate(samples):
            writer.write({"__key__": f"s{i:05d}", **sample})
    return folder


def labels(dataset: Any) -> list[tuple[str, str]]:
    return sorted(
        (n, dataset.classes[c]) for s in dataset.splits.values() for n, c in zip(s.names, s.labels, strict=True)
    )


def test_what_the_webdataset_library_writes_is_read_with_its_numbers(tmp_path: Path) -> None:
    kinds = ("JPEG", "PNG", "WEBP")
    samples = [{("jpeg", "png", "webp")[i % 3]: jpeg(i, kinds[i % 3]), "cls": i % 11} for i in range(44)]
    dataset = open_data(str(written(tmp_path / "w", samples)))
    assert dataset.classes == tuple(map(str, range(11)))  # by number: 10 after 9
    assert [label for _, label in labels(dataset)] == [str(i % 11) for i in range(44)]
    assert {n.partition("/")[0] for n, _ in labels(dataset)} == {f"train-{i:06d}.tar" for i in range(7)}


@pytest.mark.parametrize("word", ["label", "cls", "class", "target"])
def test_labels_may_stand_in_json_as_numbers_or_names(tmp_path: Path, word: str) -> None:
    samples = [{"jpg": jpeg(i), "json": {word: ("cat", "dog")[i % 2], "more": [1]}} for i in range(20)]
    assert open_data(str(written(tmp_path / "w", samples))).classes == ("cat", "dog")
    samples = [{"jpg": jpeg(i), "json": {word: i % 2}} for i in range(20)]
    assert open_data(str(written(tmp_path / "v", samples))).classes == ("0", "1")


def test_classes_txt_names_the_numbers_in_its_order(tmp_path: Path) -> None:
    folder = written(tmp_path / "w", [{"jpg": jpeg(i), "cls": i % 2} for i in range(20)])
    (folder / "classes.txt").write_text("zebra\nant\n")
    dataset = open_data(str(folder))
    assert dataset.classes == ("zebra", "ant")
    assert labels(dataset)[0] == ("train-000000.tar/s00000.jpg", "zebra")
    (folder / "classes.txt").write_text("zebra\n")
    with pytest.raises(DataError, match="names 1 classes, and a sample is of class 1"):
        open_data(str(folder))


def test_splits_come_from_the_names_and_what_val_has_not_in_train_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "w", [{"jpg": jpeg(i), "cls": i % 2} for i in range(20)])
    written(folder, [{"jpg": jpeg(50 + i), "cls": i % 2} for i in range(6)], "val-%06d.tar")
    dataset = open_data(str(folder))
    assert len(dataset.splits["test"]) == 6
    written(folder, [{"jpg": jpeg(60), "cls": 9}], "test-%06d.tar")
    with pytest.raises(DataError, match="class '9' is in test but not in train"):
        open_data(str(folder))


def test_samples_that_cannot_be_used_are_named_with_the_reason(tmp_path: Path) -> None:
    good = [{"jpg": jpeg(i), "cls": i % 2} for i in range(20)]
    bad: list[dict[str, Any]] = [
        {"jpg": b"no picture", "cls": 0}, {"jpg": jpeg(30)[:900], "cls": 1}, {"jpg": jpeg(31)},
        {"jpg": b"", "cls": 1}, {"cls": 1}, {"jpg": jpeg(32), "json": b"{"}, {"jpg": jpeg(33), "cls": "x" * 2**21},
    ]  # fmt: skip
    dataset = open_data(str(written(tmp_path / "w", good + bad, most=100)))
    reasons = {s.path.rpartition("/")[2]: s.reason for s in dataset.skipped}
    assert len(reasons) == len(bad) and len(labels(dataset)) == len(good)
    assert "no label" in reasons["s00022.jpg"] and "without a picture" in reasons["s00024.cls"]
    assert "larger than any label" in reasons["s00026.jpg"] and "empty" in reasons["s00023.jpg"]


def test_headers_are_gone_through_once_and_again_where_a_shard_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []
    real = scan.gone_through
    monkeypatch.setattr(scan, "gone_through", lambda *words: times.append(1) or real(*words))
    folder = written(tmp_path / "w", [{"jpg": jpeg(i), "cls": i % 2} for i in range(20)])
    first = open_data(str(folder))
    second = open_data(str(folder))
    assert len(times) == 1 and first.fingerprint == second.fingerprint
    assert labels(first) == labels(second) and first.notes == second.notes
    written(folder, [{"jpg": jpeg(i), "cls": i % 2} for i in range(22)])
    assert open_data(str(folder)).fingerprint != first.fingerprint and len(times) == 2
    for kept in (tmp_path / "cache/shards").glob("*.npz"):
        kept.write_bytes(b"damaged")
    assert len(labels(open_data(str(folder)))) == 22 and len(times) == 3


def test_a_set_is_the_same_wherever_it_lies_and_however_it_is_named(tmp_path: Path) -> None:
    samples = [{"jpg": jpeg(i), "cls": i % 2} for i in range(20)]
    here, there = written(tmp_path / "a", samples), written(tmp_path / "b", samples)
    words = [str(here), str(there), f"{here}/train-{{000000..000002}}.tar", f"{there}/train-00000{{0,1,2}}.tar"]
    assert len({open_data(w).fingerprint for w in words}) == 1
    assert len({tuple(labels(open_data(w))) for w in words}) == 1
    one = open_data(f"{here}/train-000001.tar")
    assert sum(map(len, one.splits.values())) == 7 and one.fingerprint != open_data(words[0]).fingerprint


# -- hostile files --------------------------------------------------------------------------------------------------


def tar_of(path: Path, *members: tarfile.TarInfo | tuple[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def good_members() -> list[tuple[str, bytes]]:
    return [m for i in range(12) for m in ((f"g{i}.jpg", jpeg(i)), (f"g{i}.cls", b"%d" % (i % 2)))]


def test_only_regular_members_are_read_and_names_are_words(tmp_path: Path) -> None:
    strange = []
    for i, (kind, link) in enumerate(
        ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "g0.jpg"), (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, ""),
         (tarfile.DIRTYPE, ""))
    ):  # fmt: skip
        info = tarfile.TarInfo(f"x{i}.jpg")
        info.type, info.linkname = kind, link
        strange.append(info)
    names = ("/etc/shadow.jpg", "../../up.jpg", "a/../../b.jpg", "\x1b[31m.jpg", "C:\\x.jpg", "é\udcff.jpg")
    odd = [m for i, n in enumerate(names) for m in ((n, jpeg(40 + i)), (n[:-3] + "cls", b"1"))]
    before = set(tmp_path.rglob("*"))
    path = tar_of(tmp_path / "w/train-0.tar", *strange, *good_members(), *odd, format=tarfile.GNU_FORMAT)
    dataset = open_data(str(path))
    found = [n for n, _ in labels(dataset)]
    assert len(found) == 12 + len(names) and "train-0.tar//etc/shadow.jpg" in found
    assert not any("x0.jpg" in n for n in found)
    written_by_us = {p for p in set(tmp_path.rglob("*")) - before if "cache" not in p.parts}
    assert written_by_us == {tmp_path / "w", path}


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


HOSTILE = {
    "a member that is larger than the file": header("a.jpg", 10**9) + b"x" * 1024,
    "a header of a gigabyte": header("././@LongLink", 10**9, tarfile.GNUTYPE_LONGNAME) + b"x" * 2**20,
    "an extended header of a gigabyte": header("p", 2**30, tarfile.XHDTYPE) + b"x" * 2**20,
    "headers within headers": header("././@LongLink", 1, tarfile.GNUTYPE_LONGNAME) * 5000,
    "a size below nothing": header("p", 18, tarfile.XHDTYPE) + b"18 size=-999999999\n".ljust(512, b"\0")
    + header("a.jpg", 0) + bytes(1024),
    "random bytes": np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8).tobytes(),
    "nothing": b"",
    "text": b"this is no tar file " * 100,
    "a damaged header in the middle": header("a.txt", 0) + b"\xff" * 512 + bytes(1024),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_tar_file_ends_in_one_line(tmp_path: Path, what: str) -> None:
    import tracemalloc

    path = tmp_path / "train-0.tar"
    path.write_bytes(HOSTILE[what])
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            open_data(str(path))
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and "train-0.tar" in str(caught.value)


def test_a_shard_that_is_cut_off_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "train-0.tar", *good_members())
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) // 2 // 512 * 512, 700, 512):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"train-0\.tar: not a whole tar file"):
            open_data(str(path))


def test_sparse_members_are_passed_by(tmp_path: Path) -> None:
    info = tarfile.TarInfo("s.jpg")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**40)}
    body = b"1\n0\n5\n".ljust(512, b"\0") + b"hello"
    info.size = len(body)
    path = tmp_path / "train-0.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(body))
        for name, data in [("s.cls", b"1"), *good_members()]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert len(labels(open_data(str(path)))) == 12


def test_very_many_tiny_members_take_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "train-0.tar"
    with open(path, "wb") as file:
        for i in range(6000):
            file.write(header(f"{i}.txt", 0))
        file.write(bytes(1024))
    with open(path, "rb") as file:
        tracemalloc.start()
        try:
            count = sum(1 for _ in entries(file, path.stat().st_size, "x"))
            assert count == 6000 and tracemalloc.get_traced_memory()[1] < 2**19
        finally:
            tracemalloc.stop()


def test_a_shard_that_changes_while_it_is_used_is_noticed(tmp_path: Path) -> None:
    folder = written(tmp_path / "w", [{"jpg": jpeg(i), "cls": i % 2} for i in range(20)])
    split = open_data(str(folder)).splits["train"]
    written(folder, [{"jpg": jpeg(i), "cls": i % 2} for i in range(30, 50)])
    with pytest.raises(DataError, match="changed since it was opened"):
        for i in range(len(split)):
            split.images[i]


def test_json_of_ours_without_the_index_still_tells_names_and_classes(shards: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in shards.glob("*.tar"):
        (bare / path.name).write_bytes(path.read_bytes())
    with_index, without = open_data(str(shards)), open_data(str(bare))
    assert labels(with_index) == labels(without) and with_index.fingerprint == without.fingerprint
    assert json.dumps(with_index.classes) == json.dumps(without.classes)
