"""The data sets that go by a name: scikit-learn's digits, and those that torchvision reads."""

import os
import socket
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from residua.data.dataset import ArrayImages, Dataset, Split, fingerprint
from residua.data.names import shown
from residua.data.splits import divided
from residua.errors import DataError

#: Of the 1,797 digits, how many are the test: the same ones for every seed.
DIGITS_TEST = 360


@dataclass(frozen=True)
class Source:
    """How torchvision names a set, where under the root it lies, and its classes where the files do not say them."""

    kind: str
    place: str
    classes: tuple[str, ...] = ()
    by_word: bool = False  # split="train" rather than train=True


TORCHVISION = {
    "cifar10": Source("CIFAR10", "cifar-10-batches-py"),
    "cifar100": Source("CIFAR100", "cifar-100-python"),
    "mnist": Source("MNIST", "MNIST/raw", tuple("0123456789")),
    "fashion_mnist": Source("FashionMNIST", "FashionMNIST/raw"),
    "svhn": Source("SVHN", "train_32x32.mat and test_32x32.mat", tuple("0123456789"), by_word=True),
    "stl10": Source("STL10", "stl10_binary", by_word=True),
}


def open_known(name: str, *, root: str | None = None, download: bool = True) -> Dataset:
    """A known set with its "train" and "test", in memory.

    Raises DataError where the files are neither under `root` (or $RESIDUA_DATA, or ~/.cache/residua) nor to be had.
    """
    if name == "digits":
        return digits()
    source = TORCHVISION[name]
    folder = Path(root or os.environ.get("RESIDUA_DATA") or "~/.cache/residua").expanduser()
    parts = {split: torchvision_part(name, source, split, folder, download) for split in ("train", "test")}
    splits = {split: split_of(f"{name}/{split}", *pixels_and_labels(part)) for split, part in parts.items()}
    return of_arrays(name, source.classes or tuple(map(str, parts["train"].classes)), splits)


def digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, 360 of them as the test (scikit-learn's; Alpaydin & Kaynak 1998)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.rint(data.images[:, None] * (255 / 16)).astype(np.uint8)  # 0 to 16 -> 0 to 255
    train, test = divided(split_of("digits", pixels, data.target.astype(np.int64)), DIGITS_TEST, "digits", "test")
    return of_arrays("digits", tuple("0123456789"), {"train": train, "test": test})


def torchvision_part(name: str, source: Source, split: str, folder: Path, download: bool) -> Any:
    """torchvision's own object for one split, downloaded if need be. Raises DataError that says where to put it."""
    import torchvision.datasets

    kind = getattr(torchvision.datasets, source.kind)
    which = {"split": split} if source.by_word else {"train": split == "train"}
    try:
        return kind(folder, **which, download=False)
    except (RuntimeError, OSError):
        pass
    advice = f"put {source.place} into {shown(str(folder))}, or name another folder with --root or RESIDUA_DATA"
    if not download:
        raise DataError(f"{name} is not (or not wholly) in {shown(str(folder))}: {advice}")
    patience = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(30)  # seconds; torchvision sets none and would hang where nothing answers
        with redirect_stdout(sys.stderr):
            return kind(folder, **which, download=True)
    except Exception as e:
        reason = (str(e).splitlines() or [""])[0] or type(e).__name__
        raise DataError(f"{name} cannot be downloaded ({reason}): {advice}") from e
    finally:
        socket.setdefaulttimeout(patience)


def pixels_and_labels(part: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """uint8 (N, C, H, W) and (N,) of a torchvision set, which keeps them in several shapes."""
    pixels = np.asarray(part.data)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[-1] == 3:
        pixels = pixels.transpose(0, 3, 1, 2)
    labels = np.asarray(part.labels if hasattr(part, "labels") else part.targets)
    return np.ascontiguousarray(pixels), labels.astype(np.int64)


def split_of(prefix: str, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Split:
    """The split of some arrays, its names counted from 0."""
    return Split(ArrayImages(torch.from_numpy(pixels)), labels, tuple(f"{prefix}/{i}" for i in range(len(labels))))


def of_arrays(name: str, classes: tuple[str, ...], splits: dict[str, Split]) -> Dataset:
    """The data set of some splits in memory."""
    arrays = {s: split.images.array.numpy() for s, split in splits.items() if isinstance(split.images, ArrayImages)}
    _, channels, _, side = arrays["train"].shape
    parts = [part for s, split in splits.items() for part in (s, split.labels, arrays[s])]
    return Dataset(name, classes, splits, channels, side, True, (), fingerprint(parts), ())
