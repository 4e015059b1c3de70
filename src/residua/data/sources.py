"""From what the user wrote to a data set: a known set, a folder, a table, shards."""

import os
from pathlib import Path

from residua.data.dataset import ArrayImages, Dataset, FileImages, Images, Skipped, Split
from residua.data.files import dataset_of, in_memory
from residua.data.folder import list_folder, open_folder
from residua.data.groups import with_groups
from residua.data.known import open_known
from residua.data.listing import Listing
from residua.data.names import KNOWN, check_spec
from residua.data.shards.layout import recognised
from residua.data.shards.listing import list_shards
from residua.data.splits import Fold, arranged, limited
from residua.data.table import list_table, open_table
from residua.errors import DataError
from residua.files import write_csv

__all__ = ["ArrayImages", "Dataset", "FileImages", "Images", "Skipped", "Split", "listed", "open_data", "write_split"]


def listed(spec: str) -> Listing:
    """The files that a folder, a table or shards name, before any is opened, also where none can be trained on.

    Raises UsageError for a word that names nothing, DataError for a known set and where nothing can be listed at all.
    """
    check_spec(spec)
    if spec in KNOWN:
        raise DataError(f"{spec}: a known set is no list of files: give a folder or a table")
    if recognised(spec):
        return list_shards(spec)
    return list_folder(spec) if os.path.isdir(os.path.expanduser(spec)) else list_table(spec)


def open_data(
    spec: str,
    *,
    root: str | None = None,
    seed: int = 0,
    val_fraction: float = 0.1,
    limit: int | None = None,
    groups: str | None = None,
    fold: Fold | None = None,
    only_for: str | None = None,
    download: bool = True,
) -> Dataset:
    """The data set of a known name, a folder of class folders, a table or shards, with its splits.

    `seed` and `val_fraction` decide what is held out where the data do not say it; `limit` takes the first pictures
    of each split. `groups` says what belongs together and is never parted (`groups.with_groups`); `fold` takes one
    part of a cross-validation; both are for data of the fingerprint `only_for`, where that is given. Raises UsageError
    or DataError, in one line.
    """
    check_spec(spec)
    shards = spec not in KNOWN and recognised(spec)
    is_folder = spec not in KNOWN and not shards and os.path.isdir(os.path.expanduser(spec))
    if spec in KNOWN:
        dataset = open_known(spec, root=root, download=download)
    elif shards:
        dataset = dataset_of(list_shards(spec))
    elif is_folder:
        dataset = open_folder(spec)
    else:
        dataset = open_table(spec)
    if only_for is not None and dataset.fingerprint != only_for:
        groups, fold = None, None
    dataset = arranged(with_groups(dataset, groups), seed=seed, val_fraction=val_fraction, fold=fold)
    return in_memory(limited(dataset, limit, turns=is_folder))


def write_split(dataset: Dataset, path: str | Path) -> None:
    """Write which picture is in which split: a CSV table of name, label, split, and of the group's number, if any."""
    grouped = any(split.groups is not None for split in dataset.splits.values())
    write_csv(
        path,
        ("name", "label", "split", *(["group"] if grouped else [])),
        (
            (sample, dataset.classes[label], name, *([] if split.groups is None else [split.groups[i]]))
            for name, split in dataset.splits.items()
            for i, (sample, label) in enumerate(zip(split.names, split.labels, strict=True))
        ),
    )
