"""Random choices as pure functions of what they are for.

Every random number of Residua is keyed by words and numbers such as ``(seed, "order", epoch)`` or
``(seed, "flip", epoch, sample)``: no generator carries state from one step to the next, so the position
of a run is its step alone. Ground: any room may import it; it imports numpy only.
"""

import hashlib

import numpy as np
import numpy.typing as npt

Uint64 = npt.NDArray[np.uint64]


def key(*words: int | str) -> int:
    """A 63-bit integer that depends on every word, equal on every machine and Python."""
    text = "\x1f".join(str(w) for w in words).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(*words: int | str) -> np.random.Generator:
    """A fresh numpy generator keyed by `words`."""
    return np.random.Generator(np.random.Philox(key(*words)))


def uniform(samples: npt.ArrayLike, *words: int | str) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each entry of `samples` (any integers), keyed by (words, entry).

    A counter-based hash (splitmix64; Steele et al. 2014, doi:10.1145/2660193.2660195), so a thousand samples
    cost one pass and each sample's number does not depend on its neighbours.
    """
    z = np.asarray(samples).astype(np.uint64)
    with np.errstate(over="ignore"):
        z = z * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key(*words))
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
