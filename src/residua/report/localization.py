"""report.html of a localizer: its errors beside those of the mean box, what it found, how it learned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residua.report import say
from residua.report.boxes_run import boxes_page, kinds, learning, listed, mapping, photos, recipe_facts, trained_on
from residua.report.files import RunFiles, read_list

#: Rows of the table of errors: what they are called, and their keys at top 1, at top 5, and with the class known.
ERRORS = (
    ("localization", ("top1_localization_error", "top5_localization_error", "given_localization_error")),
    ("with the mean box", ("mean_box_top1_error", "", "mean_box_given_error")),
    ("class alone", ("top1_error", "top5_error", "")),
)
#: Lines of the chart of learning.
LINES = (
    ("localization error", "val_top1_localization_error"),
    ("class known", "val_given_localization_error"),
    ("class error", "val_top1_error"),
)


def localization_page(run: RunFiles) -> Path:
    """Write ``report.html`` into the run folder of a localizer and return its path. Raises DataError."""
    return boxes_page("localization.html.j2", run, content(run))


def content(run: RunFiles) -> dict[str, Any]:
    """What the template says of a localizer, by name."""
    found = run.evaluation
    layers, n = say.number(run.summary.get("layers")), say.number(found.get("n"))
    named, given = (say.number(found.get(k)) for k in ("top1_error", "given_localization_error"))
    interval = listed(mapping(found.get("intervals")).get("top1_localization_error"))
    what = "A second look at what a localizer found: a net" if refined(run) else "A net"
    return {
        "verb": "localize", "does": "names and places", "metric": "Localization error",
        "headline": say.number(found.get("top1_localization_error")),
        "beside": [
            *([f"{n:,.0f} images"] if n else []),
            *([f"class error {say.percent(named)}"] if named is not None else []),
            *([f"{say.percent(given)} with the class known"] if given is not None else []),
        ],
        "lead": (f"{what} of {layers:.0f} layers" if layers else what) + trained_on(run),
        "rows": [(name, [say.number(found.get(k)) for k in keys]) for name, keys in ERRORS],
        "interval": interval if len(interval) == 2 and None not in map(say.number, interval) else None,
        "classes": [_class(c) for c in listed(found.get("classes")) if say.number(c.get("n"))],
        "kinds": kinds(found.get("kinds")),
        "learning": learning(run, LINES, "Errors on held-out images"),
        "photos": photos(run.folder, read_list(run.folder / "localized.json"), _told),
        "photos_say": "Test images: the surest wrong answers of each kind, then the surest right ones.",
        "facts": facts(run),
    }  # fmt: skip


def refined(run: RunFiles) -> bool:
    """Whether the localizer looks twice."""
    return bool(mapping(run.summary.get("localizer")).get("refined"))


def facts(run: RunFiles) -> list[tuple[str, str]]:
    """What was trained on what, in pairs."""
    localizer, view = mapping(run.summary.get("localizer")), mapping(run.summary.get("view"))
    shapes = [a for a in listed(localizer.get("anchors")) if isinstance(a, list) and len(a) == 2]
    rows = [
        ("annotations", run.summary.get("kind")),
        ("image", f"{view.get('short_px')} x {view.get('short_px')} px, scaled without its ratio"),
        ("anchors", ", ".join(f"{w:g} x {h:g}" for w, h in shapes) + " px" if shapes else None),
        ("second look", f"at the {localizer.get('proposals')} surest places" if refined(run) else None),
        *recipe_facts(run),
    ]
    return [(k, say.label(v)) for k, v in rows if v not in (None, "")]


def _class(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = ("n", "wrong", "class_wrong", "given_wrong", "mean_box_wrong")
    return {"name": say.label(row.get("name", "")), **{k: say.number(row.get(k)) for k in counts}}


def _told(row: Mapping[str, Any]) -> str:
    kind, label = say.label(row.get("kind", "")), say.label(row.get("label", ""))
    return kind if kind == "right" else f"{kind}: {label}"
