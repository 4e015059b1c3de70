import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from acceptance import Acceptance, make_acceptance_folder, picture, save
from residua.data.dataset import ArrayImages, Dataset, FileImages
from residua.data.folder import open_folder
from residua.data.sources import open_data
from residua.errors import DataError

Photos = Callable[..., Path]


def names(dataset: Dataset) -> set[str]:
    return {n for split in dataset.splits.values() for n in split.names}


def several(folder: str, n: int = 3) -> list[str]:
    return [f"{folder}/{i}.png" for i in range(n)]


def test_a_scan_names_each_bad_file_with_its_reason_and_uses_all_others(acceptance: Acceptance) -> None:
    dataset = open_folder(str(acceptance.root))
    assert names(dataset) == acceptance.good
    assert {s.path for s in dataset.skipped} == acceptance.bad.keys()
    for skipped in dataset.skipped:
        assert acceptance.bad[skipped.path] in skipped.reason


def test_a_scan_never_changes_a_file(tmp_path: Path) -> None:
    def state() -> list[tuple[str, int, str]]:
        found = []
        for path in sorted(tmp_path.rglob("*")):
            if path.is_file():
                found.append((str(path), path.stat().st_mtime_ns, hashlib.md5(path.read_bytes()).hexdigest()))
        return found

    make_acceptance_folder(tmp_path)
    before = state()
    dataset = open_data(str(tmp_path))
    for split in dataset.splits.values():
        for i in range(len(split)):
            split.images[i]
    assert state() == before


def test_the_classes_are_those_of_train_and_an_empty_class_elsewhere_shifts_nothing(acceptance: Acceptance) -> None:
    dataset = open_folder(str(acceptance.root))
    assert dataset.classes == ("ants", "bees", "moths", "wasps")
    for split in dataset.splits.values():
        for name, label in zip(split.names, split.labels, strict=True):
            assert name.split("/")[1] == dataset.classes[label]
    assert "test has no picture of wasps" in open_data(str(acceptance.root)).notes


def test_pictures_and_names_and_labels_stay_together(photos: Photos) -> None:
    root = photos(*several("ants", 9), *several("bees", 9))
    for split in open_data(str(root)).splits.values():
        assert isinstance(split.images, FileImages)
        for path, name, label in zip(split.images.paths, split.names, split.labels, strict=True):
            assert Path(path) == root / name
            assert name.startswith(("ants", "bees")[label])


def test_a_class_that_train_lacks_is_an_error(photos: Photos) -> None:
    root = photos("train/ants/1.png", "train/bees/1.png", "val/wasps/1.png")
    with pytest.raises(DataError, match="class 'wasps' is in val but not in train"):
        open_folder(str(root))


def test_one_class_is_an_error(photos: Photos) -> None:
    with pytest.raises(DataError, match=r"only one class \('ants'\)"):
        open_folder(str(photos("ants/1.png", "ants/2.png")))


def test_a_class_without_usable_pictures_is_left_out_and_named(photos: Photos) -> None:
    root = photos(*several("ants"), *several("bees"))
    (root / "empty").mkdir()
    (root / "broken").mkdir()
    (root / "broken" / "1.jpg").touch()
    dataset = open_folder(str(root))
    assert dataset.classes == ("ants", "bees")
    assert "no usable picture in broken, empty: not among the classes" in dataset.notes


def test_a_folder_without_labelled_pictures_says_what_to_do(photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "ants").mkdir()
    with pytest.raises(DataError, match="no image in any class folder"):
        open_folder(str(tmp_path))
    root = photos("1.png", "2.png")
    with pytest.raises(DataError, match="images without class folders: put those of each class"):
        open_folder(str(root))
    (root / "labels.csv").touch()
    with pytest.raises(DataError, match=r"did you mean .*labels\.csv\?"):
        open_folder(str(root))


def test_a_folder_around_the_folder_says_which_one_was_meant(photos: Photos) -> None:
    root = photos(*several("photos/ants"), *several("photos/bees"))
    with pytest.raises(DataError, match=r"only one class \('photos'\).*did you mean .*photos\?"):
        open_folder(str(root))


def test_a_file_of_bad_pictures_alone_names_the_first(tmp_path: Path) -> None:
    for name in ("ants", "bees"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    with pytest.raises(DataError, match=r"no usable image; the first of 2 skipped: ants/1\.jpg: an empty file"):
        open_folder(str(tmp_path))


def test_what_computers_leave_behind_is_no_class_and_no_picture(photos: Photos) -> None:
    root = photos(*several("ants"), *several("bees"), "ants/.hidden.png", ".git/1.png", "__MACOSX/ants/1.png")
    (root / "ants" / "Thumbs.db").touch()
    dataset = open_folder(str(root))
    assert dataset.classes == ("ants", "bees")
    assert len(names(dataset)) == 6
    assert dataset.skipped == ()


def test_pictures_beside_the_class_folders_are_skipped_by_name(photos: Photos) -> None:
    dataset = open_folder(str(photos("stray.png", *several("ants"), *several("bees"))))
    assert [(s.path, s.reason) for s in dataset.skipped] == [("stray.png", "lies outside the class folders")]


def test_links_are_followed_but_never_in_circles(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "far.png", picture())
    root = photos(*several("ants"), *several("bees"))
    (root / "wasps").symlink_to(elsewhere)
    (root / "ants" / "up").symlink_to(root)
    (root / "bees" / "self").symlink_to(root / "bees")
    (root / "bees" / "me.png").symlink_to(root / "bees" / "me.png")
    dataset = open_folder(str(root))
    assert "wasps/far.png" in names(dataset)
    assert {s.path for s in dataset.skipped} >= {"bees/self", "bees/me.png"}
    assert len(names(dataset)) < 40


def test_a_class_may_be_called_train(photos: Photos) -> None:
    assert open_folder(str(photos(*several("bus"), *several("train"), *several("test")))).classes == (
        "bus",
        "test",
        "train",
    )
    assert "testing" in open_folder(str(photos("testing/1.png"))).classes


@pytest.mark.parametrize("word", ["validation", "Valid", "VAL"])
def test_splits_go_by_their_usual_names(photos: Photos, word: str) -> None:
    root = photos("training/a/1.png", "training/b/1.png", f"{word}/a/1.png", "test/b/1.png")
    assert {s: len(v) for s, v in open_folder(str(root)).splits.items()} == {"train": 2, "val": 1, "test": 1}


def test_two_folders_for_one_split_are_an_error(photos: Photos) -> None:
    with pytest.raises(DataError, match=r"both val/ and valid/ could be the val split"):
        open_folder(str(photos("train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png")))


def test_folders_beside_the_splits_are_named(photos: Photos) -> None:
    root = photos("train/a/1.png", "train/b/1.png", "old/a/1.png")
    assert "not used, since they are no splits: old" in open_folder(str(root)).notes


def test_tiny_imagenets_layout_is_read(photos: Photos) -> None:
    root = photos(
        *several("train/n01/images", 5), *several("train/n02/images", 5), *several("val/images", 4), "test/images/t.png"
    )
    (root / "train" / "n01" / "n01_boxes.txt").write_text("0.png\t0\t0\t9\t9\n")
    rows = ["0.png\tn02\t0\t0\t9\t9", "1.png\tn01\t0\t0\t9\t9", "2.png\tn02\t1\t1\t9\t9", "lost.png\tn01\t0\t0\t1\t1"]
    (root / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    dataset = open_folder(str(root))
    assert dataset.classes == ("n01", "n02")
    assert {s: len(v) for s, v in dataset.splits.items()} == {"train": 10, "val": 3}
    val = dataset.splits["val"]
    assert dict(zip(val.names, val.labels.tolist(), strict=True)) == {
        "val/images/0.png": 1,
        "val/images/1.png": 0,
        "val/images/2.png": 1,
    }
    assert {s.path: s.reason for s in dataset.skipped} == {
        "train/n01/n01_boxes.txt": "not an image by its ending '.txt'",
        "val/images/3.png": "has no row in val_annotations.txt",
        "val/images/lost.png": "no such file, named in val_annotations.txt",
    }
    assert "test/ has no labels and is left out" in dataset.notes


def test_a_fingerprint_depends_on_the_data_alone(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = photos(*several("ants", 5), *several("bees", 5))
    first = open_data(str(root)).fingerprint
    copy = tmp_path_factory.mktemp("copy") / "other"
    shutil.copytree(root, copy)
    assert open_data(str(copy), seed=7, limit=2, val_fraction=0.3).fingerprint == first
    (copy / "ants" / "0.png").rename(copy / "bees" / "new.png")
    moved = open_data(str(copy)).fingerprint
    save(copy / "ants" / "1.png", picture(50, 60))
    assert len({first, moved, open_data(str(copy)).fingerprint}) == 3


def test_small_equal_squares_are_kept_in_memory_as_they_decode(photos: Photos) -> None:
    root = photos(*several("ants", 6), *several("bees", 6), side=12)
    dataset = open_data(str(root))
    assert (dataset.same_size, dataset.side_px, dataset.channels) == (True, 12, 3)
    from_files = open_folder(str(root)).splits["train"]
    pictures = {name: from_files.images[i] for i, name in enumerate(from_files.names)}
    for split in dataset.splits.values():
        assert isinstance(split.images, ArrayImages)
        assert all(torch.equal(split.images[i], pictures[name]) for i, name in enumerate(split.names))


def test_a_picture_that_breaks_only_when_decoded_is_left_out_of_memory(photos: Photos) -> None:
    root = photos(*several("ants", 6), *several("bees", 6), side=48)
    data = bytearray((root / "ants" / "2.png").read_bytes())
    data[50:60] = bytes(10)  # in the middle: the file still ends well
    (root / "ants" / "2.png").write_bytes(data)
    dataset = open_data(str(root))
    assert [s.path for s in dataset.skipped] == ["ants/2.png"]
    assert sum(map(len, dataset.splits.values())) == 11
    assert "1 more pictures cannot be decoded and are left out" in dataset.notes


def test_mixed_sizes_tell_the_median_short_side(photos: Photos) -> None:
    root = photos(*several("ants", 3), *several("bees", 3))  # 20, 21 and 22 by 24
    dataset = open_folder(str(root))
    assert (dataset.same_size, dataset.side_px) == (False, 21)


def test_a_grey_set_has_one_channel(tmp_path: Path) -> None:
    for name in ("ants/1.png", "ants/2.png", "bees/1.png", "bees/2.png"):
        save(tmp_path / name, picture()[..., 0])
    dataset = open_folder(str(tmp_path))
    assert dataset.channels == 1
    assert dataset.splits["train"].images[0].shape == (1, 30, 40)
    assert "all pictures are grey: one channel" in dataset.notes


def test_a_stray_gif_is_used_and_pointed_at(photos: Photos) -> None:
    root = photos(*several("ants", 20), *several("bees", 19), "bees/imageNotFound.gif")
    notes = open_folder(str(root)).notes
    assert any("1 GIF among 40 pictures" in n and "bees/imageNotFound.gif" in n for n in notes)


def test_a_folder_named_like_a_known_set_is_another_set(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        save(tmp_path / "cifar10" / name, picture())
    assert open_folder(str(tmp_path / "cifar10")).name == "cifar10-files"
    assert open_folder(f"{tmp_path}/cifar10/../cifar10/").name == "cifar10-files"


@pytest.mark.data
def test_hymenoptera_works_as_it_is(real_data: str) -> None:
    dataset = open_data(f"{real_data}/hymenoptera_data")
    assert dataset.classes == ("ants", "bees")
    counts = {s: np.bincount(v.labels).tolist() for s, v in dataset.splits.items()}
    assert counts["test"] == [70, 83]
    assert np.add(counts["train"], counts["val"]).tolist() == [124, 121]  # 123 photos of ants and the GIF
    assert dataset.skipped == ()
    assert any("train/ants/imageNotFound.gif" in note for note in dataset.notes)


@pytest.mark.data
def test_tiny_imagenet_works_as_it_is(real_data: str) -> None:
    dataset = open_data(f"{real_data}/tiny-imagenet-10", val_fraction=0)
    assert {s: np.bincount(v.labels).tolist() for s, v in dataset.splits.items()} == {
        "train": [500] * 10,
        "test": [50] * 10,
    }
    assert (dataset.side_px, dataset.same_size, dataset.channels) == (64, True, 3)
    assert {Path(s.path).suffix for s in dataset.skipped} == {".txt"}
