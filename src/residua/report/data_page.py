"""data_check.html: what a data set is like and what is wrong with it, for a person to look at; its part of a report.

Both are made of a document (``data.check.Check.to_json``, or a run's data_check.json) and of pictures asked for.
"""

import base64
import io
import re
import shlex
from collections.abc import Callable, Mapping
from itertools import groupby
from math import log2
from pathlib import Path
from typing import Any

from PIL import Image

from residua.report import say
from residua.report.files import RunFiles
from residua.report.rendering import rendered

#: Thumbnails: the longer side in pixels, and the bytes of all of them: the page stays below 5 MB.
THUMB_PX, THUMB_BYTES = 168, 3_000_000

#: Classes shown one by one; of more, the largest and the smallest.
CLASSES = 40

#: Left-out files that the page names; the table has them all.
NAMED_FILES = 200

PictureOf = Callable[[str], Image.Image | None]

TITLES = {
    "must": ("To be mended", "Each of these keeps a training from starting, or makes what it measures worthless."),
    "should": ("Worth a look", "A training starts all the same; whether these matter, only you can say."),
    "note": ("Good to know", "How the pictures are read, and what is unusual about some."),
}
ORDER = ("train", "val", "test")


def data_page(folder: Path, document: Mapping[str, Any], picture_of: PictureOf) -> Path:
    """Write ``data_check.html`` into `folder` and return its path.

    `picture_of` gives the upright picture of a path that the document names, or None where it cannot be read.
    Raises DataError where the folder cannot be written.
    """
    thumbs = Thumbs(picture_of)
    found = [finding(f, document, thumbs) for f in document.get("findings", ())]
    groups = [(kind, *TITLES[kind], [f for f in found if f["severity"] == kind]) for kind in TITLES]
    said = {
        "name": say.label(document.get("name", "")),
        "spec": say.label(document.get("spec", "")),
        "lead": lead(document),
        "must": sum(f["severity"] == "must" for f in found),
        "should": sum(f["severity"] == "should" for f in found),
        "groups": [g for g in groups if g[3]],
        "lists_more": any(f["listed"] and f["more"] for f in found),
        "data": parts(document),
        "proposals": [
            {k: say.label(v) if isinstance(v, str) else v for k, v in p.items()} for p in document["proposals"]
        ],
        "train": say.label(document.get("command", "")),
        "again": f"residua check {shlex.quote(say.label(document.get('spec', '')))}",
    }
    return rendered("data_check.html.j2", folder / "data_check.html", said, sheets=("data_check.css",))


def section(found: RunFiles) -> dict[str, Any]:
    """What ``data_section.html.j2`` says under the name `data`, of a run folder: counts, sizes, what was left out."""
    return parts(found.data_check)


def parts(document: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of the classes, sizes, what a crop hides and what was left out, as far as the document tells them."""
    rows, more = classes(document)
    left, count = left_out(document)
    notes = document.get("notes")
    return {
        "splits": list(_splits(document)),
        "classes": rows,
        "more": more,
        "hides": bool(say.number(_mapping(document.get("hidden_by_crop")).get("mean"))),
        "view": _mapping(document.get("hidden_by_crop")),
        "sizes": size_words(document),
        "scatter": scatter(document),
        "imbalance": imbalance_words(document),
        "left_out": left,
        "left_out_count": count,
        "named_files": NAMED_FILES,
        "notes": [say.label(n) for n in notes] if isinstance(notes, list | tuple) else [],
    }


def lead(document: Mapping[str, Any]) -> str:
    """One sentence: how many pictures of how many classes, in which splits."""
    per = {s: sum(n.values()) for s, n in _splits(document).items()}
    where = ", ".join(f"{say.count(n)} in {s}" for s, n in per.items())
    k = say.plural(len(document.get("classes") or ()), "class", "classes")
    out = document.get("files", 0) - document.get("pictures", 0)
    lost = f" {say.plural(out, 'file')} cannot be used." if out else ""
    return f"{say.plural(document.get('pictures', 0), 'picture')} of {k}{f': {where}' if where else ''}.{lost}"


# -- findings -------------------------------------------------------------------------------------------------------


class Thumbs:
    """Thumbnails as data URIs, as long as the page has room for them."""

    def __init__(self, picture_of: PictureOf) -> None:
        """Nothing is drawn yet."""
        self.picture_of, self.room = picture_of, THUMB_BYTES

    def of(self, path: str) -> dict[str, Any] | None:
        """A small WebP with its sides and those of the picture; None where there is no picture or no room."""
        if self.room <= 0 or (image := self.picture_of(path)) is None:
            return None
        width, height = image.size
        shown = image.convert("RGB")
        shown.thumbnail(
            (THUMB_PX, THUMB_PX), Image.Resampling.BOX if max(image.size) <= 48 else Image.Resampling.LANCZOS
        )
        out = io.BytesIO()
        shown.save(out, "WEBP", quality=78, lossless=max(shown.size) <= 48)
        uri = f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
        self.room -= len(uri)
        return {
            "uri": uri,
            "width": shown.width,
            "height": shown.height,
            "tiny": max(shown.size) <= 48,
            "full": (width, height),
        }


def finding(found: Mapping[str, Any], document: Mapping[str, Any], thumbs: Thumbs) -> dict[str, Any]:
    """What the page shows of a finding: groups of pictures side by side, or a list of paths with reasons."""
    view = _mapping(document.get("hidden_by_crop"))
    listed = found["kind"] in ("unusable", "not-used", "hidden", "torn")
    groups = []
    for group in found["examples"]:
        shown = []
        for p in group:
            item: dict[str, Any] = {k: say.label(p[k]) for k in ("path", "label", "split", "remark")}
            item["thumb"] = None if listed else thumbs.of(p["path"])
            item["frame"] = frame(item["thumb"]["full"], view) if found["kind"] == "crop" and item["thumb"] else None
            shown.append(item)
        groups.append(shown)
    words: dict[str, Any] = {k: say.label(found[k]) for k in ("kind", "severity", "sentence", "todo")}
    words["todo"] = re.split(r"(--[a-z-]+(?: \w+(?=\.))?)", words["todo"])  # every second part is a flag
    return {**words, "listed": listed, "groups": groups, "more": max(0, found["groups"] - len(groups))}


def frame(size: tuple[int, int], view: Mapping[str, Any]) -> dict[str, float] | None:
    """Where a centre crop lies in a picture of this size, in percent of its sides."""
    if not view.get("resize_px"):
        return None
    width, height = size
    side = min(width, height) * view["side_px"] / view["resize_px"]
    across, down = 100 * side / width, 100 * side / height
    return {"left": (100 - across) / 2, "top": (100 - down) / 2, "width": across, "height": down}


# -- parts that a run's report has too ------------------------------------------------------------------------------


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _splits(document: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Pictures of each class in each split, train first; anything else in the document counts for nothing."""
    found = _mapping(document.get("splits"))
    named = sorted(found, key=lambda s: ORDER.index(s) if s in ORDER else len(ORDER))
    return {str(s): {str(c): int(say.number(n) or 0) for c, n in _mapping(found[s]).items()} for s in named}


def classes(document: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """One row a class: pictures in each split with the length of a bar, what a crop hides; how many are not shown."""
    per = _splits(document)
    names = list(dict.fromkeys(c for counts in per.values() for c in counts))
    hidden = _mapping(_mapping(document.get("hidden_by_crop")).get("classes"))
    first = next(iter(per.values()), {})
    if more := max(0, len(names) - CLASSES):
        ordered = sorted(names, key=lambda c: -first.get(c, 0))
        names = [*ordered[: CLASSES // 2], *ordered[-(CLASSES // 2) :]]
    most = {s: max([*counts.values(), 1]) for s, counts in per.items()}
    rows = [
        {
            "name": say.label(c),
            "counts": [(s, per[s].get(c, 0), per[s].get(c, 0) / most[s]) for s in per],
            "hidden": say.number(_mapping(hidden.get(c)).get("mean")),
            "over": say.number(_mapping(hidden.get(c)).get("over_40")),
        }
        for c in names
    ]
    return rows, more


def left_out(document: Mapping[str, Any]) -> tuple[list[tuple[str, int, list[str]]], int]:
    """Left-out files by reason with their number and some paths, the most frequent first; how many there are in all."""
    skipped = document.get("skipped")
    rows = [r for r in skipped if isinstance(r, Mapping)] if isinstance(skipped, list) else []
    pairs = sorted((say.label(r.get("reason", "")), say.label(r.get("path", ""))) for r in rows)
    groups = [(reason, [path for _, path in group]) for reason, group in groupby(pairs, key=lambda p: p[0])]
    groups.sort(key=lambda g: -len(g[1]))
    room, shown = NAMED_FILES, []
    for reason, paths in groups[:NAMED_FILES]:
        shown.append((reason, len(paths), paths[:room]))
        room = max(0, room - len(paths))
    return shown, len(pairs)


def size_words(document: Mapping[str, Any]) -> str:
    """One sentence on sizes."""
    found = _mapping(document.get("sizes"))
    width, height, short = (_mapping(found.get(k)) for k in ("width", "height", "short_side"))
    if not all(k in s for s in (width, height, short) for k in ("min", "median", "max")):
        return ""
    if width["min"] == width["max"] and height["min"] == height["max"]:
        return f"All pictures are {say.count(width['min'])} × {say.count(height['min'])} px."
    return (
        f"From {say.count(width['min'])} to {say.count(width['max'])} px wide and {say.count(height['min'])} to "
        f"{say.count(height['max'])} px high; half of the short sides are {say.count(short['median'])} px or less."
    )


def imbalance_words(document: Mapping[str, Any]) -> str:
    """One sentence on how unequal the classes are; "" for classes of about one size."""
    found = _mapping(document.get("imbalance"))
    ratio, most, least = say.number(found.get("ratio")), _mapping(found.get("largest")), _mapping(found.get("smallest"))
    if ratio is None or ratio < 1.5:
        return ""
    return (
        f"{say.label(most.get('class', ''))}, the largest class, has {say.figures(ratio, 2)} times as many training "
        f"pictures as {say.label(least.get('class', ''))}, the smallest."
    )


#: The chart's sides and margins; the left one holds 8,192 and the axis's name in the larger type of a phone.
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 560, 360, 76, 40, 14, 16


def _pair(value: Any) -> bool:
    """Whether it is a width and a height."""
    return isinstance(value, list | tuple) and len(value) == 2 and all((say.number(v) or 0) > 0 for v in value)


def scatter(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The sizes of pictures as discs on logarithmic axes, the larger the more there are; None where all are alike."""
    told = document.get("sides")
    found = [(p[0], p[1]) for p in told if _pair(p)] if isinstance(told, list | tuple) else []
    if len(set(found)) < 2:
        return None
    low = log2(min(map(min, found))) - 0.25
    high = log2(max(map(max, found))) + 0.25

    def x(side: float) -> float:
        return round(LEFT + (log2(side) - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def y(side: float) -> float:
        return round(HEIGHT - BOTTOM - (log2(side) - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    counts: dict[tuple[int, int], int] = {}
    for p in found:
        counts[p] = counts.get(p, 0) + 1
    most = max(counts.values())
    discs = [
        (x(w), y(h), round(2.2 + 9 * (n / most) ** 0.5 * (most > 3), 1), f"{w} × {h}: {n}")
        for (w, h), n in counts.items()
    ]
    ticks = [2**e for e in range(int(low) + (low > int(low)), int(high) + 1)]
    ticks = ticks[:: -(-len(ticks) // 6)]
    side = _mapping(document.get("hidden_by_crop")).get("side_px")
    shown = side if side and low < log2(side) < high else None
    return {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "bottom": HEIGHT - BOTTOM, "top": TOP, "right": WIDTH - RIGHT,
        "discs": sorted(discs, key=lambda d: -d[2]), "x_ticks": [(x(t), t) for t in ticks],
        "y_ticks": [(y(t), t) for t in ticks],
        "square": (x(2**low), y(2**low), x(2**high), y(2**high)),
        "net": None if shown is None else {"x": x(shown), "y": y(shown), "side": shown},
    }  # fmt: skip
