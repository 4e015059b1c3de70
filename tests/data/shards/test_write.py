import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from webdataset.tariterators import group_by_keys, tar_file_iterator

import acceptance
from residua.data.shards.layout import INDEX, UNFINISHED
from residua.data.shards.material import gathered
from residua.data.shards.write import write_shards
from residua.data.sources import open_data
from residua.errors import DataError


def read_by_webdataset(folder: Path, split: str) -> list[dict[str, bytes]]:
    samples: list[dict[str, bytes]] = []
    for path in sorted(folder.glob(f"{split}-*.tar")):
        with open(path, "rb") as file:
            members = ({**m, "__url__": path.name} for m in tar_file_iterator(file))
            samples += group_by_keys(members)
    return samples


def test_the_webdataset_library_reads_the_very_bytes_and_labels(folder: Path, shards: Path) -> None:
    samples = read_by_webdataset(shards, "train")
    classes = (shards / "classes.txt").read_text().split()
    assert len(samples) == 60 and len({s["__key__"] for s in samples}) == 60
    for sample in samples:
        said = json.loads(sample["json"])
        assert sample["jpg"] == (folder / said["name"]).read_bytes()
        assert classes[int(sample["cls"])] == said["class"] == said["name"].split("/")[0]


def test_the_same_pictures_and_seed_give_the_same_bytes_and_another_seed_another_order(
    folder: Path, tmp_path: Path
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_shards(gathered(str(folder)), tmp_path / name, seed=seed, shard_bytes=60_000)
    a, b, c = ({p.name: p.read_bytes() for p in sorted((tmp_path / n).iterdir())} for n in "abc")
    assert a == b
    assert a != c and a.keys() - {INDEX} >= {"train-000000.tar", "classes.txt"}


def test_neighbours_are_of_several_classes_and_shards_of_the_size_asked_for(shards: Path) -> None:
    labels = [int(s["cls"]) for s in read_by_webdataset(shards, "train")]
    assert len(set(labels[:10])) == 3
    sizes = [p.stat().st_size for p in shards.glob("*.tar")]
    assert len(sizes) > 3 and max(sizes) <= 60_000


def test_a_folder_and_its_shards_are_the_same_pictures(folder: Path, shards: Path) -> None:
    a, b = open_data(str(folder), val_fraction=0), open_data(str(shards), val_fraction=0)
    assert a.classes == b.classes and a.channels == b.channels and a.side_px == b.side_px
    where = {n: (s, i) for s, split in a.splits.items() for i, n in enumerate(split.names)}
    for split in b.splits.values():
        for i, name in enumerate(split.names):
            theirs, j = where[name]
            assert a.classes[a.splits[theirs].labels[j]] == b.classes[split.labels[i]]
            assert torch.equal(a.splits[theirs].images[j], split.images[i])


def test_a_known_set_is_written_without_loss_and_keeps_its_name_and_classes(tmp_path: Path) -> None:
    write_shards(gathered("digits"), tmp_path / "d")
    ours, digits = open_data(str(tmp_path / "d")), open_data("digits")
    assert ours.name == "digits" and ours.classes == digits.classes and ours.channels == 1
    assert len(ours.splits["test"]) == 360
    shown = dict(zip(digits.splits["test"].names, digits.splits["test"].images, strict=False))
    for name, picture in zip(ours.splits["test"].names[:50], ours.splits["test"].images, strict=False):
        assert torch.equal(shown[name], picture)


def test_what_cannot_be_read_is_left_out_and_named(acceptance: acceptance.Acceptance, tmp_path: Path) -> None:
    samples = gathered(str(acceptance.root))
    written = write_shards(samples, tmp_path / "s")
    assert sum(written.pictures.values()) == len(samples)
    named = {s.path for s in written.skipped}
    assert {name for name in acceptance.bad if not name.endswith("/")} <= named | {
        n for n in acceptance.bad if n not in named and not os.path.isfile(acceptance.root / n)
    }
    again = open_data(str(tmp_path / "s"), val_fraction=0)
    assert {s.path for s in again.skipped} == named
    assert set(again.splits["train"].names) <= acceptance.good


def test_a_picture_that_is_gone_by_now_is_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    for c in ("a", "b"):
        for i in range(3):
            acceptance.save(tmp_path / "in" / c / f"{i}.png", acceptance.picture(70, 70, seed=i))
    samples = gathered(str(tmp_path / "in"))
    (tmp_path / "in/a/1.png").unlink()
    (tmp_path / "in/b/2.png").write_bytes(b"other")
    written = write_shards(samples, tmp_path / "out")
    assert written.pictures == {"train": 4}
    assert sorted(s.path for s in written.skipped) == ["a/1.png", "b/2.png"]
    assert len(read_by_webdataset(tmp_path / "out", "train")) == 4


def test_groups_of_a_table_stay_together(folder: Path, tmp_path: Path) -> None:
    rows = [f"{p},{p.parent.name},{i % 7}" for i, p in enumerate(sorted(folder.rglob("*.JPG")))]
    table = tmp_path / "t.csv"
    table.write_text("path,label,group\n" + "\n".join(rows) + "\n")
    write_shards(gathered(str(table)), tmp_path / "s")
    a, b = open_data(str(table)), open_data(str(tmp_path / "s"))
    groups = {}
    for name, split in b.splits.items():
        assert split.groups is not None
        groups[name] = set(split.groups.tolist())
    assert not groups["train"] & groups["test"] and a.splits["train"].groups is not None


def test_shards_can_be_cut_again_and_stay_the_same_set(shards: Path, tmp_path: Path) -> None:
    written = write_shards(gathered(str(shards)), tmp_path / "one", shard_bytes=2**28)
    assert len(written.parts) == 1
    names = {n for s in open_data(str(tmp_path / "one")).splits.values() for n in s.names}
    assert names == {n for s in open_data(str(shards)).splits.values() for n in s.names}


def test_an_interrupted_folder_is_begun_again_and_gives_the_same_bytes(
    folder: Path, shards: Path, tmp_path: Path
) -> None:
    samples, out = gathered(str(folder)), tmp_path / "out"

    def stop(n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(samples, out, shard_bytes=60_000, moved=stop)
    assert (out / UNFINISHED).exists() and not (out / INDEX).exists()
    (out / "train-000000.tar").write_bytes(b"half of a shard")
    with pytest.raises(DataError, match="never finished"):
        open_data(str(out))
    assert write_shards(samples, out, shard_bytes=60_000).begun_again
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in shards.iterdir()}


def test_nothing_of_the_users_is_ever_overwritten(folder: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train-000000.tar").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for out in (shards, tmp_path / "mine", tmp_path / "file", tmp_path / "link"):
        with pytest.raises(DataError, match="never overwritten"):
            write_shards(gathered(str(folder)), out)
    assert (tmp_path / "mine" / "train-000000.tar").read_bytes() == b"mine"


def test_names_that_would_lead_out_are_kept_as_words_and_lead_nowhere(tmp_path: Path) -> None:
    acceptance.save(tmp_path / "evil ; rm.png", acceptance.picture(70, 70))
    acceptance.save(tmp_path / "x\n.png", acceptance.picture(70, 70, seed=1))
    (tmp_path / "in").mkdir()
    table = tmp_path / "in" / "t.csv"
    table.write_text(f'path,label\n../evil ; rm.png,../../etc\n"{tmp_path}/x\n.png",b\n')
    write_shards(gathered(str(table)), tmp_path / "s")
    with tarfile.open(tmp_path / "s/train-000000.tar") as tar:
        assert all(m.isreg() and m.name[:8].isdigit() and "/" not in m.name for m in tar)
    said = [json.loads(s["json"]) for s in read_by_webdataset(tmp_path / "s", "train")]
    assert {s["class"] for s in said} == {"../../etc", "b"}
    assert {Path(s["name"]).name for s in said} == {"evil ; rm.png", "x\n.png"}


def test_offsets_of_the_index_are_those_that_tarfile_finds(shards: Path) -> None:
    data = open_data(str(shards), val_fraction=0)
    for split in data.splits.values():
        for i in np.linspace(0, len(split) - 1, 5).astype(int):
            member = split.images.paths[int(i)]  # type: ignore[attr-defined]
            with tarfile.open(member.shard.place) as tar:
                assert member.read() == tar.extractfile(member.name).read()  # type: ignore[union-attr]
