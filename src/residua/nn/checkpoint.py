"""Other people's checkpoint files: the weights in them, read without running anything."""

import argparse
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from residua.errors import DataError, UsageError
from residua.files import opened

#: Where checkpoints keep the weights, the averaged ones (which were evaluated) first.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
MAX_WRAPPERS = 8  # a file may hold itself
#: What other people's wrappers put before every name: DataParallel, torch.compile, Lightning.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
#: Before 2.10 torch's ``weights_only`` could be made to write over memory (CVE-2026-24747), before 2.6 to run a file's
#: code (CVE-2025-32434). Newer holes were looked for up to 2.15: none in this reader.
SAFE_TORCH = (2, 10)


def check_torch() -> None:
    """Raise UsageError where this torch has known holes in its reader of pickles."""
    version = tuple(int(n) for n in re.findall(r"\d+", str(torch.__version__))[:2])
    if version < SAFE_TORCH:
        raise UsageError(
            f"torch {torch.__version__} can be made to run what a checkpoint holds (CVE-2026-24747): "
            f"upgrade it to {SAFE_TORCH[0]}.{SAFE_TORCH[1]} or later"
        )


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The weights in a ``.pth``, ``.th``, ``.pt`` or ``.safetensors`` file, unwrapped, under their own names.

    No code of the file is run. Raises DataError for what is not a checkpoint.
    """
    try:
        with opened(path) as file:
            start = file.read(9)
            file.seek(0)
            held = _read_safetensors(path) if start[8:] == b"{" else _read_torch(path, file)
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror or e}") from e
    state = unwrap(held)
    if not state:
        raise DataError(f"{path} holds no weights: a state_dict is needed")
    if odd := [k for k, v in state.items() if v.layout != torch.strided or v.is_meta or v.is_quantized]:
        raise DataError(f"{path} cannot be used: {_line(odd[0])} is sparse, quantised or without numbers")
    return state


def _read_safetensors(path: str | Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as e:
        raise DataError(f"{path} is damaged or no safetensors file: {_line(e)}") from e


def _read_torch(path: str | Path, file: BinaryIO) -> Any:
    check_torch()
    _check_zip(path, file)
    try:
        # argparse.Namespace is how many training scripts keep their options: attributes, no code.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        if code := re.search(r"GLOBAL (\S+) was not an allowed|whose module (\S+) is blocked", str(e)):
            raise DataError(
                f"{path} holds Python code ({code[1] or code[2]}), which is never run: "
                "save the net's state_dict() alone and take that file"
            ) from e
        raise DataError(f"{path} is damaged or no checkpoint: {_line(e)}") from e
    except OSError:
        raise
    except Exception as e:  # a damaged file can fail anywhere in torch's reader
        raise DataError(f"{path} is damaged or no checkpoint: {_line(e)}") from e


def _check_zip(path: str | Path, file: BinaryIO) -> None:
    """Raise DataError for an archive whose parts are larger than it is: torch compresses nothing."""
    try:
        with zipfile.ZipFile(file) as archive:
            claimed = sum(part.file_size for part in archive.infolist())
    except Exception:  # no archive, or a damaged one: torch says what is wrong with it
        claimed = 0
    size = os.fstat(file.fileno()).st_size
    if claimed > size:
        raise DataError(f"{path} is damaged: {size:,} bytes are to hold {claimed:,} (a decompression bomb?)")
    file.seek(0)


def _line(e: Exception | str) -> str:
    """The message of someone else's error in one short line."""
    text = " ".join(str(e).split()) or type(e).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def unwrap(held: object) -> dict[str, Tensor]:
    """The tensors of a state_dict, out of the wrappers and without the prefixes that others put around it."""
    for _ in range(MAX_WRAPPERS):
        if isinstance(held, Mapping):
            held = next((held[w] for w in WRAPPERS if isinstance(held.get(w), Mapping)), held)
    if not isinstance(held, Mapping):
        return {}
    state = {str(k): v for k, v in held.items() if isinstance(v, Tensor)}
    state.pop("n_averaged", None)  # torch's AveragedModel
    while prefix := next((p for p in PREFIXES if state and all(k.startswith(p) for k in state)), None):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state
