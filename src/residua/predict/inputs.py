"""From what a user gives to pictures: files, folders, bytes, arrays, tensors and PIL images, by one policy."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from residua.data.dataset import Skipped
from residua.data.decode import BadPicture, Size, Stored, reduced
from residua.data.folder import walk
from residua.data.shards.layout import recognised
from residua.data.shards.listing import pictures_in
from residua.errors import DataError, UsageError
from residua.predict.result import Failure

#: A picture, a file or folder of pictures, or the bytes of a file: paths, bytes, numpy arrays (H, W[, C]), tensors
#: ([C, ]H, W) and PIL images. Numbers are uint8, or fractions from 0 to 1.
Source: TypeAlias = Any
#: A picture in a mode, whole or as a view with this `least_px` needs it, and then its size (`decoded`).
Decoder: TypeAlias = Callable[[str, int | None], tuple[Tensor, Size | None]]


@dataclass(frozen=True, eq=False)
class Item:
    """One picture to read: how it is called, and the picture, its file, or why there is none."""

    name: str
    source: Any


def pictures(inputs: Source | Iterable[Source]) -> Iterator[Item]:
    """Every picture of the inputs in order; folders give theirs sorted, however deep, hidden ones left out, and shards
    (tar files, patterns of some, addresses) theirs as they lie.

    Pictures without a file are called by their position: ``picture 3``.
    """
    for i, source in enumerate([inputs] if _is_one(inputs) else inputs):
        if isinstance(source, str | os.PathLike):
            path = os.fspath(source)
            if isinstance(path, str) and recognised(path):
                yield from _in_shards(path)
            else:
                yield from _below(path) if os.path.isdir(path) else [Item(path, path)]
        else:
            yield Item(f"picture {i}", source)


def readers(
    inputs: Source | Iterable[Source],
) -> Iterator[tuple[str, Decoder]]:
    """(name, what decodes it in a mode, as `decoded` does) of every picture; a failure's raises BadPicture."""
    for item in pictures(inputs):
        yield item.name, partial(_refused if isinstance(item.source, Failure) else decoded, item.source)


def _refused(failure: Failure, mode: str, least_px: int | None) -> tuple[Tensor, Size | None]:
    raise BadPicture(failure.path, failure.reason)


def _is_one(inputs: Any) -> bool:
    """Whether this is a single input; arrays of four dimensions are many pictures."""
    if isinstance(inputs, np.ndarray | Tensor):
        return inputs.ndim < 4
    return isinstance(inputs, str | os.PathLike | bytes) or hasattr(inputs, "getexif")


def _below(folder: str) -> Iterator[Item]:
    """The pictures of a folder; an empty one and unreadable parts are failures, other kinds of files are passed by."""
    root, any_picture = Path(folder), False
    for found in walk(root, root):
        if isinstance(found, str):
            any_picture = True
            yield Item(str(root / found), str(root / found))
        elif (root / found.path).is_dir():
            yield _failed(root, found)
    if not any_picture:
        yield Item(folder, Failure(folder, "no picture in this folder"))


def _in_shards(spec: str) -> Iterator[Item]:
    """The pictures in shards; a shard that cannot be read is a failure, and ends it."""
    try:
        for member in pictures_in(spec):
            yield Item(str(member), member)
    except DataError as e:
        where, _, reason = str(e).partition(": ")
        yield Item(where, Failure(where, reason))


def _failed(root: Path, skipped: Skipped) -> Item:
    path = str(root / skipped.path)
    return Item(path, Failure(path, skipped.reason))


def decoded(source: Any, mode: str, least_px: int | None) -> tuple[Tensor, Size | None]:
    """uint8 (C, H, W) of a file, its bytes, a PIL image, an array or a tensor, by the one policy of `data.decode`.

    Large JPEGs, as files or bytes, are decoded as the view with this `least_px` needs them, and with the size that it
    has to know; what has pixels keeps them all, as everything does with None.
    """
    if isinstance(source, str | bytes | Stored) or hasattr(source, "getexif"):
        return reduced(source, mode, least_px)
    if isinstance(source, Tensor):
        return _pixels(source.detach().cpu()), None
    if isinstance(source, np.ndarray):
        array = torch.from_numpy(np.ascontiguousarray(source))
        return _pixels(array.permute(2, 0, 1) if array.ndim == 3 else array), None
    raise UsageError(f"a {type(source).__name__} is no picture: give a path, a PIL image, an array or a tensor")


def _pixels(array: Tensor) -> Tensor:
    """uint8 (C, H, W) of numbers (H, W) or (C, H, W); C = 4 is laid over white. Raises UsageError for anything else."""
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or len(array) not in (1, 3, 4) or 0 in array.shape:
        raise UsageError(
            f"a picture has 1, 3 or 4 channels, last in an array, first in a tensor; got {tuple(array.shape)}"
        )
    if array.is_floating_point():
        if not bool(((array >= 0) & (array <= 1)).all()):
            raise UsageError("fractions of a picture must lie between 0 and 1; for 0 to 255 give uint8")
        array = (array * 255).round().to(torch.uint8)
    if array.dtype != torch.uint8:
        raise UsageError(f"the numbers of a picture are uint8, or fractions between 0 and 1, not {array.dtype}")
    if len(array) == 4:
        colour, opacity = array[:3].int(), array[3:].int()
        array = ((colour * opacity + 255 * (255 - opacity) + 127) // 255).to(torch.uint8)
    return array
