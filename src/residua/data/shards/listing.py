"""From what the user wrote to the samples of shards: an index beside them, or a look at all of them."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import unquote, urlsplit

import numpy as np

from residua.amounts import gigabytes
from residua.data.compact import Coded, Texts
from residua.data.decode import EXTENSIONS
from residua.data.listing import Files, Listing, Skips
from residua.data.shards import layout, remote
from residua.data.shards.headers import entries
from residua.data.shards.index import MOST_BYTES, Index, read_index
from residua.data.shards.members import Member, Members, window_of
from residua.data.shards.scan import opened, scanned
from residua.data.shards.shard import Shard, told
from residua.data.shards.store import ROOM, store
from residua.errors import DataError
from residua.files import contents

#: A list of class names is shorter than this.
NAMES_BYTES = 2**24

#: Questions that are asked at the same time of whoever keeps the shards.
AT_ONCE = 16


def list_shards(spec: str) -> Listing:
    """The samples of a folder of shards, a tar file, an address, or a pattern of some. UsageError or DataError."""
    base, names = wanted(spec)
    far = layout.is_url(base)
    data = beside(base, layout.INDEX, MOST_BYTES)
    index = None if data is None else read_index(data, place(base, layout.INDEX))
    if index is None and names is None:
        where = told(place(base, layout.INDEX))
        raise DataError(f"{where}: no such index: name the shards, such as {told(base)}/train-{{000000..000099}}.tar")
    if index is not None and not set(names or ()) <= {p.name for p in index.parts}:
        index = None  # it is of other shards
    if index is None:
        assert names is not None
        shards = [there(base, name) for name in names] if not far else asked(base, names)
        index = scanned(shards, name_of(base), class_names(base))
        shards = [replace(s, bytes=p.bytes) for s, p in zip(shards, index.parts, strict=True)]
    else:
        version = hashlib.blake2b(data or b"", digest_size=16).hexdigest()
        index = index if names is None else only(index, names)
        shards = indexed(base, index, version)
    return listing_of(spec, index, tuple(shards))


def wanted(spec: str) -> tuple[str, list[str] | None]:
    """The folder or address above the shards, and their names below it; None for all that an index there names."""
    path = spec if layout.is_url(spec) else os.path.abspath(os.path.expanduser(spec))
    if layout.is_url(spec) and not layout.tars(spec):
        return spec.rstrip("/"), None
    if not layout.is_url(spec) and os.path.isdir(path):
        if os.path.exists(os.path.join(path, layout.INDEX)):
            return path, None
        if os.path.exists(os.path.join(path, layout.UNFINISHED)):
            raise DataError(f"{told(spec)}: it was never finished: give the same `residua shard` again")
        return path, layout.in_folder(path)
    places = layout.tars(spec)
    if not layout.is_url(spec):
        places = [os.path.abspath(os.path.expanduser(p)) for p in places]
    base = above(places)
    return base, [p[len(base) + 1 :] for p in places]


def above(places: Sequence[str]) -> str:
    """The folder or address that all shards lie below: one level up, or two where these differ. Raises DataError."""
    folders = {p.partition("?")[0].rpartition("/")[0] if layout.is_url(p) else os.path.dirname(p) for p in places}
    if len(folders) == 1:
        return folders.pop()
    higher = {f.rpartition("/")[0] for f in folders}
    if len(higher) > 1:
        raise DataError("shards from several places are several data sets: put them into one folder")
    return higher.pop()


def place(base: str, name: str) -> str:
    """Where something lies below a folder or address."""
    return f"{base}/{name}" if layout.is_url(base) else os.path.join(base, name)


def beside(base: str, name: str, most: int) -> bytes | None:
    """What a file beside the shards holds; None where there is none. Raises DataError."""
    where = place(base, name)
    if layout.is_url(base):
        return remote.small(where, most)
    if not os.path.isfile(where):
        return None
    try:
        return contents(where, most)
    except OSError as e:
        raise DataError(f"{told(where)}: {(e.strerror or str(e)).lower()}") from e


def there(base: str, name: str) -> Shard:
    """A shard in a folder here. Raises DataError."""
    return Shard.here(os.path.join(base, name), name.replace(os.sep, "/"), layout.split_of(name))


def asked(base: str, names: Sequence[str]) -> list[Shard]:
    """Shards far away, as their keeper describes them. Raises DataError."""

    def ask(name: str) -> Shard:
        size, version = remote.about(place(base, name))
        short = name.partition("?")[0]
        return Shard(place(base, name), short, size, layout.split_of(short), True, version)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, names))


def only(index: Index, names: Sequence[str]) -> Index:
    """The samples of the shards of these names."""
    codes = [i for i, p in enumerate(index.parts) if p.name in set(names)]
    return index.take(np.flatnonzero(np.isin(index.columns["shard"], codes)))


def indexed(base: str, index: Index, version: str) -> list[Shard]:
    """The shards of an index; those here are looked at, those far away when they are read. Raises DataError."""
    if layout.is_url(base):
        return [Shard(place(base, p.name), p.name, p.bytes, p.split, True, version) for p in index.parts]
    used = set(np.unique(index.columns["shard"]).tolist())
    shards = []
    for i, part in enumerate(index.parts):
        if i not in used:
            shards.append(Shard(os.path.join(base, part.name), part.name, part.bytes, part.split, False))
            continue
        shard = Shard.here(os.path.join(base, part.name), part.name, part.split)
        if shard.bytes != part.bytes:
            what = f"{shard.bytes:,} bytes, and {layout.INDEX} says {part.bytes:,}"
            raise DataError(f"{told(shard.place)}: {what}: it was cut off or changed: copy or write the shards again")
        shards.append(shard)
    return shards


def class_names(base: str) -> tuple[str, ...]:
    """The names in classes.txt beside the shards, one a line; () without one. Raises DataError."""
    data = beside(base, layout.CLASSES, NAMES_BYTES)
    if data is None:
        return ()
    names = tuple(line.strip() for line in data.decode("utf-8-sig", "surrogateescape").splitlines() if line.strip())
    if len(set(names)) != len(names):
        raise DataError(f"{told(place(base, layout.CLASSES))}: a class is named twice")
    return names


def name_of(base: str) -> str:
    """What a data set is called: as its folder, or the last part of its address."""
    if not layout.is_url(base):
        return os.path.basename(os.path.realpath(base)) or "data"
    parts = urlsplit(base)
    return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.hostname or "data"


def pictures_in(spec: str) -> Iterator[Member]:
    """Every picture in some shards, in order, whether anything is said of it or not. Raises UsageError or DataError.

    Of an address the tar files must be named, or an index.
    """
    base, names = wanted(spec)
    if names is None:
        members = list_shards(spec).files.members
        assert members is not None
        yield from members
        return
    shards = asked(base, names) if layout.is_url(base) else [there(base, name) for name in names]
    for shard in shards:
        with opened(shard) as file:
            for entry in entries(file, os.fstat(file.fileno()).st_size, shard.place):
                name = entry.name.rpartition("/")[2]
                if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                    yield Member(shard, entry.offset, entry.size, None, entry.name)


def listing_of(spec: str, index: Index, shards: tuple[Shard, ...]) -> Listing:
    """The listing of the samples of an index."""
    columns = index.columns
    crcs = columns["crc"] if index.checked else None
    members = Members(shards, columns["shard"], columns["offset"], columns["size"], crcs, index.members)
    splits = list(dict.fromkeys(p.split for p in index.parts))
    of = np.array([splits.index(p.split) for p in index.parts], np.int32)[columns["shard"]]
    groups = Coded(Texts.of((*index.groups, "")), np.where(columns["group"] < 0, len(index.groups), columns["group"]))
    files = Files(
        told(spec), index.names, Coded(Texts.of(index.classes), columns["label"]), Coded(Texts.of(splits), of),
        groups, members,
    )  # fmt: skip
    return Listing(
        told(spec), index.name, files, Skips.of(index.skipped), tuple(notes(index, shards)),
        classes=index.classes, facts=index.facts, fingerprint=index.fingerprint(),
    )  # fmt: skip


def notes(index: Index, shards: Sequence[Shard]) -> Iterator[str]:
    """What is said of shards: those far away are read in another order, and kept."""
    if not any(s.remote for s in shards):
        return
    largest = max(shards, key=lambda s: s.bytes)
    if store().holds(largest):
        room = f"of the shards up to {gigabytes(store().limit)} are kept in {store().folder} ({ROOM}=SIZE)"
    else:
        room = f"no shards are kept: pictures are asked for one by one ({ROOM}=20G keeps shards)"
    if (window := window_of(shards)) < len(shards):
        yield f"shards from far away: each epoch goes through them in another order, {window} at a time; {room}"
    else:
        yield f"shards from far away: {room}"
