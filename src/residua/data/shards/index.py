"""Where every sample of some shards lies, and what it is: one file beside them, read without trusting it.

An npz file of plain arrays (numpy, no pickle, not compressed): nothing in it can run or grow beyond its own length.
Whatever does not fit together is refused in one line.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from residua.data.compact import Coded, FileNames, Rows, Texts, starts_of
from residua.data.dataset import Skipped, fingerprint
from residua.data.decode import MAX_PIXELS
from residua.data.inspection import FACTS, Facts
from residua.data.shards.layout import SPLITS, TAR, is_plain
from residua.data.shards.shard import told
from residua.errors import DataError

FORMAT = 1

#: Of pictures that cannot be used an index names so many.
NAMED = 10_000

#: More than this is no index: some hundred million samples.
MOST_BYTES = 2**34

#: The columns of an index: one entry for each sample.
COLUMNS: dict[str, npt.DTypeLike] = {
    "shard": "<i4", "offset": "<i8", "size": "<i8", "crc": "<u4", "label": "<i4", "width": "<i4", "height": "<i4",
    "grey": "|b1", "folder": "<i4", "group": "<i4",
}  # fmt: skip

#: Its texts: what samples are called (the folder and the rest), what pictures are called in their shards, groups.
TEXTS = ("folders", "ends", "members", "groups")

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Part:
    """A shard of an index: its name beside the index, its bytes, the split of its samples."""

    name: str
    bytes: int
    split: str


@dataclass(frozen=True, eq=False)
class Index:
    """The samples of some shards, in the order in which they lie: `columns` (n,) each, names, names of members, groups.

    `label` counts in `classes`; `group` in `groups`, -1 for none. `crc` is the pictures' CRC-32 where `checked`.
    """

    name: str
    classes: tuple[str, ...]
    parts: tuple[Part, ...]
    columns: Arrays
    names: FileNames
    members: Texts
    groups: Texts
    checked: bool
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        """How many samples."""
        return len(self.columns["shard"])

    @property
    def facts(self) -> Facts:
        """What the pictures say of themselves, as a look at them gives it."""
        facts = np.zeros(len(self), FACTS)
        for name, column in (("width", "width"), ("height", "height"), ("bytes", "size"), ("grey", "grey")):
            facts[name] = self.columns[column]
        facts["usable"] = True
        return facts

    def take(self, rows: Rows) -> "Index":
        """The samples at `rows`, of the same shards."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        names, members = self.names.take(rows), self.members.take(rows)
        return replace(self, columns=columns, names=names, members=members)

    def fingerprint(self) -> str:
        """What does not depend on where the shards lie, or how the samples are cut into them."""
        order = {split: i for i, split in enumerate(dict.fromkeys(SPLITS.values()))}
        split = np.array([order[part.split] for part in self.parts], np.int8)[self.columns["shard"]]
        texts = [part for t in (self.names.folders.words, self.names.ends) for part in packed(t)]
        columns = [self.columns[name].astype(np.int64) for name in ("folder", "label", "size")]
        return fingerprint(["shards", *self.classes, *texts, split, *columns])

    # -- as a file --------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The index as a file: the same for the same samples."""
        head = {
            "format": FORMAT, "name": self.name, "classes": list(self.classes), "checked": self.checked,
            "shards": [[p.name, p.bytes, p.split] for p in self.parts],
            "skipped": [[s.path, s.reason] for s in self.skipped],
        }  # fmt: skip
        arrays: dict[str, npt.NDArray[Any]] = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
        arrays |= {name: np.ascontiguousarray(self.columns[name], kind) for name, kind in COLUMNS.items()}
        texts = (self.names.folders.words, self.names.ends, self.members, self.groups)
        for name, text in zip(TEXTS, texts, strict=True):
            arrays[f"{name}.bytes"], arrays[f"{name}.lengths"] = packed(text)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        return file.getvalue()


def packed(texts: Texts) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """The bytes of some texts end to end, and the length of each."""
    lengths = texts.lengths.astype("<i4")
    if len(texts) and int(lengths.sum()) == len(texts.blob) and bool((np.diff(texts.starts) >= 0).all()):
        return np.frombuffer(texts.blob, np.uint8), lengths
    every = np.frombuffer(texts.blob, np.uint8)
    within = np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(starts_of(lengths), lengths)
    return every[np.repeat(texts.starts, lengths) + within], lengths


def read_index(data: bytes, where: str) -> Index:
    """The index that a file holds. Raises DataError where anything in it does not fit."""
    try:
        arrays = plain_arrays(data)
        head = json.loads(arrays.pop("head").tobytes().decode())
        return checked(head, arrays)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, EOFError, OSError,
            RecursionError, NotImplementedError, zipfile.BadZipFile) as e:  # fmt: skip
        first = (str(e).splitlines() or [""])[0] or type(e).__name__
        what = f"not an index that can be used ({first}): write the shards again, or move it away"
        raise DataError(f"{told(where)}: {what}") from e


def plain_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an npz file, none of them compressed: together they are no longer than the file."""
    wanted = {"head", *COLUMNS, *(f"{t}.{what}" for t in TEXTS for what in ("bytes", "lengths"))}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = archive.infolist()
        if any(i.compress_type != zipfile.ZIP_STORED or i.file_size != i.compress_size for i in found):
            raise ValueError("its parts are compressed")
        if sum(i.file_size for i in found) > len(data) or {i.filename for i in found} != {f"{n}.npy" for n in wanted}:
            raise ValueError("its parts are not those of an index")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in wanted}
    kinds = COLUMNS | {"head": "|u1"}
    for name, array in arrays.items():
        kind = kinds.get(name, "<i4" if name.endswith(".lengths") else "|u1")
        if array.dtype != np.dtype(kind) or array.ndim != 1:
            raise ValueError(f"{name} is no column of {np.dtype(kind)}")
    return arrays


def checked(head: Any, arrays: dict[str, npt.NDArray[Any]]) -> Index:
    """The index of some arrays. Raises ValueError where they do not fit together."""
    if head["format"] != FORMAT:
        raise ValueError(f"of format {head['format']}, and this version reads {FORMAT}")
    columns = {name: arrays[name] for name in COLUMNS}
    texts = {name: text_of(arrays[f"{name}.bytes"], arrays[f"{name}.lengths"], name) for name in TEXTS}
    parts = tuple(Part(texted(n), whole_number(b), split_word(s)) for n, b, s in head["shards"])
    classes = tuple(map(texted, head["classes"]))
    n = len(texts["ends"])
    if any(len(c) != n for c in columns.values()) or len(texts["members"]) != n:
        raise ValueError("columns of different lengths")
    if bad := [p.name for p in parts if not is_plain(p.name) or not p.name.lower().endswith(TAR)]:
        raise ValueError(f"a shard called {bad[0]!r}")
    if len(set(classes)) != len(classes) or len({p.name for p in parts}) != len(parts):
        raise ValueError("something is named twice")
    within(columns["shard"], 0, len(parts), "shard")
    within(columns["label"], 0, len(classes), "label")
    within(columns["folder"], 0, len(texts["folders"]), "folder")
    within(columns["group"], -1, len(texts["groups"]), "group")
    for side in ("width", "height"):
        within(columns[side], 1, MAX_PIXELS + 1, side)
    length = np.array([p.bytes for p in parts], np.int64)[columns["shard"]]
    within(columns["offset"], 0, 2**62, "offset")
    if n and bool(((columns["size"] < 1) | (columns["size"] > length - columns["offset"])).any()):
        raise ValueError("a picture that lies outside its shard")
    names = FileNames(Coded(texts["folders"], columns["folder"]), texts["ends"])
    skipped = tuple(Skipped(texted(path), texted(why)) for path, why in head["skipped"])
    return Index(
        texted(head["name"]), classes, parts, columns, names, texts["members"], texts["groups"],
        head["checked"] is True, skipped,
    )  # fmt: skip


def text_of(blob: npt.NDArray[Any], lengths: npt.NDArray[Any], name: str) -> Texts:
    """The texts of some bytes. Raises ValueError."""
    if bool((lengths < 0).any()) or int(lengths.sum(dtype=np.int64)) != len(blob):
        raise ValueError(f"{name} of other lengths than are there")
    return Texts(blob.tobytes(), starts_of(lengths), lengths)


def within(column: npt.NDArray[Any], low: int, high: int, what: str) -> None:
    """Raise ValueError unless all are in [low, high)."""
    if len(column) and not (low <= int(column.min()) and int(column.max()) < high):
        raise ValueError(f"a {what} that does not exist")


def texted(value: Any) -> str:
    """A text. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where a text is needed")
    return value


def whole_number(value: Any) -> int:
    """A length. Raises TypeError or ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**62:
        raise ValueError("a length that cannot be")
    return value


def split_word(value: Any) -> str:
    """A split. Raises ValueError."""
    if value not in set(SPLITS.values()):
        raise ValueError("an unknown split")
    return str(value)
