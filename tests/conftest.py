"""What all rooms' tests share: markers that skip themselves, the real data, the acceptance folder."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from acceptance import Acceptance, make_acceptance_folder

# Workers side by side share the cores; told before torch is imported, and to the commands that tests start.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


#: What a marked test needs, and how to see whether it is there.
NEEDS: dict[str, tuple[str, Callable[[], object]]] = {
    "data": ("RESIDUA_DATA", lambda: os.environ.get("RESIDUA_DATA")),
    "gpu": ("a GPU", has_gpu),
    "browser": ("Chromium", lambda: shutil.which("chromium")),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, (what, is_there) in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and not is_there():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"needs {what}"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that RESIDUA_DATA names; for tests marked `data`."""
    return Path(os.environ["RESIDUA_DATA"])


@pytest.fixture(scope="session")
def acceptance(tmp_path_factory: pytest.TempPathFactory) -> Acceptance:
    """The acceptance folder; read only, by agreement."""
    return make_acceptance_folder(tmp_path_factory.mktemp("acceptance"))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded pictures are kept in a folder of the tests', never in the user's."""
    os.environ["RESIDUA_CACHE"] = str(tmp_path_factory.mktemp("cache"))
