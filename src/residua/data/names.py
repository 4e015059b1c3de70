"""What a user may write for data and augmentations, checked before anything heavy is imported. No torch."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

from residua.data.shards import layout
from residua.data.shards.layout import SPLITS as SPLITS
from residua.errors import DataError, UsageError
from residua.words import nearest, unknown

#: Data sets by name. A folder of the same name is reached as ``./digits``.
KNOWN: tuple[str, ...] = ("digits", "cifar10", "cifar100", "mnist", "fashion_mnist", "svhn", "stl10")

#: Endings of tables.
TABLES = (".csv", ".tsv", ".parquet")


#: Words of ``--groups`` beside an expression: by folder below the class folder, and not at all.
FOLDER, UNGROUPED = "folder", "none"

#: What computers leave in folders.
LITTER = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin")


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is not the user's: dot files, ``Thumbs.db``, ``__MACOSX``."""
    return name.startswith(".") or name.lower() in LITTER


def shown(path: str) -> str:
    """A path fit for one line of a message: as it is, or quoted where it holds a newline or the like."""
    return path if path.isprintable() else ascii(path)


def check_spec(spec: str) -> None:
    """Raise unless `spec` is a known set, a folder that holds something, a table, or shards.

    UsageError for a word that names nothing, DataError for a path that does.
    """
    if spec in KNOWN:
        return
    path = os.path.expanduser(spec)
    if not os.path.isdir(path) and layout.recognised(spec):
        layout.check(spec)
    elif os.path.isdir(path):
        if not any(not hidden(name) for name in entries(path)):
            raise DataError(f"{shown(spec)}: an empty folder: put class folders of images into it")
    elif os.path.exists(path):
        if not path.lower().endswith(TABLES):
            kinds = ", ".join(TABLES)
            raise DataError(f"{shown(spec)}: give a folder, a table ({kinds}), a .tar or one of {', '.join(KNOWN)}")
    elif spec.strip() == "" or not looks_like_path(spec):
        raise unknown("data set", shown(spec), KNOWN, "or give a folder of images or a table")
    else:
        raise DataError(f"{shown(spec)}: no such folder or table{neighbour(path)}")


def expression(word: str) -> re.Pattern[str] | None:
    """The expression that ``--groups`` asks for; None for its words. Raises UsageError for one that is none."""
    if word in (FOLDER, UNGROUPED):
        return None
    try:
        return re.compile(word)
    except (re.error, OverflowError, RecursionError) as e:
        raise UsageError(
            f"--groups {shown(word)}: no regular expression ({e}): write one such as 'patient_(\\d+)'"
        ) from None


def entries(folder: str) -> list[str]:
    """The names in a folder. Raises DataError where it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError as e:
        raise DataError(f"{shown(folder)}: {e.strerror or e}") from e


def looks_like_path(spec: str) -> bool:
    """Whether the user meant a file or folder rather than a known name."""
    return os.path.basename(spec) != spec or spec.startswith((".", "~")) or spec.lower().endswith((*TABLES, ".json"))


def neighbour(path: str) -> str:
    """``: did you mean photos?`` where the folder above holds a similar name."""
    above = os.path.dirname(path.rstrip(os.sep)) or "."
    if not os.path.isdir(above):
        return f" ({shown(above)} does not exist either)"
    try:
        names = [n for n in os.listdir(above) if not hidden(n)]
    except OSError:
        return ""
    near = nearest(os.path.basename(path.rstrip(os.sep)), names)
    return f": did you mean {' or '.join(shown(os.path.join(above, n)) for n in near)}?" if near else ""


# -- augmentations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """A number in an augmentation word: what it is, what it is if left out, and its range."""

    what: str
    default: float
    low: float
    high: float
    whole: bool = False


AUGMENTATIONS: dict[str, tuple[Number, ...]] = {
    "pad-crop": (Number("pixels of padding", 4, 1, 1024, whole=True),),
    "random-resized-crop": (Number("smallest share of the area", 0.08, 1e-3, 1),),
    "short-side": (
        Number("smallest short side", 256, 1, 16384, whole=True),
        Number("largest short side", 480, 1, 16384, whole=True),
    ),
    "flip": (),
    "alternate-flip": (),
    "rand-augment": (
        Number("operations", 2, 1, 14, whole=True),
        Number("magnitude", 9, 0, 30, whole=True),
    ),
    "trivial-augment": (),
    "color": (Number("strength", 0.4, 0, 1),),
    "erase": (Number("probability", 0.25, 0, 1),),
    "mixup": (Number("alpha", 0.2, 1e-3, 100),),
    "cutmix": (Number("alpha", 1.0, 1e-3, 100),),
}

#: Of each group, one word at most: they answer the same question.
EXCLUSIVE = (
    ("pad-crop", "random-resized-crop", "short-side"),
    ("flip", "alternate-flip"),
    ("rand-augment", "trivial-augment"),
)

Words = dict[str, tuple[float, ...]]


def check_words(words: Iterable[str]) -> Words:
    """The augmentations that `words` such as ``pad-crop:4`` ask for, as name -> numbers, in the order they are done.

    Numbers left out take their default. Raises UsageError for an unknown word, a wrong number, or two words that
    exclude each other.
    """
    asked = named(words, AUGMENTATIONS)
    for group in EXCLUSIVE:
        if len(both := [name for name in group if name in asked]) > 1:
            raise UsageError(f"augmentations '{both[0]}' and '{both[1]}' exclude each other: choose one")
    low, high = asked.get("short-side", (0, 0))
    if low > high:
        raise UsageError(f"augmentation 'short-side:{low:g}:{high:g}': the smaller side comes first")
    return asked


def named(words: Iterable[str], known: Mapping[str, tuple[Number, ...]]) -> Words:
    """What `words` ask for of the `known` augmentations, in the order of these. Raises UsageError."""
    asked: Words = {}
    for word in words:
        name, *numbers = word.split(":")
        if name not in known:
            raise unknown("augmentation", name, known)
        if name in asked:
            raise UsageError(f"augmentation '{name}' is given twice")
        asked[name] = check_numbers(word, numbers, known[name])
    return {name: asked[name] for name in known if name in asked}


def check_numbers(word: str, texts: list[str], numbers: tuple[Number, ...]) -> tuple[float, ...]:
    """The numbers of one augmentation word, defaults filled in. Raises UsageError."""
    if len(texts) > len(numbers):
        takes = " and ".join(n.what for n in numbers) or "no number"
        raise UsageError(f"augmentation '{word}': it takes {takes}")
    values = [n.default for n in numbers]
    for i, text in enumerate(texts):
        number = numbers[i]
        try:
            values[i] = float(text)
        except ValueError:
            raise UsageError(f"augmentation '{word}': {number.what} must be a number, got '{text}'") from None
        inside = isfinite(values[i]) and number.low <= values[i] <= number.high
        if not inside or (number.whole and values[i] != int(values[i])):
            kind = "a whole number" if number.whole else "a number"
            raise UsageError(
                f"augmentation '{word}': {number.what} must be {kind} in [{number.low:g}, {number.high:g}]"
            )
    return tuple(values)
