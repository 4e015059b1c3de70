"""Which samples an epoch shows, in which order: pure functions of (seed, epoch)."""

from functools import lru_cache

import numpy as np

from residua import seeds
from residua.data.dataset import Indices, Split


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, n: int) -> Indices:
    """The order of n samples in an epoch (read-only)."""
    permutation = seeds.generator(seed, "order", epoch).permutation(n)
    permutation.flags.writeable = False
    return permutation


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
    samples, keys = samples[mixed], keys[mixed]
    samples.flags.writeable = keys.flags.writeable = False
    return samples, keys
