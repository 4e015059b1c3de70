"""Small sets, for the tests of the data room."""

from collections.abc import Callable
from pathlib import Path

import pytest

import acceptance as acceptance_module


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder: ``photos("train/ants/1.png", ...)`` writes a picture under each name."""

    def make(*names: str, side: int | None = None) -> Path:
        for i, name in enumerate(names):
            acceptance_module.save(tmp_path / name, acceptance_module.picture(side or 20 + i % 3, side or 24, seed=i))
        return tmp_path

    return make
