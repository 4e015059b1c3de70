"""From what the user wrote to a data set: a known set, a folder, a table."""

import os
from pathlib import Path

from residua.data.dataset import ArrayImages, Dataset, FileImages, Images, Skipped, Split
from residua.data.files import in_memory
from residua.data.folder import list_folder, open_folder
from residua.data.known import open_known
from residua.data.listing import Listing
from residua.data.names import KNOWN, check_spec
from residua.data.splits import arranged, limited
from residua.data.table import list_table, open_table
from residua.errors import DataError
from residua.files import write_csv

__all__ = ["ArrayImages", "Dataset", "FileImages", "Images", "Skipped", "Split", "listed", "open_data", "write_split"]


def listed(spec: str) -> Listing:
    """The files that a folder or table names, before any is opened: also of one that cannot be trained on as it is.

    Raises UsageError for a word that names nothing, DataError for a known set and where nothing can be listed at all.
    """
    check_spec(spec)
    if spec in KNOWN:
        raise DataError(f"{spec}: a known set is no list of files: give a folder or a table")
    return list_folder(spec) if os.path.isdir(os.path.expanduser(spec)) else list_table(spec)


def open_data(
    spec: str,
    *,
    root: str | None = None,
    seed: int = 0,
    val_fraction: float = 0.1,
    limit: int | None = None,
    download: bool = True,
) -> Dataset:
    """The data set of a known name, a folder of class folders or a table, with its splits.

    `seed` and `val_fraction` decide what is held out where the data do not say it; `limit` takes the first pictures
    of each split. Raises UsageError or DataError, in one line.
    """
    check_spec(spec)
    is_folder = spec not in KNOWN and os.path.isdir(os.path.expanduser(spec))
    if spec in KNOWN:
        dataset = open_known(spec, root=root, download=download)
    elif is_folder:
        dataset = open_folder(spec)
    else:
        dataset = open_table(spec)
    dataset = arranged(dataset, seed=seed, val_fraction=val_fraction)
    return in_memory(limited(dataset, limit, turns=is_folder))


def write_split(dataset: Dataset, path: str | Path) -> None:
    """Write which picture is in which split: a CSV table of name, label, split."""
    write_csv(
        path,
        ("name", "label", "split"),
        (
            (sample, dataset.classes[label], name)
            for name, split in dataset.splits.items()
            for sample, label in zip(split.names, split.labels, strict=True)
        ),
    )
