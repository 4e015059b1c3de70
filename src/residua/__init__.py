"""Residua: residual networks made real. The public names, fetched when first used; importing this imports no torch."""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from residua.api import TrainResult as TrainResult
    from residua.api import check as check
    from residua.api import explanations as explanations
    from residua.api import load as load
    from residua.api import train as train
    from residua.api import train_detector as train_detector
    from residua.api import train_localizer as train_localizer
    from residua.errors import DataError as DataError
    from residua.errors import Interrupted as Interrupted
    from residua.errors import NumericError as NumericError
    from residua.errors import ResiduaError as ResiduaError
    from residua.errors import UsageError as UsageError
    from residua.nn.zoo import build as build
    from residua.predict import Model as Model
    from residua.predict import Prediction as Prediction

    __version__: str

_HOMES = {
    "build": "residua.nn.zoo",
    "train": "residua.api",
    "train_detector": "residua.api",
    "train_localizer": "residua.api",
    "check": "residua.api",
    "load": "residua.api",
    "explanations": "residua.api",
    "TrainResult": "residua.api",
    "Model": "residua.predict",
    "Prediction": "residua.predict",
    "ResiduaError": "residua.errors",
    "UsageError": "residua.errors",
    "DataError": "residua.errors",
    "NumericError": "residua.errors",
    "Interrupted": "residua.errors",
}

__all__ = [  # noqa: RUF022
    "build",
    "train",
    "train_detector",
    "train_localizer",
    "check",
    "load",
    "explanations",
    "TrainResult",
    "Model",
    "Prediction",
    "ResiduaError",
    "UsageError",
    "DataError",
    "NumericError",
    "Interrupted",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("residua")
    if name not in _HOMES:
        raise AttributeError(f"module 'residua' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
