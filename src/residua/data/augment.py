"""Augmentations, a batch at a time but each sample on its own: random numbers are keyed by (seed, what, epoch, sample).

The order is fixed, however the words are written: the frame (pad-crop, random-resized-crop or short-side), flip,
rand-augment or trivial-augment, colour, normalisation, erasing, mixing. Pixels stay in numpy wherever torchvision is
not needed: numpy stays on the calling thread, so batches can be made beside training.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from residua import seeds
from residua.data.cache import Decoding
from residua.data.dataset import ArrayImages, FileImages, Images, Indices
from residua.data.names import Words, check_words
from residua.data.prepare import SHORT, Preparation
from residua.data.view import View, resized
from residua.errors import UsageError

Pixels = npt.NDArray[np.uint8]  # (N, C, S, S)
Floats = npt.NDArray[np.float32]  # (N, C, S, S), normalised
Mask = npt.NDArray[np.bool_]  # (N,)
Box = tuple[int, int, int, int]  # top, left, height, width

ERASE = "erase"


@dataclass(frozen=True, eq=False)
class Draw:
    """The random numbers of some samples (N positions in the split) in one epoch.

    `keys` (N,) tell a sample that is shown several times in the epoch apart: by default its position.
    """

    seed: int
    epoch: int
    samples: Indices
    keys: Indices | None = None

    def uniform(self, what: str) -> npt.NDArray[np.float64]:
        """A number in [0, 1) for each sample."""
        return seeds.uniform(self.own, self.seed, what, self.epoch)

    @property
    def own(self) -> Indices:
        """What is a sample's own: (N,)."""
        return self.samples if self.keys is None else self.keys

    def whole(self, what: str, below: int) -> Indices:
        """A whole number in [0, below) for each sample."""
        return (self.uniform(what) * below).astype(np.int64)

    def key(self, what: str, i: np.integer[Any] | int) -> tuple[int | str, ...]:
        """The words that key all that is random in `what` for the i-th of the samples."""
        return self.seed, what, self.epoch, int(self.own[i])


@dataclass(frozen=True, eq=False)
class Augment:
    """What is done to pictures before the net sees them: `words` as `check_words` returns them, {} for evaluation.

    Pictures in files come from `cache`, prepared.
    """

    view: View
    words: Words
    cache: Decoding = field(default_factory=Decoding)

    @property
    def mixes(self) -> bool:
        """Whether pairs of samples are mixed."""
        return bool(self.words.keys() & {"mixup", "cutmix"})

    def is_quick(self, images: Images) -> bool:
        """Whether a batch is a few array operations rather than work on each picture."""
        return self.is_gathered(images) and not self.words.keys() & EACH.keys()

    def is_gathered(self, images: Images) -> bool:
        """Whether the pictures lie in memory as the net will see them."""
        return isinstance(images, ArrayImages) and self.view.fits(images.array) and not self.words.keys() & BOXES.keys()

    @property
    def preparation(self) -> Preparation:
        """How a file becomes the picture that all this begins with: as the view shows it, or large enough for crops."""
        if not self.words.keys() & BOXES.keys():
            return Preparation(self.view)
        _, high = self.words.get("short-side", (0, 0))
        return Preparation(self.view, max(round(SHORT * self.view.side_px), int(high)))

    def batch(self, images: Images, draw: Draw) -> Tensor:
        """The samples of `draw`, augmented and normalised: float32 (N, C, S, S)."""
        return self.finished(torch.from_numpy(self.pixels(images, draw)), draw)

    def pixels(self, images: Images, draw: Draw) -> Pixels:
        """The samples of `draw`, all done to them that is done to whole numbers: uint8 (N, C, S, S), a copy."""
        pixels = self.framed(images, draw)
        for name, numbers in self.words.items():
            if name in WHOLE:
                pixels = WHOLE[name](pixels, draw, self.view, *numbers)
            elif name in EACH:
                for i, picture in enumerate(pixels):
                    pixels[i] = EACH[name](torch.from_numpy(picture), draw.key(name, i), self.view, *numbers).numpy()
        return pixels

    def finished(self, pixels: Tensor, draw: Draw) -> Tensor:
        """What `pixels` gave, normalised, and erased in part: float32 (N, C, S, S)."""
        x = self.view.normalise(pixels)
        if ERASE in self.words:
            erase(x.numpy(), draw, *self.words[ERASE])
        return x

    def framed(self, images: Images, draw: Draw) -> Pixels:
        """The pictures at the size the net will see, the augmentation's crop taken: uint8 (N, C, S, S), a copy."""
        if self.is_gathered(images):
            assert isinstance(images, ArrayImages)
            gathered: Pixels = images.array.numpy()[draw.samples]
            return gathered
        out = np.empty((len(draw.samples), self.view.channels, self.view.side_px, self.view.side_px), np.uint8)
        boxes = [(BOXES[name], name, numbers) for name, numbers in self.words.items() if name in BOXES]
        preparation = self.preparation
        for i, sample in enumerate(draw.samples):
            if isinstance(images, FileImages):
                image = self.cache.picture(images.paths[int(sample)], images.mode, preparation)
            else:
                image = images[int(sample)]
            for box, name, numbers in boxes:
                rng = seeds.generator(*draw.key(name, i))
                top, left, height, width = box(rng, image.shape[-2:], self.view.side_px, *numbers)
                image = image[:, top : top + height, left : left + width]
                image = resized(self.view, image, [self.view.side_px, self.view.side_px])
            if not (boxes or isinstance(images, FileImages)):
                image = self.view.picture(image)
            out[i] = self.view.coloured(image).numpy()
        return out


def parse(words: Iterable[str], view: View) -> Augment:
    """The augmentation that `words` such as ``pad-crop:4`` ask for. Raises UsageError if they do not fit."""
    asked = check_words(words)
    if (pad := asked.get("pad-crop", (0,))[0]) > view.side_px:
        raise UsageError(f"augmentation 'pad-crop:{pad:g}': the pictures have {view.side_px} pixels only")
    if (low := asked.get("short-side", (math.inf,))[0]) < view.side_px:
        raise UsageError(f"augmentation 'short-side:{low:g}': the crop of {view.side_px} pixels does not fit")
    return Augment(view, asked)


# -- all pictures at once -------------------------------------------------------------------------------------------


def pad_crop(pixels: Pixels, draw: Draw, view: View, pad: float) -> Pixels:
    """Each picture moved by up to `pad` pixels, what comes in filled with the mean colour.

    Source: He et al. 2015, sec. 4.2: padding after the mean is subtracted, so zeros are the mean.
    """
    n, c, size, _ = pixels.shape
    p = int(pad)
    wide = np.empty((n, c, size + 2 * p, size + 2 * p), np.uint8)
    wide[:] = np.array(view.mean_colour, np.uint8)[:, None, None]
    wide[:, :, p:-p, p:-p] = pixels
    windows = sliding_window_view(wide, (size, size), axis=(2, 3))  # (N, C, 2p + 1, 2p + 1, S, S), nothing copied
    y, x = moved(draw, p)
    crops: Pixels = windows[np.arange(n), :, y, x]
    return crops


def moved(draw: Draw, pad: int) -> tuple[Indices, Indices]:
    """Where each crop begins in its padded picture: rows and columns, 0 to 2 * pad."""
    return draw.whole("pad-crop-y", 2 * pad + 1), draw.whole("pad-crop-x", 2 * pad + 1)


def flip(pixels: Pixels, draw: Draw, view: View) -> Pixels:
    """Every other picture mirrored, left to right."""
    return mirror(pixels, at_random(draw))


def alternate_flip(pixels: Pixels, draw: Draw, view: View) -> Pixels:
    """Each picture mirrored in every other epoch, half of them beginning with the first.

    Two epochs then show both sides of every picture, where random flips show a half of them one side twice.
    Source: Jordan 2024, "alternating flip", arXiv:2404.00498.
    """
    return mirror(pixels, in_turn(draw))


def at_random(draw: Draw) -> Mask:
    """Which pictures `flip` mirrors."""
    return draw.uniform("flip") < 0.5


def in_turn(draw: Draw) -> Mask:
    """Which pictures `alternate_flip` mirrors."""
    return at_random(Draw(draw.seed, 0, draw.samples, draw.keys)) ^ bool(draw.epoch % 2)


def flipped(draw: Draw, words: Words) -> Mask | None:
    """Which pictures an augmentation mirrors, once or twice; None if it mirrors none."""
    masks = [which(draw) for word, which in FLIPS.items() if word in words]
    return np.logical_xor.reduce(masks) if masks else None


def mirror(pixels: Pixels, which: Mask) -> Pixels:
    """Some of the pictures mirrored, in place."""
    pixels[which] = pixels[which][..., ::-1]
    return pixels


def erase(x: Floats, draw: Draw, probability: float) -> None:
    """A rectangle of 2 to 33 % of the area set to the mean, in place (Zhong et al. 2017, arXiv:1708.04896)."""
    for i, (top, left, height, width) in erased(draw, x.shape[-2:], probability):
        x[i, :, top : top + height, left : left + width] = 0


def erased(draw: Draw, size: tuple[int, ...], probability: float) -> Iterator[tuple[int, Box]]:
    """Which pictures lose a rectangle, and where."""
    for i in np.flatnonzero(draw.uniform("erase") < probability):
        rng = seeds.generator(*draw.key("erase-box", i))
        if box := random_box(rng, size, (0.02, 0.33), (0.3, 3.3)):
            yield int(i), box


# -- the part of a picture that is used -----------------------------------------------------------------------------


def random_box(
    rng: np.random.Generator, size: tuple[int, ...], area: tuple[float, float], ratio: tuple[float, float]
) -> Box | None:
    """A box of a uniform share of the area and a log-uniform ratio (width / height), or None if ten do not fit."""
    height, width = size
    for _ in range(10):
        share, aspect = rng.uniform(*area), math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        h = round(math.sqrt(height * width * share / aspect))
        w = round(math.sqrt(height * width * share * aspect))
        if 0 < h <= height and 0 < w <= width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    return None


def resized_crop_box(rng: np.random.Generator, size: tuple[int, ...], side_px: int, smallest: float) -> Box:
    """A box of at least the `smallest` share of the area, ratio 3/4 to 4/3; of a strip, the middle.

    Source: Szegedy et al. 2014, sec. 6, arXiv:1409.4842, as torchvision's RandomResizedCrop draws it.
    """
    if box := random_box(rng, size, (smallest, 1.0), (3 / 4, 4 / 3)):
        return box
    height, width = size
    h, w = min(height, round(width / (3 / 4))), min(width, round(height * (4 / 3)))
    return (height - h) // 2, (width - w) // 2, h, w


def short_side_box(rng: np.random.Generator, size: tuple[int, ...], side_px: int, low: float, high: float) -> Box:
    """The square that is `side_px` wide once the short side is uniform in [low, high].

    Cropped before it is scaled, which differs from the other order by parts of a pixel and is cheaper.
    Source: Simonyan & Zisserman 2014, sec. 3.1; He et al. 2015, sec. 3.4.
    """
    height, width = size
    side = max(1, round(min(size) * side_px / rng.integers(int(low), int(high) + 1)))
    return int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1)), side, side


# -- one picture after the other ------------------------------------------------------------------------------------


def color(image: Tensor, key: tuple[int | str, ...], view: View, strength: float) -> Tensor:
    """Brightness, contrast and saturation each times 1 +- strength, in random order: torchvision's ColorJitter."""
    from torchvision.transforms.v2 import functional as tv

    rng = seeds.generator(*key)
    for i in rng.permutation(3):
        adjust = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)[i]
        image = adjust(image, rng.uniform(1 - strength, 1 + strength))
    return image


def rand_augment(image: Tensor, key: tuple[int | str, ...], view: View, operations: float, magnitude: float) -> Tensor:
    """Some random operations of one magnitude (Cubuk et al. 2019, arXiv:1909.13719)."""
    from torchvision.transforms.v2 import RandAugment

    do = RandAugment(int(operations), int(magnitude), interpolation=BILINEAR, fill=list(view.mean_colour))
    return seeded(do, image, key)


def trivial_augment(image: Tensor, key: tuple[int | str, ...], view: View) -> Tensor:
    """One random operation of a random magnitude (Mueller & Hutter 2021, arXiv:2103.10158)."""
    from torchvision.transforms.v2 import TrivialAugmentWide

    return seeded(TrivialAugmentWide(interpolation=BILINEAR, fill=list(view.mean_colour)), image, key)


def seeded(do: Callable[[Tensor], Tensor], image: Tensor, key: tuple[int | str, ...]) -> Tensor:
    """What a transform that draws from torch's global generator makes of a picture, the generator left as it was.

    Not beside training in a thread: the generator is the process's.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seeds.key(*key))  # torch.manual_seed would touch the GPU's as well
    try:
        return do(image)
    finally:
        torch.set_rng_state(state)


BILINEAR = "bilinear"
WHOLE: dict[str, Callable[..., Pixels]] = {"pad-crop": pad_crop, "flip": flip, "alternate-flip": alternate_flip}
FLIPS: dict[str, Callable[[Draw], Mask]] = {"flip": at_random, "alternate-flip": in_turn}
EACH: dict[str, Callable[..., Tensor]] = {
    "rand-augment": rand_augment,
    "trivial-augment": trivial_augment,
    "color": color,
}
BOXES: dict[str, Callable[..., Box]] = {"random-resized-crop": resized_crop_box, "short-side": short_side_box}


# -- pairs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Mixing:
    """How each of P pairs is mixed: by `share` of the own picture everywhere, or with a patch of the other's cut in."""

    share: npt.NDArray[np.float64]
    cut: npt.NDArray[np.bool_]
    centre: npt.NDArray[np.float64]  # (P, 2): y and x in [0, 1)

    def __call__(self, x: Floats | Tensor, labels: Indices, classes: int) -> Floats:
        """Mix neighbours (0, 1), (2, 3), ... of x (N, C, S, S) in place; return probabilities (N, classes).

        An odd last sample stays as it is.
        """
        targets = np.eye(classes, dtype=np.float32)[labels]
        own = self.own(x.shape[-1])
        for part, share in ((x, own), (targets, own.mean((1, 2, 3))[:, None])):
            mix(part, torch.from_numpy(share).to(part.device) if isinstance(part, Tensor) else share)
        return targets

    def take(self, pairs: slice) -> "Mixing":
        """Some of the pairs."""
        return Mixing(self.share[pairs], self.cut[pairs], self.centre[pairs])

    def own(self, side_px: int) -> Floats:
        """The own picture's share in each pixel: (P, 1, S, S), constant for a mixed pair, 0 or 1 for a cut one."""
        half = (0.5 * np.sqrt(1 - self.share) * side_px).astype(np.int64)[:, None, None]
        middle = (self.centre * side_px).astype(np.int64)[:, :, None]
        lines = np.abs(np.arange(side_px) + 0.5 - middle)  # (P, 2, S): distance of a pixel's middle
        inside = lines < half  # [middle - half, middle + half)
        patch = inside[:, 0, :, None] & inside[:, 1, None, :]
        share = np.where(self.cut[:, None, None], ~patch, self.share[:, None, None])
        return share[:, None].astype(np.float32)


def mix(x: Any, share: Any) -> None:
    """Mix neighbours of an array or tensor x (N, ...) in place: `share` (P, ...) of the own."""
    a, b = x[0 : 2 * len(share) : 2], x[1 : 2 * len(share) : 2]
    a[:], b[:] = a * share + b * (1 - share), b * share + a * (1 - share)


def mixing(words: Words, pairs: int, seed: int, step: int) -> Mixing:
    """The mixing of a whole batch, keyed by (seed, step); with both mixup and cutmix, each pair gets either.

    Sources: Zhang et al. 2017, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899.
    """
    rng = seeds.generator(seed, "mix", step)
    cut = rng.random(pairs) < 0.5 if {"mixup", "cutmix"} <= words.keys() else np.full(pairs, "cutmix" in words)
    alpha = np.where(cut, words.get("cutmix", (1.0,))[0], words.get("mixup", (1.0,))[0])
    return Mixing(rng.beta(alpha, alpha), cut, rng.random((pairs, 2)))
