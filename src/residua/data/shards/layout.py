"""What a user may write for shards, and what their names say: tar files in WebDataset's layout. No torch.

A shard is a tar file whose members ``KEY.jpg``, ``KEY.cls``, ``KEY.json`` follow each other; together they are a sample
(https://github.com/webdataset/webdataset).
"""

import os
import re
from itertools import product

from residua.errors import DataError, UsageError

TAR = ".tar"

#: What `residua shard` writes beside the shards: where every sample lies, and the classes, one a line.
INDEX, CLASSES = "shards.npz", "classes.txt"

#: A folder that is being written holds this file; what is in it may be written again.
UNFINISHED = "residua-shard.unfinished"

#: More shards than this are a slip of the hand in a pattern.
MOST = 100_000

#: Words by which folders, table columns and shards name a split.
SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip

URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
BRACES = re.compile(r"\{([^{}]*)\}")
NUMBERS = re.compile(r"(\d+)\.\.(\d+)")


def is_url(spec: str) -> bool:
    """Whether this is an address rather than a path."""
    return URL.match(spec) is not None


def protocol(url: str) -> str:
    """``https`` of ``https://host/a.tar``; "" for a path."""
    match = URL.match(url)
    return match[1].lower() if match else ""


def recognised(spec: str) -> bool:
    """Whether the user means shards: an address, a tar file or a pattern of some, a folder that holds nothing else."""
    if is_url(spec):
        return True
    path = os.path.expanduser(spec)
    if os.path.isdir(path):
        return bool(in_folder(path))
    return is_tar(spec)


def is_tar(place: str) -> bool:
    """Whether a path, or an address up to its question mark, ends as tar files do."""
    return (place.partition("?")[0] if is_url(place) else place).lower().endswith(TAR)


def in_folder(folder: str) -> list[str]:
    """The names (POSIX, sorted) of a folder's shards, in it or in folders named like splits; [] where it is no folder
    of shards: one that holds other folders is one of classes, unless an index says what it is.
    """  # fmt: skip
    found, indexed = [], False
    try:
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if name.startswith("."):
                continue
            if os.path.isdir(path):
                inside = [n for n in os.listdir(path) if not n.startswith(".")]
                if name.lower() not in SPLITS or not any(n.lower().endswith(TAR) for n in inside):
                    if os.path.isfile(os.path.join(folder, INDEX)):
                        continue
                    return []
                found += [f"{name}/{n}" for n in sorted(inside) if n.lower().endswith(TAR)]
            elif name.lower().endswith(TAR):
                found.append(name)
            indexed |= name == INDEX
    except OSError:
        return []
    return found or ([INDEX] if indexed else [])


def check(spec: str) -> None:
    """Raise UsageError or DataError for a pattern that cannot be meant, or a tar file that does not exist."""
    if is_url(spec) and not tars(spec):
        return
    places = tars(spec) or [spec]
    gone = next((p for p in places if not is_url(p) and not os.path.exists(os.path.expanduser(p))), None)
    if gone is not None:
        more = f", the first of {len(places)} shards that is missing" if len(places) > 1 else ""
        raise DataError(f"{gone if gone.isprintable() else ascii(gone)}: no such file{more}: check the path")


def tars(spec: str) -> list[str]:
    """The tar files that ``train-{000..099}.tar`` names, several patterns parted by ``::``; [] for anything else.

    Raises UsageError for a pattern that names too many, or none.
    """
    parts = spec.split("::")
    if not all(is_tar(part) for part in parts):
        if len(parts) > 1 or BRACES.search(spec):
            raise UsageError(f"{spec}: a pattern names tar files, such as train-{{000000..000099}}.tar")
        return []
    return [place for part in parts for place in expanded(part)]


def expanded(pattern: str) -> list[str]:
    """Every text that a pattern with ``{000..099}`` and ``{train,val}`` stands for, in order. Raises UsageError."""
    pieces = BRACES.split(pattern)
    if "{" in "".join(pieces[::2]) or "}" in "".join(pieces[::2]):
        raise UsageError(f"{pattern}: braces that do not match: write {{000000..000099}} or {{train,val}}")
    choices, count = [], 1
    for i, piece in enumerate(pieces):
        choices.append(choice(piece, pattern) if i % 2 else [piece])
        count *= len(choices[-1])
        if count > MOST:
            raise UsageError(f"{pattern}: that is {count:,} shards, and {MOST:,} are the most: look at the numbers")
    return ["".join(parts) for parts in product(*choices)]


def choice(inside: str, pattern: str) -> list[str]:
    """What stands between braces: ``000..099`` or ``a,b``. Raises UsageError."""
    if numbers := NUMBERS.fullmatch(inside):
        first, last = int(numbers[1]), int(numbers[2])
        if not 0 <= last - first < MOST:
            raise UsageError(f"{pattern}: from {numbers[1]} to {numbers[2]} are no shards, or too many")
        digits = len(numbers[1]) if numbers[1].startswith("0") else 0
        return [f"{n:0{digits}d}" for n in range(first, last + 1)]
    if "," not in inside:
        raise UsageError(f"{pattern}: '{{{inside}}}': write {{000000..000099}} or {{train,val}}")
    return inside.split(",")


def split_of(place: str) -> str:
    """The split that a shard's name begins with, or its folder is called by; else "train"."""
    folder, _, name = place.replace(os.sep, "/").rpartition("/")
    word = re.match(r"[a-z]*", name.lower())
    for said in (word[0] if word else "", folder.rpartition("/")[2].lower()):
        if said in SPLITS:
            return SPLITS[said]
    return "train"


def is_plain(name: str) -> bool:
    """Whether a shard's name in an index stays below the folder of the index: no address, no way up."""
    parts = name.split("/")
    return len(parts) <= 2 and all(p not in ("", ".", "..") for p in parts) and not re.search(r"[\\:\0?#]", name)
