"""A model file whose norms have seen something, and a cache of each test's own."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from residua.nn import modelfile
from residua.nn.zoo import build, find

SIDE = 16


def saved(path: Path, *, side: int = SIDE, classes: int = 4, channels: int = 3, **words: object) -> Path:
    """A residual net of eight layers with random weights, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build("cifar_resnet8", classes=classes, channels=channels)
        for m in net.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.running_mean.normal_(0, 0.2)
                m.running_var.uniform_(0.5, 2)
                m.weight.data.uniform_(0.5, 1.5)
                m.bias.data.normal_(0, 0.2)
    view = {
        "side_px": side, "fit": "crop", "resize_px": side + 2, "mode": "RGB" if channels == 3 else "L",
        "mean": [0.4, 0.5, 0.6][:channels], "std": [0.2, 0.3, 0.25][:channels], "interpolation": "bilinear",
    }  # fmt: skip
    row = replace(find("cifar_resnet8"), classes=classes, channels=channels)
    names = tuple(str(i) for i in range(classes))
    modelfile.save(path, net.eval(), modelfile.Header(row=row, classes=names, view=view, **words))
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file, with a temperature."""
    return saved(tmp_path_factory.mktemp("small") / "small.safetensors", temperature=0.6)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache: the folder in which graphs will be."""
    monkeypatch.setenv("RESIDUA_CACHE", str(tmp_path / "own"))
    return tmp_path / "own" / "runtimes"


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Pictures of odd sizes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (17 + i % 5, 23 + i % 3, 3), dtype=np.uint8) for i in range(37)]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Engines set torch's number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def saved_model() -> Callable[..., Path]:
    """What saves a model file."""
    return saved
