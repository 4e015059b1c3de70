"""The public names of the package: chosen once."""

from importlib.metadata import version
from pathlib import Path

import pytest

import residua

PUBLIC = {
    "__version__", "build", "train", "train_detector", "train_localizer", "check", "load", "explanations",
    "TrainResult", "Model", "Prediction", "ResiduaError", "UsageError", "DataError", "NumericError", "Interrupted",
}  # fmt: skip


def test_public_names_are_exactly_these():
    assert set(residua.__all__) == set(dir(residua)) == PUBLIC
    assert len(PUBLIC) <= 20


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there_and_says_what_it_is(name):
    value = getattr(residua, name)
    assert isinstance(value, str) or value.__doc__


def test_the_version_is_the_installed_one():
    assert residua.__version__ == version("residua")


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="'residua' has no attribute 'trian'"):
        residua.trian  # noqa: B018


def test_no_public_name_is_also_a_module():
    """Importing a module sets it as an attribute of the package, and would hide the name."""
    modules = {p.stem for p in Path(residua.__file__).parent.iterdir() if not p.name.startswith("_")}
    assert modules & PUBLIC == set()
