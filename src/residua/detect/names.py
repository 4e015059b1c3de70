"""torchvision's names of a detector's parameters and ours: they differ inside the backbone alone."""

from collections.abc import Mapping

from torch import Tensor

from residua.detect.row import DetectorRow
from residua.errors import DataError, UsageError
from residua.nn.names import rename, torchvision

BODY = "backbone.body."


def theirs(key: str, row: DetectorRow) -> str:
    """What torchvision calls a parameter of ours. Raises UsageError for a net that it does not have."""
    table = torchvision(row.net)
    if table is None:
        raise UsageError(f"torchvision has no detector on {row.net.name}")
    return BODY + rename(key.removeprefix(BODY), table) if key.startswith(BODY) else key


def from_torchvision(state: Mapping[str, Tensor], keys: list[str], row: DetectorRow) -> dict[str, Tensor]:
    """The parameters of one of torchvision's detectors by our names; `keys` are those of ours. Raises DataError.

    Names outside the backbone stay as they are: torchvision's parts know their own older ones.
    """
    own = {theirs(key, row): key for key in keys if key.startswith(BODY)}
    found = {own.get(key, key): value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    if lost := [key for key in own if key not in state and not key.endswith("num_batches_tracked")]:
        raise DataError(f"these are no weights of a detector on {row.net.name}: {lost[0]} is not there")
    if extra := [key for key in found if key.startswith(BODY) and key not in own.values()]:
        raise DataError(f"these are no weights of a detector on {row.net.name}: {extra[0]} is too much")
    return found
