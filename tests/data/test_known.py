import struct
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from residua.data.dataset import ArrayImages
from residua.data.known import TORCHVISION, open_known, pixels_and_labels
from residua.data.names import KNOWN
from residua.data.sources import open_data
from residua.errors import DataError


def test_digits_are_scikit_learns_and_their_test_is_the_same_for_every_seed() -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    first, second = (open_data("digits", seed=s) for s in (0, 1))
    assert {s: len(v) for s, v in first.splits.items()} == {"train": 1293, "val": 144, "test": 360}
    assert first.splits["test"].names == second.splits["test"].names
    assert first.splits["val"].names != second.splits["val"].names
    assert first.fingerprint == second.fingerprint
    for split in first.splits.values():
        for i in (0, len(split) - 1):
            row = int(split.names[i].removeprefix("digits/"))
            assert split.labels[i] == source.target[row]
            assert torch.equal(split.images[i][0], torch.from_numpy(np.rint(source.images[row] * 255 / 16)).byte())
    assert sorted(n for s in first.splits.values() for n in s.names) == sorted(f"digits/{i}" for i in range(1797))


def test_digits_test_is_stratified() -> None:
    counts = np.bincount(open_data("digits").splits["test"].labels)
    assert counts.sum() == 360
    assert 35 <= counts.min() <= counts.max() <= 37


def test_every_known_set_has_a_source() -> None:
    assert {"digits", *TORCHVISION} == set(KNOWN)


@pytest.mark.parametrize("name", TORCHVISION)
def test_an_absent_set_says_where_to_put_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as e:
        open_data(name, root=str(tmp_path), download=False)
    assert str(tmp_path) in str(e.value)
    assert "put " in str(e.value)
    assert "RESIDUA_DATA" in str(e.value)
    assert "\n" not in str(e.value)


def test_offline_and_absent_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setenv("RESIDUA_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=r"cifar10 cannot be downloaded \(.*name resolution.*\): put cifar-10-batches-py"
    ):
        open_data("cifar10")


def idx(path: Path, array: np.ndarray) -> None:
    """A file in MNIST's own format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


def test_mnist_is_read_from_its_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = {
        "train": rng.integers(0, 256, (40, 28, 28), np.uint8),
        "t10k": rng.integers(0, 256, (9, 28, 28), np.uint8),
    }
    for split, array in pixels.items():
        idx(tmp_path / f"MNIST/raw/{split}-images-idx3-ubyte", array)
        idx(tmp_path / f"MNIST/raw/{split}-labels-idx1-ubyte", np.arange(len(array), dtype=np.uint8) % 4)
    dataset = open_data("mnist", root=str(tmp_path), val_fraction=0, download=False)
    assert (dataset.channels, dataset.side_px, len(dataset.classes)) == (1, 28, 10)
    test = dataset.splits["test"]
    assert isinstance(test.images, ArrayImages)
    assert np.array_equal(test.images.array[:, 0].numpy(), pixels["t10k"])
    assert test.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert test.names[8] == "mnist/test/8"


@pytest.mark.parametrize("shape", [(3, 5, 7, 3), (3, 3, 5, 7), (3, 5, 7)])
def test_torchvisions_layouts_all_become_n_c_h_w(shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels, labels = pixels_and_labels(SimpleNamespace(data=data, targets=[2, 0, 1]))
    assert pixels.shape == (3, 3 if len(shape) == 4 else 1, 5, 7)
    assert pixels.flags.c_contiguous
    pixel = data[1, 2, 3] if shape[-1] == 3 else data[1, ..., 2, 3]
    assert np.array_equal(pixels[1, :, 2, 3], np.atleast_1d(pixel))
    assert labels.dtype == np.int64


@pytest.mark.data
def test_cifar10_is_torchvisions(real_data: str) -> None:
    from torchvision.datasets import CIFAR10

    source = CIFAR10(real_data, train=False)
    dataset = open_known("cifar10", root=real_data, download=False)
    assert {s: len(v) for s, v in dataset.splits.items()} == {"train": 50_000, "test": 10_000}
    assert dataset.classes == tuple(source.classes)
    test = dataset.splits["test"]
    assert test.labels.tolist() == source.targets
    assert np.array_equal(test.images[77].permute(1, 2, 0).numpy(), source.data[77])
