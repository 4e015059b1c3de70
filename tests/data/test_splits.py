from pathlib import Path

import numpy as np
import pytest
import torch

from residua.data.dataset import ArrayImages, Dataset, Split, fingerprint
from residua.data.splits import arranged, by_turns, held_out, limited
from residua.errors import UsageError

SIZES = (40, 20, 7, 3, 2, 1)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(6), SIZES))


def split(n_by_class: tuple[int, ...] = SIZES, prefix: str = "x") -> Split:
    labels = np.repeat(np.arange(len(n_by_class)), n_by_class)
    n = len(labels)
    pixels = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1)
    return Split(ArrayImages(pixels), labels, tuple(f"{prefix}/{i}" for i in range(n)))


def dataset(**splits: Split) -> Dataset:
    return Dataset("x", tuple("abcdef"), splits, 1, 1, True, (), fingerprint([]), ())


def test_each_class_is_held_out_by_its_share_but_never_wholly() -> None:
    out = held_out(LABELS, 15, 0, "val")
    assert np.bincount(LABELS[out], minlength=6).tolist() == [8, 4, 2, 1, 0, 0]
    assert np.array_equal(out, np.unique(out))


def test_exact_shares_sum_to_the_count() -> None:
    labels = np.repeat(np.arange(10), (178, 182, 177, 183, 181, 182, 181, 179, 174, 180))
    assert len(held_out(labels, 360, "digits", "test")) == 360


@pytest.mark.parametrize("count", [0, 1, 60, 73])
def test_extreme_shares_leave_something_on_either_side(count: int) -> None:
    taken = np.bincount(LABELS[held_out(LABELS, count, 0)], minlength=6)
    for n, size in zip(taken[:4], SIZES, strict=False):
        assert 1 <= n <= size - 1
    assert taken[4:].tolist() == [0, 0]


def test_the_choice_depends_on_the_seed_alone() -> None:
    first = held_out(LABELS, 15, 0, "val")
    assert np.array_equal(first, held_out(LABELS.copy(), 15, 0, "val"))
    assert not np.array_equal(first, held_out(LABELS, 15, 1, "val"))


def test_splits_that_came_with_the_data_stay() -> None:
    given = {"train": split(prefix="a"), "val": split(prefix="b"), "test": split(prefix="c")}
    found = arranged(dataset(**given), seed=0, val_fraction=0.1).splits
    assert list(found) == ["train", "val", "test"]
    assert all(found[k].names == given[k].names for k in given)


def test_val_alone_becomes_the_test_and_validation_comes_from_train() -> None:
    found = arranged(dataset(train=split(prefix="a"), val=split(prefix="b")), seed=0, val_fraction=0.1)
    assert found.splits["test"].names == split(prefix="b").names
    assert all(n.startswith("a/") for n in found.splits["val"].names)
    assert "the set's val split serves as the test, touched once at the end" in found.notes


def test_one_set_is_parted_into_three_that_share_nothing() -> None:
    whole = split()
    found = arranged(dataset(train=whole), seed=3, val_fraction=0.25)
    names = [n for s in found.splits.values() for n in s.names]
    assert sorted(names) == sorted(whole.names)
    for part in found.splits.values():
        assert [f"x/{v}" for v in part.images.array.flatten().tolist()] == list(part.names)
        assert list(part.names) == sorted(part.names, key=lambda n: int(n[2:]))
    assert np.bincount(found.splits["test"].labels).tolist() == [8, 4, 2, 1]
    assert any(note.startswith("fewer than three training pictures of e, f") for note in found.notes)


def test_without_a_share_there_is_no_validation() -> None:
    found = arranged(dataset(train=split(), test=split()), seed=0, val_fraction=0)
    assert list(found.splits) == ["train", "test"]
    assert found.splits["train"].names == split().names


def test_classes_too_small_to_part_leave_train_only() -> None:
    assert list(arranged(dataset(train=split((2, 2, 1, 1, 1, 1))), seed=0, val_fraction=0.1).splits) == ["train"]


def test_a_class_missing_from_a_split_is_named() -> None:
    found = arranged(dataset(train=split(), test=split((3, 0, 1, 1, 1, 0))), seed=0, val_fraction=0)
    assert "test has no picture of b, f" in found.notes


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_share_is_less_than_one(fraction: float) -> None:
    with pytest.raises(UsageError, match=r"must be in \[0, 1\)"):
        arranged(dataset(train=split()), seed=0, val_fraction=fraction)


def test_turns_take_every_class_before_any_twice() -> None:
    assert np.bincount(LABELS[by_turns(LABELS, 6)]).tolist() == [1] * 6
    assert np.bincount(LABELS[by_turns(LABELS, 13)]).tolist() == [3, 3, 2, 2, 2, 1]
    assert np.array_equal(by_turns(LABELS, 1000), np.arange(len(LABELS)))


def test_a_limit_takes_the_first_of_each_split_and_keeps_labels() -> None:
    found = limited(dataset(train=split(), test=split((1, 1, 1, 1, 1, 1))), 10, turns=False)
    assert found.splits["train"].names == split().names[:10]
    assert len(found.splits["test"]) == 6
    turned = limited(dataset(train=split()), 6, turns=True).splits["train"]
    assert turned.labels.tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(UsageError, match="at least one picture"):
        limited(dataset(train=split()), 0, turns=False)


def test_parts_of_different_length_make_no_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 images, 1 labels, 2 names"):
        Split(ArrayImages(torch.zeros(2, 1, 1, 1, dtype=torch.uint8)), np.zeros(1, np.int64), ("a", "b"))
