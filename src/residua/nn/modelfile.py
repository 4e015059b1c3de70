"""One safetensors file that is a whole model: the weights, and a JSON header with all that is needed to use them.

The header stands under one metadata key, so any safetensors reader still gets the tensors. Nothing in a file is run.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch
from torch import Tensor, nn

from residua.errors import DataError, UsageError
from residua.files import opened, write
from residua.nn.arch import Arch, Row, from_json, to_json
from residua.nn.cost import blueprint
from residua.nn.resnet import Net

FORMAT = 2  # the latest; a reader reads its own and earlier ones. 2: the file also carries what training goes on with
KEY = "residua"  # the metadata key
CARRIED = ("optimiser/", "training/", "average/")  # how names begin that are not the net's; its own have no slash
CLASSIFICATION, VERBS = "classification", {"detection": "detect", "localization": "localize"}  # tasks, their commands
MAX_HEADER_BYTES = 16 * 2**20  # the deepest net of the zoo needs 1 MiB; ten thousand long class names as much again


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a model file says beside its weights.

    `classes` are the names in the order of the logits; `view` is how a picture becomes a tensor (the view's JSON form);
    `metrics` carry their n; `lineage` is what the net was made from, oldest first; `data` has `name` and `fingerprint`;
    `temperature` divides the logits before the softmax (None: not calibrated). Everything is plain JSON.
    """

    row: Row
    classes: tuple[str, ...]
    view: Mapping[str, Any]
    recipe: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    lineage: list[Any] = field(default_factory=list)
    versions: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    temperature: float | None = None
    format: int = 1

    def __post_init__(self) -> None:
        """Check that there is one name for each logit."""
        if len(self.classes) != self.row.classes:
            raise UsageError(f"{self.row.name} has {self.row.classes} classes, but {len(self.classes)} have names")


def versions() -> dict[str, str]:
    """What writes the file: Residua, torch and Python."""
    return {"residua": version("residua"), "torch": str(torch.__version__), "python": platform.python_version()}


# -- writing --------------------------------------------------------------------------------------------------------


def save(
    path: str | Path,
    net: nn.Module,
    header: Header,
    overwrite: bool = False,
    *,
    carried: Mapping[str, Tensor] | None = None,
) -> None:
    """Write net and header as one file, whole or not at all; weights are stored as float32.

    `carried` is what training goes on with, under names that begin with one of `CARRIED`; `load` leaves it aside.
    Raises DataError where the file exists (unless `overwrite`) or cannot be written, and ValueError for a net that its
    row does not describe.
    """
    net = getattr(net, "_orig_mod", net)  # torch.compile's wrapper
    tensors = {k: _plain(v) for k, v in net.state_dict().items()}
    if misfit := _misfit(tensors, blueprint(header.row).state_dict()):
        raise ValueError(f"{header.row.name}: the row does not describe this net: {misfit}")
    beside = {k: _plain(v) for k, v in (carried or {}).items()}
    if not all(k.startswith(CARRIED) for k in beside):
        raise ValueError(f"names of carried tensors begin with one of {', '.join(CARRIED)}")
    values = {f.name: getattr(header, f.name) for f in fields(header)}
    values |= {"row": to_json(header.row), "versions": dict(header.versions) or versions()}
    seal(path, values | {"format": 2 if beside else 1}, tensors | beside, overwrite=overwrite)


def seal(path: str | Path, words: Mapping[str, Any], tensors: Mapping[str, Tensor], *, overwrite: bool = False) -> None:
    """Write words and tensors as one file with a checksum, whole or not at all; numbers are stored as float32.

    Raises DataError where the file exists (unless `overwrite`) or cannot be written, UsageError for words that JSON
    has no form for.
    """
    path = Path(path)
    if not overwrite and os.path.lexists(path):
        raise DataError(f"{path} exists and is not overwritten: choose another name")
    from safetensors.torch import save as serialise

    blob = memoryview(serialise({k: _plain(v) for k, v in tensors.items()}))
    start = 8 + int.from_bytes(blob[:8], "little")
    index, data = json.loads(bytes(blob[8:start])), blob[start:]
    write(path, _head(_json(path, words), index, data), data)


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.float() if tensor.is_floating_point() else tensor


def _json(path: Path, words: Mapping[str, Any]) -> dict[str, Any]:
    """The words as JSON has them. Raises UsageError for what it has no form for."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(words), allow_nan=False))
    except (TypeError, ValueError) as e:
        raise UsageError(f"{path}: a header holds words and finite numbers only: {e}") from e
    return plain


def _head(words: dict[str, Any], index: dict[str, Any], data: memoryview) -> bytes:
    """What stands before the numbers: the length of the JSON, the JSON, padded to 8 bytes as safetensors does."""
    sealed = {**words, "checksum": checksum(words, index, data)}
    text = json.dumps({"__metadata__": {KEY: json.dumps(sealed)}, **index}).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise UsageError(f"the header takes {len(text):,} bytes, at most {MAX_HEADER_BYTES:,} are possible")
    return len(text).to_bytes(8, "little") + text


def checksum(words: Mapping[str, Any], index: Mapping[str, Any], data: memoryview) -> str:
    """A digest of the header, the tensors' places and every number."""
    digest = blake2b(json.dumps([words, index], sort_keys=True).encode(), digest_size=16)
    digest.update(data)
    return digest.hexdigest()


# -- reading --------------------------------------------------------------------------------------------------------


def task_of(path: str | Path) -> str | None:
    """What the model in a file is for; None for anything but a Residua model file."""
    try:
        with opened(path) as file:
            return str(_read(file, path)[0].get("task", CLASSIFICATION))
    except (OSError, DataError):
        return None


def taker(words: Mapping[str, Any]) -> str:
    """The command that takes the model of a file with this header."""
    task = str(words.get("task", CLASSIFICATION))
    return f"`residua {VERBS[task]} predict`" if task in VERBS else "`residua predict`"


def model_path(path: str | Path) -> Path:
    """The file of a path that may be a run folder."""
    place = Path(path)
    return place / "model.safetensors" if place.is_dir() else place


def read_header(path: str | Path) -> Header:
    """The header of a model file, without its weights.

    Raises DataError for anything but a whole Residua model file of this format or an earlier one.
    """
    try:
        with opened(path) as file:
            words, _, _ = _read(file, path)
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror or e}") from e
    return _header(words, path)


def load(path: str | Path) -> tuple[Net, Header]:
    """The net, in evaluation mode on the CPU, and the header of a model file.

    Raises DataError for anything but a whole, undamaged Residua model file of this format or an earlier one.
    """
    header, tensors = _opened(path)
    return _net(header.row, {k: v for k, v in tensors.items() if not k.startswith(CARRIED)}, path), header


def carried(path: str | Path) -> dict[str, Tensor]:
    """What a model file carries beside its weights for training to go on with: mostly nothing. Raises DataError."""
    return {k: v for k, v in _opened(path)[1].items() if k.startswith(CARRIED)}


def _opened(path: str | Path) -> tuple[Header, dict[str, Tensor]]:
    """Header and all tensors of a whole, undamaged file. Raises DataError."""
    words, tensors = unseal(path)
    return _header(words, path), tensors


def unseal(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The words and tensors of a whole, undamaged file that `seal` wrote. Raises DataError for any other."""
    from safetensors import SafetensorError
    from safetensors.torch import load as deserialise

    try:
        with opened(path) as file:
            words, index, start = _read(file, path)
            file.seek(0)
            blob = file.read()
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror or e}") from e
    _check_format(words, path)
    sealed = words.pop("checksum", None)
    if checksum(words, index, memoryview(blob)[start:]) != sealed:
        raise DataError(f"{path} is damaged: its checksum does not agree: copy or train it again")
    try:
        return words, deserialise(blob)
    except (SafetensorError, KeyError, ValueError) as e:
        raise DataError(f"{path} is damaged: its tensors cannot be read") from e


def _read(file: BinaryIO, path: str | Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """(header words, tensor index, where the numbers start) of an open file."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if length > MAX_HEADER_BYTES and start.startswith((b"PK", b"\x80")):
        raise DataError(
            f"{path} is a PyTorch pickle, not a Residua model: `residua convert {path} --arch NAME` takes its weights"
        )
    if size < 8 or length > MAX_HEADER_BYTES or size < 8 + length:
        raise DataError(f"{path} is not a Residua model file, or was cut off ({size:,} bytes)")
    try:
        index = _strict(file.read(length))
        metadata = index.pop("__metadata__", {})
        end = 8 + length + max((entry["data_offsets"][1] for entry in index.values()), default=0)
        words = _strict(metadata[KEY]) if KEY in metadata else None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as e:
        raise DataError(f"{path} is damaged, or not a Residua model file: its header cannot be read") from e
    if words is None:
        raise DataError(
            f"{path} is another program's safetensors file: `residua convert {path} --arch NAME` takes its weights"
        )
    if not isinstance(words, dict):
        raise DataError(f"{path} is damaged: its header cannot be read")
    if size != end:
        raise DataError(f"{path} is damaged: {size:,} bytes of {end:,}: copy or train it again")
    return words, index, 8 + length


def _strict(text: str | bytes) -> Any:
    """What a JSON text says. Raises ValueError for NaN, infinities, and a name given twice: readers differ on those."""
    return json.loads(text, object_pairs_hook=_once, parse_constant=_refused)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _refused(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _check_format(words: Mapping[str, Any], path: str | Path) -> None:
    """Raise DataError for a format of later times, or none at all."""
    number = words.get("format")
    if type(number) is not int or number < 1:
        raise DataError(f"{path} is damaged: unknown format {number!r}")
    if number > FORMAT:
        by = words.get("versions", {})
        writer = by.get("residua", "a later version") if isinstance(by, dict) else "a later version"
        raise DataError(
            f"{path} is in format {number}, written by Residua {writer}; this one reads up to format {FORMAT}: upgrade"
        )


def _header(words: Mapping[str, Any], path: str | Path) -> Header:
    """The header that the words of a file make."""
    _check_format(words, path)
    if (task := words.get("task", CLASSIFICATION)) != CLASSIFICATION:
        raise DataError(
            f"{path} is a model for {task}, not for classification: `residua {VERBS.get(task, task)}` takes it"
        )
    kinds = {
        "row": dict, "classes": list, "view": dict, "recipe": dict | None, "metrics": dict, "lineage": list,
        "versions": dict, "data": dict, "temperature": float | int | None, "format": int,
    }  # fmt: skip
    for name, kind in kinds.items():
        if name not in words or not isinstance(words[name], kind):
            raise DataError(f"{path} is damaged: '{name}' in its header cannot be read")
    if not all(isinstance(c, str) for c in words["classes"]):
        raise DataError(f"{path} is damaged: 'classes' in its header cannot be read")
    values = {name: words[name] for name in kinds}
    try:
        return Header(**values | {"row": from_json(words["row"]), "classes": tuple(words["classes"])})
    except UsageError as e:
        raise DataError(f"{path} is damaged: {e}") from e


def _net(row: Row, tensors: dict[str, Tensor], path: str | Path) -> Net:
    """The row's net holding the tensors themselves: it takes no memory beyond the file's."""
    parts = sum(row.depths) if isinstance(row, Arch) else sum(map(len, row.widths))
    if parts > len(tensors):
        raise DataError(f"{path} is damaged: {len(tensors)} tensors cannot fill {row.name}")
    try:
        net = blueprint(row)
    except (UsageError, TypeError, ValueError, RuntimeError, OverflowError) as e:
        raise DataError(f"{path} is damaged: its header describes no net") from e
    if misfit := _misfit(tensors, net.state_dict()):
        raise DataError(f"{path} is damaged: {misfit}")
    net.load_state_dict(tensors, assign=True)
    return net.eval()


def _misfit(tensors: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> str | None:
    """The first way in which the tensors are not the needed ones."""
    if missing := [k for k in needed if k not in tensors]:
        return f"{len(missing)} tensors are missing, first {missing[0]}"
    if extra := [k for k in tensors if k not in needed]:
        return f"{len(extra)} tensors are not the net's, first {extra[0]}"
    for key, tensor in tensors.items():
        if tensor.shape != needed[key].shape or tensor.dtype != needed[key].dtype:
            return f"{key} is {tuple(tensor.shape)}, the net needs {tuple(needed[key].shape)}"
    return None
