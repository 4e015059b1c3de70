"""A model file whose norms have seen something, and a cache of each test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.conftest import saved as model_file

SIDE = 16


def saved(path: Path, **words: Any) -> Path:
    """A residual net of eight layers with random weights, the same every time; its classes are numbers."""
    names = [str(i) for i in range(words.get("classes", 4))]
    return model_file(path, "cifar_resnet8", names=names, **words)


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
