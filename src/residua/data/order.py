"""Which samples an epoch shows, in which order: pure functions of (seed, epoch).

A permutation of all samples would touch every shard in every batch. Where shards are far away, the shards are permuted,
and then the samples within a window of a few shards: each is fetched once an epoch, and is done with soon.
"""

from functools import lru_cache

import numpy as np

from residua import seeds
from residua.data.dataset import FileImages, Indices, Split
from residua.data.shards.members import Members


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, n: int) -> Indices:
    """The order of n samples in an epoch (read-only)."""
    permutation = seeds.generator(seed, "order", epoch).permutation(n)
    permutation.flags.writeable = False
    return permutation


def shown(seed: int, epoch: int, split: Split) -> Indices:
    """The order of a split's samples in an epoch (read-only): in windows where its shards are far away."""
    plain = order(seed, epoch, len(split))
    return plain if windows(seed, epoch, split) is None else in_windows(seed, epoch, split)


@lru_cache(maxsize=4)
def in_windows(seed: int, epoch: int, split: Split) -> Indices:
    """The samples of one window after the other, those of each in a random order (read-only)."""
    plain = order(seed, epoch, len(split))
    number = windows(seed, epoch, split)
    assert number is not None
    rows = plain[np.argsort(number[plain], kind="stable")]
    rows.flags.writeable = False
    return rows


@lru_cache(maxsize=4)
def windows(seed: int, epoch: int, split: Split) -> Indices | None:
    """The window of each sample (n,): neighbours in a permutation of the shards. None where all may be read at once."""
    if (far := far_away(split)) is None:
        return None
    shards, which = np.unique(far.codes, return_inverse=True)
    turn = seeds.generator(seed, "shards", epoch).permutation(len(shards))
    number: Indices = turn[which] // far.window
    return number


def expect(split: Split, coming: Indices) -> None:
    """Have the shards of the samples that come next fetched, where they are far away: those of one window."""
    if (far := far_away(split)) is not None:
        far.expect(coming)


def far_away(split: Split) -> Members | None:
    """Where a split's pictures lie, if that is in shards far away."""
    places = split.images.paths if isinstance(split.images, FileImages) else None
    return places if isinstance(places, Members) and places.remote else None


@lru_cache(maxsize=4)
def balanced(seed: int, epoch: int, split: Split) -> tuple[Indices, Indices]:
    """An epoch of as many samples that shows each class of a split equally often: positions (n,), keys (n,).

    The classes' shares differ by one at most, and so does how often a class's samples are shown: of a common class a
    part is left out, others each time; of a rare one all are shown again and again. Keys tell repeats apart.
    """
    labels, n = split.labels, len(split)
    rng = seeds.generator(seed, "balance", epoch)
    classes, counts = np.unique(labels, return_counts=True)
    shares = np.full(len(classes), n // len(classes)) + (rng.permutation(len(classes)) < n % len(classes))
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    samples, keys = np.empty(n, np.int64), np.empty(n, np.int64)
    ends = np.cumsum(shares)
    for those, share, end in zip(members, shares, ends, strict=True):
        rounds = np.arange(share) // len(those)
        shown = np.concatenate([rng.permutation(those) for _ in range(-(-share // len(those)))] or [those])[:share]
        samples[end - share : end], keys[end - share : end] = shown, shown + n * rounds
    mixed = rng.permutation(n)
    if (number := windows(seed, epoch, split)) is not None:
        mixed = mixed[np.argsort(number[samples[mixed]], kind="stable")]
    samples, keys = samples[mixed], keys[mixed]
    samples.flags.writeable = keys.flags.writeable = False
    return samples, keys
