"""The folder of a landscape: what was asked, and every point as soon as it is known, so that a stopped one goes on.

``landscape.json`` holds the question, ``landscape.jsonl`` one point a line.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from residua import seeds
from residua.depth.landscape import Point
from residua.depth.terrain import Heights
from residua.errors import DataError
from residua.files import escaped, write
from residua.pair import Pair

ABOUT, POINTS = "landscape.json", "landscape.jsonl"
FORMAT = 1

#: What must be the same for a point of today to be the point of yesterday, bit for bit.
FIXED = (
    *("resolution", "span", "seed", "images", "batch_size"),
    *("device", "precision", "threads", "data", "data_fingerprint"),
)

Done = dict[int, dict[tuple[int, int], Point]]


def same_pictures(pairs: Sequence[Pair], most: int, seed: int) -> list[Pair]:
    """The pairs with the same (at most `most`) pictures, drawn by the seed from those that every net was trained on.

    Raises DataError where there are none.
    """
    shared = set.intersection(*(set(p.names) for p in pairs))
    names = [n for n in pairs[0].names if n in shared]
    if not names:
        raise DataError(f"the nets were trained on different pictures of {pairs[0].dataset.name}: they share none")
    drawn = np.sort(seeds.generator(seed, "landscape", "images").permutation(len(names))[:most])
    chosen = [names[i] for i in drawn]
    made = []
    for p in pairs:
        (split,) = p.splits
        place = {name: i for i, name in enumerate(split.names)}
        made.append(replace(p, splits=[split.take([place[n] for n in chosen])]))
    return made


def begin(folder: Path, about: Mapping[str, Any]) -> None:
    """Make the folder and write what was asked. Raises DataError where it exists or the disk refuses."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as e:
        raise DataError(f"{folder} exists and is never overwritten: choose another --out") from e
    except OSError as e:
        raise DataError(f"cannot write {folder}: {e.strerror or e}") from e
    record(folder, about)
    write(folder / POINTS, b"")


def record(folder: Path, about: Mapping[str, Any]) -> None:
    """Write what was asked, and what came out of it."""
    text = escaped(json.dumps({"format": FORMAT, **about}, indent=2, ensure_ascii=False, allow_nan=False))
    write(folder / ABOUT, text.encode())


def asked(folder: Path) -> dict[str, Any]:
    """What the folder says was asked. Raises DataError for a folder that is no landscape's."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        surfaces = about["surfaces"]
        if about["format"] > FORMAT or not all(key in about for key in FIXED) or not surfaces:
            raise ValueError("format")
        if not all(isinstance(s["fingerprint"], str) and isinstance(s["name"], str) for s in surfaces):
            raise ValueError("surfaces")
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise DataError(f"{folder} is no landscape's folder: give the one that `residua depth landscape` made") from e
    return dict(about)


def check(folder: Path, about: Mapping[str, Any]) -> None:
    """Raise DataError unless the folder's points are those that would be computed now."""
    old = asked(folder)
    for key in FIXED:
        if old[key] != about[key]:
            raise DataError(
                f"{folder} was made with {key.replace('_', ' ')} {old[key]}, not {about[key]}: "
                "resume it with the same options, or begin anew without --resume"
            )
    nets = [[s["fingerprint"] for s in a["surfaces"]] for a in (old, about)]
    if nets[0] != nets[1]:
        names = " beside ".join(s["name"] for s in old["surfaces"])
        raise DataError(f"{folder} is of other weights ({names}): resume it with the same models, or begin anew")


def points(folder: Path) -> Done:
    """The whole points of the folder by surface and place; a last line that was cut off is taken away.

    Raises DataError for lines that are no points.
    """
    path = folder / POINTS
    try:
        text = path.read_bytes()
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror or e}") from e
    whole = text[: text.rfind(b"\n") + 1]
    done: Done = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            values = json.loads(line)
            surface = int(values.pop("surface"))
            point = Point(**values)
            done.setdefault(surface, {})[point.i, point.j] = point
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            raise DataError(f"{path} is damaged in line {number}: begin anew without --resume") from e
    if whole != text:
        write(path, whole)
    return done


def follow(folder: Path, surface: int, found: Iterator[Point]) -> Iterator[Point]:
    """The points, each written before it passes. Raises DataError where the disk refuses."""
    path = folder / POINTS
    try:
        with path.open("a", encoding="utf-8") as file:
            for point in found:
                file.write(json.dumps({"surface": surface, **asdict(point)}) + "\n")
                file.flush()
                yield point
    except OSError as e:
        raise DataError(f"cannot write {path}: {e.strerror or e}; free some space and --resume {folder}") from e


def heights(found: Mapping[tuple[int, int], Point], resolution: int) -> tuple[Heights, Heights]:
    """Losses and errors (R, R), rows along the first direction; NaN where nothing finite is known."""
    losses, errors = np.full((2, resolution, resolution), np.nan)
    for (i, j), point in found.items():
        losses[i, j] = np.nan if point.loss is None else point.loss
        errors[i, j] = point.wrong / point.n
    return losses, errors
