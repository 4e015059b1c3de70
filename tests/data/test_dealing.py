"""Laws of dividing samples by class and by group; scikit-learn's splitters are the reference."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from residua.data.dealing import Groups, dealt, filled, grouped


def pictures(seed: int, classes: int = 4, groups: int = 61) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups (N,): groups of 1 to 12 samples, most of one class, some of several; classes uneven."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(classes, 8.0))
    labels, members = [], []
    for g in range(groups):
        n = int(rng.integers(1, 13))
        main = rng.choice(classes, p=shares)
        mixed = rng.random() < 0.3
        labels += [int(rng.choice(classes, p=shares)) if mixed and rng.random() < 0.5 else int(main) for _ in range(n)]
        members += [g] * n
    order = rng.permutation(len(labels))
    return np.array(labels)[order], np.array(members)[order] * 7 - 50


def apart(labels: np.ndarray, folds: np.ndarray, k: int) -> float:
    """The mean over classes of the standard deviation over folds of each class's share in them."""
    counts = np.stack([np.bincount(labels[folds == f], minlength=labels.max() + 1) for f in range(k)])
    total = counts.sum(0)
    return float((counts / np.maximum(total, 1)).std(0)[total > 0].mean())


def of_sklearn(splitter, labels, groups=None) -> np.ndarray:
    folds = np.empty(len(labels), int)
    for f, (_, test) in enumerate(splitter.split(np.zeros(len(labels)), labels, groups)):
        folds[test] = f
    return folds


@pytest.mark.parametrize("k", [2, 3, 5, 7])
@pytest.mark.parametrize("seed", range(3))
def test_folds_without_groups_are_as_even_as_scikit_learns(k, seed):
    labels = np.random.default_rng(seed).choice(4, 203, p=[0.5, 0.3, 0.12, 0.08])
    folds, theirs = dealt(labels, k, seed), of_sklearn(StratifiedKFold(k), labels)
    for part in (folds, theirs):
        counts = np.stack([np.bincount(labels[part == f], minlength=4) for f in range(k)])
        assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(np.bincount(folds, minlength=k)) <= 1


def test_the_folds_depend_on_seed_and_class_sizes_alone():
    labels = np.repeat([0, 1, 2], [20, 9, 5])
    assert np.array_equal(dealt(labels, 3, 0), dealt(labels.copy(), 3, 0))
    assert not np.array_equal(dealt(labels, 3, 0), dealt(labels, 3, 1))
    labels, groups = pictures(0)
    renamed = np.unique(groups, return_inverse=True)[1] * 3 + 100
    assert np.array_equal(grouped(labels, groups, [0.2] * 5, 1), grouped(labels, renamed, [0.2] * 5, 1))


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("seed", range(8))
def test_no_group_is_on_two_sides_and_every_sample_is_on_one(k, seed):
    labels, groups = pictures(seed)
    sides = grouped(labels, groups, [1 / k] * k, seed)
    assert set(sides.tolist()) == set(range(k))
    assert all(len(set(sides[groups == g])) == 1 for g in np.unique(groups))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_class_shares_of_grouped_folds_are_within_what_scikit_learn_reaches(k):
    ours, theirs = [], []
    for seed in range(30):
        labels, groups = pictures(seed)
        ours.append(apart(labels, grouped(labels, groups, [1 / k] * k, seed), k))
        splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
        theirs.append(apart(labels, of_sklearn(splitter, labels, groups), k))
    assert np.mean(ours) <= 1.1 * np.mean(theirs) and max(ours) <= max(theirs)


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("seed", range(10))
def test_the_greedy_way_is_scikit_learns_in_its_own_order(k, seed):
    labels, groups = pictures(seed)
    _, member = np.unique(groups, return_inverse=True)
    counts = np.zeros((member.max() + 1, 4), int)
    np.add.at(counts, (member, labels), 1)
    order = np.argsort(-counts.std(axis=1), kind="mergesort")
    mine = filled(Groups.of(member, labels), order, np.full(k, 1 / k))[member]
    theirs = of_sklearn(StratifiedGroupKFold(k), labels, groups)
    same = len(set(zip(mine.tolist(), theirs.tolist(), strict=True))) == k  # but for the names of the folds
    assert same or apart(labels, mine, k) == pytest.approx(apart(labels, theirs, k), rel=0.5)  # where two sides tie


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("seed", range(6))
def test_uneven_shares_are_met_by_every_class_as_far_as_groups_allow(share, seed):
    labels, groups = pictures(seed, groups=150)
    out = grouped(labels, groups, [1 - share, share], seed) == 1
    largest = np.bincount(np.unique(groups, return_inverse=True)[1]).max()
    for c in range(4):
        assert abs(out[labels == c].sum() - share * (labels == c).sum()) <= largest


def test_a_side_that_could_have_every_class_has_it():
    labels = np.array([0] * 40 + [1] * 40 + [2] * 3)
    groups = np.array(list(range(20)) * 2 + list(range(20, 60)) + [100, 101, 102])
    for seed in range(20):
        sides = grouped(labels, groups, [0.9, 0.1], seed)
        assert all(set(labels[sides == s]) == {0, 1, 2} for s in (0, 1))
