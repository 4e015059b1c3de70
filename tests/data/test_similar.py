"""Laws of likeness: what is the same is found, what was saved anew or resized looks the same, other pictures do not."""

import hashlib
import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageEnhance

from residua.data.scan import shrunk
from residua.data.similar import BITS, Prints, alike, close, digest, joined, prints, same

Pixels = npt.NDArray[np.uint8]
N = 40


def scene(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A smooth picture of patches, as different from others as photos are."""
    patches = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def printed(images: list[Image.Image]) -> Prints:
    return prints(np.stack([shrunk(np.asarray(i)) for i in images]))


def saved(image: Image.Image, kind: str, **options: object) -> Image.Image:
    """The picture as it is after it was saved as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(file).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a JPEG of quality 20": lambda i: saved(i, "JPEG", quality=20),
    "a WebP": lambda i: saved(i, "WEBP", quality=60),
    "of odd sides": lambda i: i.resize((133, 101)),
    "enlarged": lambda i: i.resize((801, 599), Image.Resampling.BICUBIC),
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.2),
    "cut by 2 % at each side": lambda i: i.crop((6, 5, 314, 235)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_that_was_saved_anew_or_resized_looks_the_same(change: str):
    pairs = alike(printed([scene(s) for s in range(N)] + [CHANGES[change](scene(s)) for s in range(N)]))
    assert all(j - i == N for i, j in pairs.tolist()), "two pictures were taken for one"
    assert len(pairs) >= N - 1, "a hash may miss one of forty, no more"


def test_different_pictures_do_not_look_the_same_nor_does_a_mirrored_one():
    scenes = [scene(s) for s in range(4 * N)]
    assert not len(alike(printed(scenes)))
    mirrored = [s.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for s in scenes[:N]]
    assert not len(alike(printed(scenes[:N] + mirrored)))


def test_other_colours_with_the_same_shapes_are_another_picture():
    picture = np.asarray(scene(0))
    swapped = Image.fromarray(np.ascontiguousarray(picture[..., [1, 0, 2]]))
    grey = scene(0).convert("L").convert("RGB")
    assert not len(alike(printed([grey, scene(1)])))
    assert not len(alike(printed([scene(0), swapped])))


def test_flat_pictures_look_like_nothing():
    flat = [Image.new("RGB", (50, 40), shade) for shade in ("red", "red", "white", "black")]
    found = printed(flat)
    assert found.flat.all() and not len(alike(found))


def test_grey_is_seen_in_pixels_also_through_a_jpeg():
    grey = saved(scene(3).convert("L").convert("RGB"), "JPEG", quality=40)
    assert printed([grey, scene(3)]).grey.tolist() == [True, False]


def test_a_digest_is_the_128_bits_of_blake2b():
    data = b"ants and bees"
    low, high = digest(data)
    assert low.to_bytes(8, "little") + high.to_bytes(8, "little") == hashlib.blake2b(data, digest_size=16).digest()
    assert digest(data) == digest(memoryview(data)) != digest(data + b".")


def test_the_same_digests_are_grouped_in_order_of_their_first():
    digests = np.array([[1, 2], [3, 4], [1, 2], [1, 4], [3, 4], [1, 2]], np.uint64)
    assert [g.tolist() for g in same(digests)] == [[0, 2, 5], [1, 4]]
    assert same(digests[:0]) == []


def test_close_finds_exactly_the_pairs_that_a_look_at_every_pair_finds():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, 60, np.uint64)
    flipped = base.copy()
    for i in range(len(flipped)):  # from 0 to 2 BITS other bits
        for bit in rng.choice(64, i % (2 * BITS), replace=False):
            flipped[i] ^= np.uint64(1) << np.uint64(bit)
    hashes = np.unique(np.concatenate([base, flipped]))
    found = [tuple(sorted(p)) for pairs in close(hashes) for p in pairs.tolist()]
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    every = {(i, j) for i, j in np.argwhere(distance <= BITS).tolist() if i < j}
    assert len(found) == len(set(found)), "a pair was told twice"
    assert set(found) == every and len(every) > 20


def test_joined_is_the_connected_components():
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(1)
    pairs = np.sort(rng.integers(0, 200, (110, 2)), axis=1)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(200, 200))
    _, component = connected_components(graph, directed=False)
    expected = [np.flatnonzero(component == c).tolist() for c in range(component.max() + 1)]
    assert [g.tolist() for g in joined(200, pairs)] == sorted((e for e in expected if len(e) > 1), key=lambda e: e[0])
