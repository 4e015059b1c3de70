"""One small training for all tests of the command, and a way to run command lines in this process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from residua.cli.main import run


@dataclass(frozen=True)
class Ran:
    """What a command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """Stderr, which must be one line that names the program."""
        assert self.err.startswith("residua: ") and self.err.count("\n") == 1 and self.err.endswith("\n"), self.err
        return self.err.removeprefix("residua: ").strip()


Residua = Callable[..., Ran]


@pytest.fixture
def residua(capfd: pytest.CaptureFixture[str]) -> Residua:
    """A function that runs one command line."""

    def call(*words: object) -> Ran:
        capfd.readouterr()
        code = run([str(w) for w in words])
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small training on the digits."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert run(["train", "--arch", "cifar_resnet8", "--epochs", "1", "--limit", "96", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two classes with pictures of odd sizes, and one file that is none."""
    import numpy as np
    from PIL import Image

    numbers = np.random.default_rng(0)
    for label, shade in (("bright", 200), ("dark", 50)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(10):
            pixels = numbers.integers(shade - 50, shade + 50, (11 + i, 13, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    (tmp_path / "photos" / "dark" / "notes.jpg").write_text("not a picture")
    return tmp_path / "photos"
