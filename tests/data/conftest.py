"""The acceptance folder and small sets, for the tests of the data room."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def load_acceptance() -> ModuleType:
    """The module ``tests/acceptance.py``: tests are no package, so it is found by its place."""
    if "acceptance" not in sys.modules:
        spec = importlib.util.spec_from_file_location("acceptance", Path(__file__).parents[1] / "acceptance.py")
        assert spec and spec.loader
        sys.modules["acceptance"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["acceptance"])
    return sys.modules["acceptance"]


load_acceptance()

import acceptance as acceptance_module  # noqa: E402


@pytest.fixture(scope="session")
def acceptance(tmp_path_factory: pytest.TempPathFactory) -> acceptance_module.Acceptance:
    """The acceptance folder; read only, by agreement."""
    return acceptance_module.make_acceptance_folder(tmp_path_factory.mktemp("acceptance"))


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder: ``photos("train/ants/1.png", ...)`` writes a picture under each name."""

    def make(*names: str, side: int | None = None) -> Path:
        for i, name in enumerate(names):
            acceptance_module.save(tmp_path / name, acceptance_module.picture(side or 20 + i % 3, side or 24, seed=i))
        return tmp_path

    return make


@pytest.fixture
def real_data() -> str:
    """The folder of real data; the test is skipped without it."""
    root = os.environ.get("RESIDUA_DATA")
    if not root:
        pytest.skip("needs RESIDUA_DATA")
    return root
