"""Pictures that are the same or nearly so: a hash of what a file holds, a hash of what it looks like, and who is alike.

Near duplicates are found in two steps: hashes of few different bits (`close`: all such pairs, without looking at every
pair), then a look at tiny copies of the two, since a hash of 64 bits may agree by chance (`alike`).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: The side of the picture that is hashed, and of the tiny copy that two pictures are compared by.
HASHED_PX, TILE_PX = 32, 8

#: Two pictures may be the same if at most this many of 64 bits differ. Of 396 photos of ants and bees, distinct ones
#: differ in 14 bits or more; halved, quartered, saved at quality 20, brightened, or cut by 2 % at each side, in 12 at most.
BITS = 11
#: ... and are, if the lightness of their tiny copies correlates this much and their colours differ no more than this (of 255).
CORRELATION, COLOUR = 0.9, 16.0

#: A picture whose lightness varies less than this (of 255) is flat: there is nothing in it to compare.
FLAT = 2.0

#: Four bands of 16 bits: of 11 different bits, one band has two at most (Norouzi et al. 2012, arXiv:1307.2982).
BANDS, BAND_BITS = 4, 16
NEIGHBOURS = [sum(1 << b for b in bits) for n in range(BITS // BANDS + 1) for bits in combinations(range(BAND_BITS), n)]

#: Candidates that are looked at together.
AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class Prints:
    """What N pictures look like: hashes (N,), tiny copies (N, 8, 8, 3), which are flat (N,), which are grey (N,)."""

    hashes: Hashes
    tiles: Pixels
    flat: Flags
    grey: Flags


def digest(data: bytes | memoryview) -> tuple[int, int]:
    """128 bits of what a file or picture holds, as two numbers (BLAKE2b)."""
    found = hashlib.blake2b(data, digest_size=16).digest()
    return int.from_bytes(found[:8], "little"), int.from_bytes(found[8:], "little")


def prints(small: Pixels) -> Prints:
    """What pictures look like, from small upright copies (N, 32, 32, 3).

    The hash is the sign, against their median, of the 64 lowest frequencies of a cosine transform of the lightness,
    save for the mean. Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", 3.2.1.
    """
    red, green, blue = (small[..., c].astype(np.float32) for c in range(3))
    lightness = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    k, x = np.arange(9)[:, None], np.arange(HASHED_PX)[None]
    cosines = np.cos(np.pi * (2 * x + 1) * k / (2 * HASHED_PX)).astype(np.float32)
    waves = cosines @ lightness @ cosines.T  # (N, 9, 9)
    low = np.concatenate([waves[:, :8, :8].reshape(-1, 64)[:, 1:], waves[:, 8:, 1]], axis=1)
    bits = np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)
    step = HASHED_PX // TILE_PX
    tiles = small.reshape(-1, TILE_PX, step, TILE_PX, step, 3).mean((2, 4), dtype=np.float32).round().astype(np.uint8)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return Prints(
        hashes=np.ascontiguousarray(bits).view(">u8")[:, 0].astype(np.uint64),
        tiles=tiles,
        flat=lightness.std((1, 2)) < FLAT,
        grey=spread.max((1, 2)) <= 4,  # of a grey JPEG saved as colour, rounding leaves so much
    )


# -- the same -------------------------------------------------------------------------------------------------------


def same(digests: npt.NDArray[np.uint64]) -> list[Indices]:
    """The groups (of two or more, positions sorted) whose digests (N, 2) are equal, the first of all first."""
    _, group = np.unique(digests, axis=0, return_inverse=True)
    return gathered(group.reshape(-1))


def gathered(group: Indices) -> list[Indices]:
    """The positions of each number in `group` (N,) that occurs twice or more, in the order of their first."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    parts = np.split(order, starts[1:]) if len(order) else []
    return sorted((part for part in parts if len(part) > 1), key=lambda part: int(part[0]))


# -- nearly the same ------------------------------------------------------------------------------------------------


def alike(found: Prints) -> npt.NDArray[np.int64]:
    """The pairs (P, 2), first < second, of pictures that look the same; flat ones look like nothing."""
    seen = np.flatnonzero(~found.flat)
    hashes, which = np.unique(found.hashes[seen], return_inverse=True)
    members = np.split(
        seen[np.argsort(which, kind="stable")], np.cumsum(np.bincount(which, minlength=len(hashes)))[:-1]
    )
    pairs = [chained(m) for m in members if len(m) > 1]
    for close_ones in close(hashes):
        first = np.array([members[i][0] for i in close_ones[:, 0]], np.int64)
        second = np.array([members[i][0] for i in close_ones[:, 1]], np.int64)
        pairs.append(np.stack([first, second], axis=1).reshape(-1, 2))
    every = np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
    every = np.sort(every, axis=1)
    return every[look_alike(found, every)]


def chained(members: Indices) -> Indices:
    """Pairs (n - 1, 2) that join the members: each with the first."""
    return np.stack([np.full(len(members) - 1, members[0]), members[1:]], axis=1)


def close(hashes: Hashes) -> Iterator[Indices]:
    """The pairs (P, 2) of positions in distinct hashes that differ in at most BITS bits, each once, some at a time.

    Whoever differs in so few bits differs in two bits at most of one of four bands, and is found in that band's sorted
    list: about N^2 / 900 pairs are looked at, not N^2 / 2.
    """
    shifts = [np.uint64(BAND_BITS * b) for b in range(BANDS)]
    for b in range(BANDS):
        band = ((hashes >> shifts[b]) & np.uint64(2**BAND_BITS - 1)).astype(np.int64)
        order = np.argsort(band, kind="stable")
        ordered = band[order]
        ends = np.searchsorted(ordered, np.arange(2**BAND_BITS + 1))
        for mask in NEIGHBOURS:
            other = band ^ mask
            low = ends[other]
            count = np.where(other > band, ends[other + 1] - low, 0) if mask else ends[other + 1] - low
            for first, second in expanded(low, count):
                i, j = first, order[second]
                keep = np.bitwise_count(hashes[i] ^ hashes[j]) <= BITS
                if not mask:
                    keep &= i < j
                i, j = i[keep], j[keep]
                for earlier in range(b):  # found there already
                    apart = np.bitwise_count(((hashes[i] ^ hashes[j]) >> shifts[earlier]) & np.uint64(2**BAND_BITS - 1))
                    i, j = i[apart > BITS // BANDS], j[apart > BITS // BANDS]
                if len(i):
                    yield np.stack([i, j], axis=1)


def expanded(low: Indices, count: Indices) -> Iterator[tuple[Indices, Indices]]:
    """For each position i of `low`, the pairs (i, low[i]), (i, low[i] + 1), ... of which there are ``count[i]``."""
    some = np.flatnonzero(count)
    ends = np.cumsum(count[some])
    start = 0
    while start < len(some):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + AT_ONCE, side="right")))
        rows, sizes = some[start:stop], count[some[start:stop]]
        first = np.repeat(rows, sizes)
        offsets = np.arange(len(first)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield first, low[first] + offsets
        start = stop


def look_alike(found: Prints, pairs: Indices) -> Flags:
    """Which pairs (P, 2) look the same by their tiny copies: lightness correlates, and colours agree where both have any."""
    out = np.zeros(len(pairs), np.bool_)
    for first in range(0, len(pairs), 2**14):
        i, j = pairs[first : first + 2**14].T
        a, b = (found.tiles[rows].reshape(len(rows), -1, 3).astype(np.float32) for rows in (i, j))
        light_a, light_b = a.mean(-1), b.mean(-1)
        colour = np.abs((a - light_a[..., None]) - (b - light_b[..., None])).mean((1, 2))
        light_a, light_b = (v - v.mean(1, keepdims=True) for v in (light_a, light_b))
        size = np.sqrt((light_a**2).sum(1) * (light_b**2).sum(1)) + 1e-6
        correlated = (light_a * light_b).sum(1) / size >= CORRELATION
        out[first : first + len(i)] = correlated & ((colour <= COLOUR) | found.grey[i] | found.grey[j])
    return out


def joined(n: int, pairs: Indices) -> list[Indices]:
    """The groups of n things that pairs (P, 2) join, directly or by way of others; positions sorted, the first first."""
    label = np.arange(n)
    while True:
        low = np.minimum(label[pairs[:, 0]], label[pairs[:, 1]])
        before = label.copy()
        np.minimum.at(label, pairs[:, 0], low)
        np.minimum.at(label, pairs[:, 1], low)
        label = label[label]
        if (label == before).all():
            return gathered(label)
