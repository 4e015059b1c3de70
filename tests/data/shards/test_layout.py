from pathlib import Path

import pytest

from residua.data.names import check_spec
from residua.data.shards import layout
from residua.errors import DataError, ResiduaError, UsageError


def test_a_pattern_stands_for_what_the_webdataset_library_takes_it_for() -> None:
    from braceexpand import braceexpand

    for pattern in ("a-{000..012}.tar", "{train,val}-{0..3}.tar", "a.tar", "x{08..11}y{1,2}.tar"):
        assert layout.expanded(pattern) == list(braceexpand(pattern))


@pytest.mark.parametrize(
    "pattern",
    ["a-{0..99999999999}.tar", "a-{3..1}.tar", "a-{0..3.tar", "a-0..3}.tar", "a-{b}.tar", "a{{0..1}}.tar",
     "{0..999}{0..999}.tar", "https://h/{0..3}", "a.tar::b.zip"],
)  # fmt: skip
def test_a_pattern_that_cannot_be_meant_is_a_slip_of_the_hand(pattern: str) -> None:
    with pytest.raises(UsageError) as caught:
        layout.check(pattern)
    assert "\n" not in str(caught.value)


def test_names_and_folders_of_shards_tell_their_split() -> None:
    said = ("train-000.tar", "val_3.tar", "a/validation/0001.tar", "test.tar", "dev/x.tar", "imagenet-0.tar")
    assert [layout.split_of(s) for s in said] == ["train", "val", "val", "test", "val", "train"]


def test_a_folder_of_classes_stays_one_where_an_archive_lies_beside_them(tmp_path: Path) -> None:
    (tmp_path / "ants").mkdir()
    (tmp_path / "backup.tar").touch()
    assert not layout.recognised(str(tmp_path))
    (tmp_path / "ants").rmdir()
    assert layout.recognised(str(tmp_path))


def test_shards_may_lie_in_folders_of_their_splits(tmp_path: Path) -> None:
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.tar").touch()
    assert layout.in_folder(str(tmp_path)) == ["train/0.tar", "val/0.tar"]


def test_the_first_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a-0.tar").touch()
    with pytest.raises(DataError, match=r"a-1\.tar: no such file, the first of 3"):
        check_spec(str(tmp_path / "a-{0..2}.tar"))
    with pytest.raises(ResiduaError, match="no such file"):
        check_spec(str(tmp_path / "b.tar"))


@pytest.mark.parametrize("name", ["../a.tar", "/a.tar", "a/../b.tar", "https://h/a.tar", "a\\b.tar", "a/b/c.tar", ""])
def test_an_index_names_nothing_beyond_its_folder(name: str) -> None:
    assert not layout.is_plain(name)
